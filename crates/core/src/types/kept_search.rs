//! The text of entities that is searched, as writers keep it up.

use std::sync::Arc;

use super::definition::SearchDefinition;
use super::search_text::{SearchText, TextMaker};
use crate::json::Selection;

/// The words of an entity that a part has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRow {
    /// The part.
    pub part_id: i32,
    /// The language that reduces the words to stems.
    pub language: Arc<str>,
    /// The words; where there are none, the entity is found by none.
    pub text: SearchText,
}

impl SearchRow {
    /// Whether there is no word.
    pub fn is_empty(&self) -> bool {
        self.text.iter().all(String::is_empty)
    }
}

/// What a write does to the words of its entity, where the document before it is not known.
#[derive(Debug, PartialEq, Eq)]
pub enum SearchEffect {
    /// They stay as they are.
    None,
    /// They are these.
    Row(SearchRow),
    /// That depends on the document.
    Unknown,
}

/// The search of one type.
#[derive(Debug)]
pub struct TypeSearch {
    part_id: i32,
    language: Arc<str>,
    maker: TextMaker,
    /// Whether a patch has the members that the paths begin with.
    members: Selection,
}

impl TypeSearch {
    /// A part with its id.
    pub fn new(part_id: i32, definition: &SearchDefinition) -> Self {
        let mut members = Selection::default();
        for (path, _) in &definition.paths {
            members.add_path(&path.first());
        }
        Self {
            part_id,
            language: definition.language.as_str().into(),
            maker: TextMaker::new(definition),
            members,
        }
    }

    /// An entity's words; none where it does not exist.
    pub fn row(&self, document: Option<&str>) -> SearchRow {
        let text = document.map(|document| self.maker.text(document)).unwrap_or_default();
        SearchRow { part_id: self.part_id, language: Arc::clone(&self.language), text }
    }

    /// What changes from one document of an entity to the next; `None` as a document means that it does not
    /// exist.
    pub fn change(&self, before: Option<&str>, after: Option<&str>) -> Option<SearchRow> {
        let none = "{}";
        let (one, other) = (before.unwrap_or(none), after.unwrap_or(none));
        self.maker.differs(one, other).then(|| self.row(after))
    }

    /// What deleting an entity does.
    pub fn of_delete(&self) -> SearchEffect {
        SearchEffect::Row(self.row(None))
    }

    /// What a replace with this document does.
    pub fn of_replace(&self, document: &str) -> SearchEffect {
        SearchEffect::Row(self.row(Some(document)))
    }

    /// What merging this flat patch does, into an entity that is there or not.
    pub fn of_flat_merge(&self, patch: &str) -> SearchEffect {
        let found = self.members.find(patch);
        match found.iter().flatten().count() {
            0 => SearchEffect::None,
            // no member of a flat patch is an object, so what it has decides all that is below
            there if there == found.len() => SearchEffect::Row(self.row(Some(patch))),
            _ => SearchEffect::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(paths: &[&str]) -> TypeSearch {
        let path = |path: &&str| (crate::json::Path::parse(path).expect("a path"), 1);
        let paths = paths.iter().map(path).collect();
        TypeSearch::new(7, &SearchDefinition { paths, language: "simple".to_owned() })
    }

    #[test]
    fn a_flat_patch_decides_what_it_has_all_of() {
        let two = search(&["data.a", "data.b.c"]);
        assert_eq!(two.of_flat_merge(r#"{"x":"y"}"#), SearchEffect::None);
        assert_eq!(two.of_flat_merge(r#"{"a":"y"}"#), SearchEffect::Unknown);
        let SearchEffect::Row(row) = two.of_flat_merge(r#"{"a":"y","b":1}"#) else {
            panic!("it has all")
        };
        assert_eq!(row.text[0], "y \u{2ac} ");
    }

    #[test]
    fn only_other_words_are_a_change() {
        let one = search(&["data.a"]);
        let change = |before, after| one.change(before, after).map(|row| row.text[0].clone());
        assert_eq!(change(None, Some(r#"{"b":"x"}"#)), None);
        assert_eq!(change(None, Some(r#"{"a":"x"}"#)).as_deref(), Some("x \u{2ac} "));
        assert_eq!(change(Some(r#"{"a": ["x"]}"#), Some(r#"{"a":["X!"],"b":1}"#)), None);
        assert_eq!(change(Some(r#"{"a":"x"}"#), None).as_deref(), Some(""));
        assert_eq!(change(Some(r#"{"a":"x"}"#), Some("{}")).as_deref(), Some(""));
        assert_eq!(change(Some("{}"), None), None);
    }
}
