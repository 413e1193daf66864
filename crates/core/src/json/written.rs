//! Which update wrote each leaf of a document.

use std::collections::{BTreeMap, HashSet};

use super::document::{Document, Members, Node};
use super::path::Path;

/// For each leaf of a document the version that wrote it last, also with the value that it had. Leaves are
/// scalars, arrays and empty objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written(Object);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Object {
    places: BTreeMap<String, Place>,
    /// Counts where there are no places.
    by: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Leaf(u64),
    Object(Object),
}

impl Written {
    /// Notes what `version` wrote by merging `patch`.
    pub fn merge(&mut self, patch: &Document<'_>, version: u64) {
        self.0.merge(&patch.members, version);
    }

    /// Notes that `version` made the document anew of `patch`.
    pub fn replace(&mut self, patch: &Document<'_>, version: u64) {
        self.0 = Object::new(&patch.members, version);
    }

    /// The versions of all leaves.
    pub fn versions(&self) -> HashSet<u64> {
        self.leaves(&Path::root()).into_iter().map(|(_, version)| version).collect()
    }

    /// Each leaf at `path` and below it, in the order of their paths.
    pub fn leaves(&self, path: &Path) -> Vec<(Path, u64)> {
        let mut leaves = Vec::new();
        let mut object = &self.0;
        for (depth, key) in (1..).zip(&path.0) {
            match object.places.get(key) {
                Some(Place::Object(inner)) => object = inner,
                Some(Place::Leaf(by)) if depth == path.0.len() => {
                    leaves.push((path.clone(), *by));
                    return leaves;
                }
                Some(Place::Leaf(_)) | None => return leaves,
            }
        }
        object.collect(&mut path.0.clone(), &mut leaves);
        leaves
    }
}

impl Object {
    fn new(members: &Members<'_>, by: u64) -> Self {
        let mut object = Self { places: BTreeMap::new(), by };
        object.merge(members, by);
        object
    }

    fn merge(&mut self, patch: &Members<'_>, by: u64) {
        for (key, node) in patch {
            match (self.places.get_mut(&**key), node) {
                (_, node) if node.is_null() => drop(self.places.remove(&**key)),
                (Some(Place::Object(inner)), Node::Object(changes)) => inner.merge(changes, by),
                (_, Node::Object(members)) => {
                    self.places.insert((**key).to_owned(), Place::Object(Self::new(members, by)));
                }
                (_, Node::Leaf { .. }) => {
                    self.places.insert((**key).to_owned(), Place::Leaf(by));
                }
            }
        }
        if self.places.is_empty() {
            self.by = by;
        }
    }

    fn collect(&self, path: &mut Vec<String>, leaves: &mut Vec<(Path, u64)>) {
        if self.places.is_empty() {
            leaves.push((Path(path.clone()), self.by));
        }
        for (key, place) in &self.places {
            path.push(key.clone());
            match place {
                Place::Leaf(by) => leaves.push((Path(path.clone()), *by)),
                Place::Object(inner) => inner.collect(path, leaves),
            }
            path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document<'_> {
        Document::parse(text).expect("a document")
    }

    fn shown(written: &Written, path: &str) -> Vec<String> {
        let leaves = written.leaves(&Path::parse(path).expect("a path"));
        leaves.iter().map(|(path, by)| format!("{path} {by}")).collect()
    }

    #[test]
    fn each_leaf_has_the_update_that_wrote_it_last() {
        let mut written = Written::default();
        written.merge(&document(r#"{"a":1,"b":{"c":[{}],"d":{}},"n":null}"#), 1);
        assert_eq!(shown(&written, "data"), ["data.a 1", "data.b.c 1", "data.b.d 1"]);
        written.merge(&document(r#"{"a":1,"b":{"d":{"e":2}}}"#), 2);
        assert_eq!(shown(&written, "data"), ["data.a 2", "data.b.c 1", "data.b.d.e 2"]);
        written.merge(&document(r#"{"b":{"d":{"e":null}}}"#), 3);
        assert_eq!(shown(&written, "data.b"), ["data.b.c 1", "data.b.d 3"]);
        written.merge(&document(r#"{"b":5,"odd key":{"x":{}}}"#), 4);
        assert_eq!(shown(&written, "data"), ["data.a 2", "data.b 4", r#"data["odd key"].x 4"#]);
        assert_eq!(shown(&written, "data.b"), ["data.b 4"]);
        assert_eq!(shown(&written, "data.b.c"), Vec::<String>::new());
        assert_eq!(shown(&written, "data.never"), Vec::<String>::new());
        written.replace(&document(r#"{"z":null}"#), 5);
        assert_eq!(shown(&written, "data"), ["data 5"]);
    }
}
