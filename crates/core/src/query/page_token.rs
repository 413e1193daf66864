//! Page tokens: where the next page of a list begins, as an opaque text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::{Uuid, uuid};

use crate::filter::Filter;
use crate::model::EntityKey;

/// The namespace (RFC 9562, 5.5) of the uuids that lists are known by.
const NAMESPACE: Uuid = uuid!("0f3b8d52-71c4-4e0a-b6a9-5d2e8c1f4703");

/// What is said of a token that was not written for the list.
pub(super) const NOT_OURS: &str = "must be a token that a page of this list returned";

/// Bytes of the checksum.
const CHECKSUM: usize = 8;

/// The page tokens of one list: a token holds a position and a checksum over the list and the position, so
/// that one that was altered, cut, or made for another list is refused. The checksum has no secret: a
/// position gives access to nothing that the list does not give.
///
/// Tokens are the same in every process and stay valid across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageTokens {
    list: Uuid,
}

impl PageTokens {
    /// Those of the updates of `key` that match `filter`, in one order; positions are versions.
    pub fn of_updates(key: &EntityKey, descending: bool, filter: Option<&Filter>) -> Self {
        let order = if descending { "version desc" } else { "version" };
        // no part can hold a NUL, but for the last one
        let mut name = vec!["updates", key.entity_type(), key.entity_id(), order];
        name.extend(filter.map(Filter::text));
        let name = name.join("\0");
        Self { list: Uuid::new_v5(&NAMESPACE, name.as_bytes()) }
    }

    /// Those of a list of entities, which is known by its parts: none holds a NUL.
    pub(super) fn of_entities(parts: &[&str]) -> Self {
        let name = format!("entities\0{}", parts.join("\0"));
        Self { list: Uuid::new_v5(&NAMESPACE, name.as_bytes()) }
    }

    /// Those of the list of types.
    pub(super) fn of_types() -> Self {
        Self { list: Uuid::new_v5(&NAMESPACE, b"types") }
    }

    /// Those of the dead letters of a connector, which is known by its role and name, or of all; positions are
    /// ids.
    pub fn of_dead_letters(connector: Option<(&str, &str)>) -> Self {
        // no part can hold a NUL, but for the last one
        let name = connector.map_or_else(String::new, |(role, name)| format!("\0{role}\0{name}"));
        Self { list: Uuid::new_v5(&NAMESPACE, format!("dead-letters{name}").as_bytes()) }
    }

    /// Those of the search that these parts identify; what a position means is the search's affair.
    pub fn of_search<'p>(parts: impl IntoIterator<Item = &'p str>) -> Self {
        let name = parts.into_iter().fold("search".to_owned(), |name, part| name + "\0" + part);
        Self { list: Uuid::new_v5(&NAMESPACE, name.as_bytes()) }
    }

    /// The token of the page that follows on `position`. It has letters, digits, `-` and `_`, so that it
    /// needs no escape in a URL.
    pub fn write(self, position: u64) -> String {
        self.seal(&position.to_be_bytes())
    }

    /// The position that a token was written with.
    ///
    /// # Errors
    /// The end of a sentence about the token, which was not written for this list: `must be …`.
    pub fn read(self, token: &str) -> Result<u64, &'static str> {
        let position = self.open(token).and_then(|content| content.try_into().ok());
        position.map(u64::from_be_bytes).ok_or(NOT_OURS)
    }

    /// The token that holds `content`.
    pub(super) fn seal(self, content: &[u8]) -> String {
        let checksum = Uuid::new_v5(&self.list, content).into_bytes();
        URL_SAFE_NO_PAD.encode([content, &checksum[..CHECKSUM]].concat())
    }

    /// What a token holds; `None` where it was not sealed for this list.
    pub(super) fn open(self, token: &str) -> Option<Vec<u8>> {
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        bytes.truncate(bytes.len().checked_sub(CHECKSUM)?);
        (self.seal(&bytes) == token).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Scope;

    fn tokens(entity_type: &str, entity_id: &str, descending: bool) -> PageTokens {
        PageTokens::of_updates(&EntityKey::new_unchecked(entity_type, entity_id), descending, None)
    }

    fn with_filter(filter: &str) -> PageTokens {
        let filter = Filter::parse(filter, Scope::History).expect("a filter");
        PageTokens::of_updates(&EntityKey::new_unchecked("Car", "a"), false, Some(&filter))
    }

    #[test]
    fn a_token_gives_back_its_position() {
        let tokens = tokens("Car", "a", false);
        for position in [0, 1, 100_000, u64::MAX] {
            let token = tokens.write(position);
            assert_eq!(tokens.read(&token), Ok(position));
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        }
    }

    #[test]
    fn a_token_of_an_earlier_release_is_still_valid() {
        assert_eq!(tokens("Car", "a", false).write(7), "AAAAAAAAAAdPx1-VJaxVsw");
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let token = tokens("Car", "a", false).write(7);
        for other in [
            tokens("Car", "a", true),
            tokens("Car", "b", false),
            tokens("Truck", "a", false),
            tokens("Ca", "ra", false),
            with_filter("version > 1"),
        ] {
            assert!(other.read(&token).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_token_of_another_filter_is_refused() {
        let token = with_filter("version > 1").write(7);
        assert_eq!(with_filter("version > 1").read(&token), Ok(7));
        assert!(with_filter("version > 2").read(&token).is_err());
        assert!(tokens("Car", "a", false).read(&token).is_err());
    }

    #[test]
    fn a_token_of_other_dead_letters_is_refused() {
        let lists = [None, Some(("sink", "a")), Some(("source", "a")), Some(("sink", "b"))];
        for written in lists {
            let token = PageTokens::of_dead_letters(written).write(7);
            for read in lists {
                let position = PageTokens::of_dead_letters(read).read(&token);
                assert_eq!(position == Ok(7), read == written, "{written:?} {read:?}");
            }
        }
    }

    #[test]
    fn a_token_that_was_altered_is_refused() {
        let tokens = tokens("Car", "a", true);
        let token = tokens.write(7);
        for length in 0..token.len() {
            assert!(tokens.read(&token[..length]).is_err(), "cut to {length}");
        }
        for (place, old) in token.char_indices() {
            for new in ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("-_=+/ é".chars()) {
                let mut altered = token.clone();
                altered.replace_range(place..=place, new.encode_utf8(&mut [0; 4]));
                assert_eq!(tokens.read(&altered).is_ok(), new == old, "{altered}");
            }
        }
        for other in [format!("{token}A"), format!("{token}=="), format!(" {token}"), "7".into()] {
            assert!(tokens.read(&other).is_err(), "{other}");
        }
        assert!(tokens.read(&"A".repeat(1 << 20)).is_err());
    }
}
