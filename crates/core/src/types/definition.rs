//! What a client declares about a type.

use super::index_path::IndexPath;
use crate::json::{Path, write_string};

/// Languages that every database knows: `simple` splits into words and changes nothing else.
pub(super) const DEFAULT_LANGUAGE: &str = "simple";

/// What is declared about one type of entities. It is valid: [`Definition::parse`] checks every rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// At most 16, each of them once.
    pub indexes: Vec<IndexDefinition>,
    /// What is searched, where the type is.
    pub search: Option<SearchDefinition>,
}

/// An index: 1 to 3 paths, each of them once. Two of the same paths in the same order are one index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexDefinition {
    /// In the order in which the index is sorted.
    pub paths: Vec<IndexPath>,
}

/// What full-text search reads of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchDefinition {
    /// 1 to 16 paths, each of them once, with a weight of 1 to 4; the heaviest first, then in the order of
    /// their texts.
    pub paths: Vec<(Path, u8)>,
    /// How words are cut and reduced, by a name that the database knows.
    pub language: String,
}

impl Definition {
    /// The definition as JSON; [`Definition::parse`] reads it.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{\"indexes\":[");
        for (place, index) in self.indexes.iter().enumerate() {
            comma(&mut out, place);
            index.write(&mut out);
        }
        out.push(']');
        if let Some(search) = &self.search {
            out.push_str(",\"search\":");
            search.write(&mut out);
        }
        out.push('}');
        out
    }
}

impl IndexDefinition {
    /// The index as JSON: a path, or an array of paths.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        if let [path] = self.paths.as_slice() {
            return write_string(out, &path.to_string());
        }
        out.push('[');
        for (place, path) in self.paths.iter().enumerate() {
            comma(out, place);
            write_string(out, &path.to_string());
        }
        out.push(']');
    }
}

impl SearchDefinition {
    /// The search as JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        out.push_str("{\"paths\":{");
        for (place, (path, weight)) in self.paths.iter().enumerate() {
            comma(out, place);
            write_string(out, &path.to_string());
            out.push(':');
            out.push(char::from(b'0' + weight));
        }
        out.push_str("},\"language\":");
        write_string(out, &self.language);
        out.push('}');
    }
}

fn comma(out: &mut String, place: usize) {
    if place > 0 {
        out.push(',');
    }
}
