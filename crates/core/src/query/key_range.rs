//! Ranges of the keys of entities, and of texts.

use crate::model::EntityKey;

/// The keys from `from` on and before `to`, in bytewise order of type, then id. The bounds need not be valid
/// keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub from: (String, String),
    /// The first key that is behind the range; `None` where nothing is.
    pub to: Option<(String, String)>,
}

impl KeyRange {
    /// The keys of all entities.
    pub fn all() -> Self {
        Self { from: (String::new(), String::new()), to: None }
    }

    /// The keys of a type.
    pub fn of_type(entity_type: &str) -> Self {
        let from = (entity_type.to_owned(), String::new());
        Self { from, to: Some((next_text(entity_type), String::new())) }
    }

    /// The keys of all types in a range.
    pub(super) fn of_types(types: &TextRange) -> Self {
        let bound = |text: &String| (text.clone(), String::new());
        Self { from: bound(&types.from), to: types.to.as_ref().map(bound) }
    }

    /// The keys of a type whose ids are in a range.
    pub(super) fn of_ids(entity_type: &str, ids: &TextRange) -> Self {
        let all = Self::of_type(entity_type);
        let to = ids.to.as_ref().map(|to| (entity_type.to_owned(), to.clone()));
        Self { from: (entity_type.to_owned(), ids.from.clone()), to: to.or(all.to) }
    }

    /// The part behind a key.
    #[must_use]
    pub fn after(mut self, key: &EntityKey) -> Self {
        let next = (key.entity_type().to_owned(), next_text(key.entity_id()));
        if next > self.from {
            self.from = next;
        }
        self
    }

    /// The part before a key.
    #[must_use]
    pub fn before(mut self, key: &EntityKey) -> Self {
        let key = (key.entity_type().to_owned(), key.entity_id().to_owned());
        if self.to.as_ref().is_none_or(|to| key < *to) {
            self.to = Some(key);
        }
        self
    }

    /// Whether no key is in it.
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| self.from >= *to)
    }
}

/// The texts from `from` on and before `to`, in bytewise order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TextRange {
    pub(super) from: String,
    pub(super) to: Option<String>,
}

impl TextRange {
    pub(super) fn contains(&self, text: &str) -> bool {
        *text >= *self.from && self.to.as_ref().is_none_or(|to| *text < **to)
    }

    /// Leaves what is not below this text.
    pub(super) fn from(&mut self, text: String) {
        if text > self.from {
            self.from = text;
        }
    }

    /// Leaves what is below this text.
    pub(super) fn before(&mut self, text: String) {
        if self.to.as_ref().is_none_or(|to| text < *to) {
            self.to = Some(text);
        }
    }
}

/// The text that follows next on another one: neither types nor ids hold U+0000, which would be before it.
pub(super) fn next_text(text: &str) -> String {
    format!("{text}\u{1}")
}

/// The first text that is behind all that begin with this one; `None` where there is none.
pub(super) fn behind_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // the code points of surrogates are no characters
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            _ => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_prefix_is_behind_all_that_begin_with_it() {
        for (prefix, behind) in [
            ("a", Some("b")),
            ("a\u{10ffff}", Some("b")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("\u{10ffff}\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(behind_prefix(prefix).as_deref(), behind, "{prefix:?}");
        }
    }

    #[test]
    fn the_part_behind_a_key_begins_with_the_next_one() {
        let key = |id| EntityKey::new_unchecked("Car", id);
        let range = KeyRange::of_type("Car").after(&key("b"));
        let has = |entity_type: &str, id: &str| {
            let key = (entity_type.to_owned(), id.to_owned());
            key >= range.from && range.to.as_ref().is_none_or(|to| key < *to)
        };
        assert!(
            has("Car", "b\u{1}")
                && has("Car", "b ")
                && has("Car", "ba")
                && has("Car", "\u{10ffff}")
        );
        assert!(!has("Car", "b") && !has("Car", "a") && !has("Cars", "b") && !has("Ca", "z"));
        assert_eq!(range.clone().after(&key("a")), range);
        assert!(!range.is_empty());
        let none =
            KeyRange { from: ("b".into(), String::new()), to: Some(("b".into(), String::new())) };
        assert!(none.is_empty());
    }
}
