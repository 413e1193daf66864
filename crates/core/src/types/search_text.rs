//! Which text of an entity is searched.

use super::definition::SearchDefinition;
use super::words::{Folding, GAP, words};
use crate::json::{Selection, decode, elements};

/// Bytes of an entity's text that count.
pub const MAX_TEXT_BYTES: usize = 256 << 10;

/// The words of an entity by their weights, from 1 to 4: cut, folded and separated by spaces, for an engine
/// that reduces them to stems.
pub type SearchText = [String; 4];

/// The text of an entity that is searched.
pub fn search_text(definition: &SearchDefinition, document: &str) -> SearchText {
    TextMaker::new(definition).text(document)
}

/// Makes the texts of many entities of a type.
#[derive(Debug, Clone)]
pub struct TextMaker {
    paths: Selection,
    /// The slot and the weight of each path, the heaviest first.
    slots: Vec<(usize, usize)>,
    folding: Folding,
}

impl TextMaker {
    /// For the entities of the type that has this definition.
    pub fn new(definition: &SearchDefinition) -> Self {
        let mut paths = Selection::default();
        let mut slots: Vec<_> = definition
            .paths
            .iter()
            .map(|(path, weight)| (paths.add_path(path), usize::from(*weight).clamp(1, 4)))
            .collect();
        // what is too much is cut, so the heaviest comes first
        slots.sort_by_key(|&(slot, weight)| (std::cmp::Reverse(weight), slot));
        Self { paths, slots, folding: Folding::of(&definition.language) }
    }

    /// Whether two documents have other texts.
    pub fn differs(&self, one: &str, other: &str) -> bool {
        self.paths.find(one) != self.paths.find(other) && self.text(one) != self.text(other)
    }

    /// The text of an entity with this document.
    pub fn text(&self, document: &str) -> SearchText {
        let found = self.paths.find(document);
        let (mut texts, mut room) = (SearchText::default(), MAX_TEXT_BYTES);
        for &(slot, weight) in &self.slots {
            let text = &mut texts[weight - 1];
            each_string(found[slot].unwrap_or("null"), &mut |string| {
                let cut = &string[..string.floor_char_boundary(room)];
                room -= cut.len();
                let before = text.len();
                for word in words(cut, self.folding) {
                    text.push_str(&word.folded);
                    text.push(' ');
                }
                if text.len() > before {
                    text.push(GAP);
                    text.push(' ');
                }
                room > 0
            });
        }
        texts
    }
}

/// Calls `each` with every string at and below a value, in the document's order, until it returns false.
pub(crate) fn each_string(raw: &str, each: &mut dyn FnMut(&str) -> bool) -> bool {
    match raw.as_bytes().first() {
        Some(b'"') => each(&decode(raw.get(1..raw.len() - 1).unwrap_or_default())),
        // as deep as a document may be
        Some(b'{' | b'[') => elements(raw).all(|value| each_string(value, each)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Path;

    fn definition(paths: &[(&str, u8)]) -> SearchDefinition {
        let paths =
            paths.iter().map(|(path, weight)| (Path::parse(path).expect("a path"), *weight));
        SearchDefinition { paths: paths.collect(), language: "simple".to_owned() }
    }

    #[test]
    fn strings_anywhere_below_the_paths_count() {
        let definition =
            definition(&[("data.a", 1), ("data.t", 4), ("data.o.x", 1), ("data.none", 2)]);
        let document = r#"{"a":["One, two",{"k":"Three","n":4,"deep":[["five"]]},null],
            "t":"T\u00eftle","o":{"x":"six","y":"not"},"other":"not"}"#;
        let texts = search_text(&definition, document);
        assert_eq!(texts, ["one two ʬ three ʬ five ʬ six ʬ ", "", "", "title ʬ "]);
    }

    #[test]
    fn what_is_too_much_is_cut_from_what_weighs_least() {
        let definition = definition(&[("data.low", 1), ("data.high", 4)]);
        let long = |word: &str, bytes: usize| word.repeat(bytes / word.len());
        let document = format!(
            r#"{{"low":"{}","high":["{}","x"]}}"#,
            long("low ", 200 << 10),
            long("höh ", 100 << 10)
        );
        let [low, .., high] = search_text(&definition, &document);
        assert!(high.ends_with("hoh ʬ x ʬ "), "{}", &high[high.len() - 20..]);
        let words = low.matches("low").count();
        assert!((39_900..40_000).contains(&words), "{words}");
    }

    #[test]
    fn empty_and_broken_documents_have_no_words() {
        let definition = definition(&[("data.a", 1)]);
        for document in ["{}", "", "{\"a\":", "{\"a\":\"!\"}", "{\"a\":{}}"] {
            assert_eq!(search_text(&definition, document), SearchText::default(), "{document}");
        }
    }
}
