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
        let mut versions = HashSet::new();
        self.0.collect_versions(&mut versions);
        versions
    }

    /// Each leaf at `path` and below it, in the order of their paths; `None` where these need more than
    /// `limit` bytes: every leaf repeats the keys above it.
    pub fn leaves(&self, path: &Path, limit: usize) -> Option<Vec<(Path, u64)>> {
        let mut leaves = Vec::new();
        let mut object = &self.0;
        for (depth, key) in (1..).zip(&path.0) {
            match object.places.get(key) {
                Some(Place::Object(inner)) => object = inner,
                Some(Place::Leaf(by)) if depth == path.0.len() => {
                    leaves.push((path.clone(), *by));
                    return Some(leaves);
                }
                Some(Place::Leaf(_)) | None => return Some(leaves),
            }
        }
        object.collect(&mut path.0.clone(), &mut leaves, &mut { limit })?;
        Some(leaves)
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

    /// `None` where there is no room for a path.
    fn collect(
        &self,
        path: &mut Vec<String>,
        leaves: &mut Vec<(Path, u64)>,
        room: &mut usize,
    ) -> Option<()> {
        if self.places.is_empty() {
            leaves.push((Path::within(path, room)?, self.by));
        }
        for (key, place) in &self.places {
            path.push(key.clone());
            match place {
                Place::Leaf(by) => leaves.push((Path::within(path, room)?, *by)),
                Place::Object(inner) => inner.collect(path, leaves, room)?,
            }
            path.pop();
        }
        Some(())
    }

    fn collect_versions(&self, versions: &mut HashSet<u64>) {
        if self.places.is_empty() {
            versions.insert(self.by);
        }
        for place in self.places.values() {
            match place {
                Place::Leaf(by) => drop(versions.insert(*by)),
                Place::Object(inner) => inner.collect_versions(versions),
            }
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
        let path = Path::parse(path).expect("a path");
        let leaves = written.leaves(&path, 1000).expect("room");
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
        assert_eq!(written.versions(), HashSet::from([2, 4]));
        written.replace(&document(r#"{"z":null}"#), 5);
        assert_eq!(shown(&written, "data"), ["data 5"]);
        assert_eq!(written.versions(), HashSet::from([5]));
    }

    #[test]
    fn paths_beyond_the_limit_are_not_made() {
        let mut written = Written::default();
        written.merge(&document(r#"{"long":{"a":1,"b":2}}"#), 1);
        // twice the bytes of two strings and of their texts
        let bytes = 2 * (2 * size_of::<String>() + 5);
        assert!(written.leaves(&Path::root(), bytes).is_some());
        assert_eq!(written.leaves(&Path::root(), bytes - 1), None);
    }
}
