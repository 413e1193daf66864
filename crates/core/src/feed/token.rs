//! Tokens: where a reader goes on, as an opaque text.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

use super::types::Types;
use crate::filter::{Filter, Scope};
use crate::model::EntityKey;

/// The namespace (RFC 9562, 5.5) of the checksums.
const NAMESPACE: Uuid = uuid!("5c2c1d0e-8a4f-4f6c-9d57-3b1e60a7c9f2");
/// Bytes of the checksum.
const CHECKSUM: usize = 6;
/// The first byte of a token of the log, and of one of a snapshot. Others are for later releases.
const IN_LOG: u8 = 1;
const IN_SNAPSHOT: u8 = 2;

/// Where a reader goes on: a place in one log. The text has a checksum, so that one that was cut or altered
/// is refused. There is no secret in it: a place gives access to nothing that the feed does not give.
///
/// A text is good in every process and release, for as long as the log is kept from there on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The identity of the log.
    pub epoch: Uuid,
    /// The place.
    pub cursor: Cursor,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// Behind the row of the log with this position; behind its floor; or at its beginning, which is 0.
    Log(u64),
    /// Within a snapshot.
    Snapshot(Arc<SnapshotCursor>),
}

/// A place in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotCursor {
    /// The changes that follow on the snapshot are those behind this position.
    pub position: u64,
    /// The types that the snapshot has.
    pub types: Types,
    /// Only entities that match it are in the snapshot.
    pub filter: Option<Filter>,
    /// The last entity that was sent; `None` before the first one.
    pub after: Option<EntityKey>,
}

#[derive(Serialize, Deserialize)]
struct SnapshotText {
    types: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    after: Option<(String, String)>,
}

impl Token {
    /// Behind a position of the log.
    pub const fn in_log(epoch: Uuid, position: u64) -> Self {
        Self { epoch, cursor: Cursor::Log(position) }
    }

    /// The position of the log behind which it goes on, after the rest of the snapshot if it is in one.
    pub fn position(&self) -> u64 {
        match &self.cursor {
            Cursor::Log(position) => *position,
            Cursor::Snapshot(cursor) => cursor.position,
        }
    }

    /// About so many bytes its text has because of a filter.
    pub(super) fn filter_bytes(&self) -> usize {
        match &self.cursor {
            Cursor::Log(_) => 0,
            // quotes are escaped, and base64 makes four characters of three
            Cursor::Snapshot(cursor) => {
                cursor.filter.as_ref().map_or(0, |filter| filter.text().len() * 3 / 2)
            }
        }
    }

    /// The token that a text is; `None` where it is none that [`Token`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        if checksum != Self::checksum(content) {
            return None;
        }
        let (kind, content) = content.split_first()?;
        let (epoch, content) = content.split_first_chunk()?;
        let (position, rest) = content.split_first_chunk()?;
        let (epoch, position) = (Uuid::from_bytes(*epoch), u64::from_be_bytes(*position));
        match (*kind, rest) {
            (IN_LOG, []) => Some(Self::in_log(epoch, position)),
            (IN_SNAPSHOT, rest) => {
                let SnapshotText { types, filter, after } = serde_json::from_slice(rest).ok()?;
                let after = after.map(|(entity_type, id)| EntityKey::new(&entity_type, &id));
                let filter = filter.map(|text| Filter::parse(&text, Scope::Change));
                let cursor = SnapshotCursor {
                    position,
                    types: Types::new(types.unwrap_or_default()).ok()?,
                    filter: filter.transpose().ok()?,
                    after: after.transpose().ok()?,
                };
                Some(Self { epoch, cursor: Cursor::Snapshot(Arc::new(cursor)) })
            }
            _ => None,
        }
    }

    fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
        let hash = Uuid::new_v5(&NAMESPACE, content).into_bytes();
        std::array::from_fn(|index| hash[index])
    }
}

impl fmt::Display for Token {
    /// Letters, digits, `-` and `_`: it needs no escape in a URL, a header or JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self.cursor, Cursor::Log(_)) { IN_LOG } else { IN_SNAPSHOT };
        let mut bytes = Vec::with_capacity(1 + 16 + 8 + CHECKSUM);
        bytes.push(kind);
        bytes.extend(self.epoch.as_bytes());
        bytes.extend(self.position().to_be_bytes());
        if let Cursor::Snapshot(cursor) = &self.cursor {
            let names = cursor.types.names();
            let text = SnapshotText {
                types: names.map(|names| names.iter().map(|name| (**name).to_owned()).collect()),
                filter: cursor.filter.as_ref().map(|filter| filter.text().to_owned()),
                after: cursor
                    .after
                    .as_ref()
                    .map(|key| (key.entity_type().to_owned(), key.entity_id().to_owned())),
            };
            serde_json::to_writer(&mut bytes, &text).map_err(|_| fmt::Error)?;
        }
        bytes.extend(Self::checksum(&bytes));
        f.write_str(&URL_SAFE_NO_PAD.encode(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Uuid = uuid!("0190a5b4-71c4-7e0a-b6a9-5d2e8c1f4703");

    fn in_snapshot(types: &[&str], after: Option<EntityKey>) -> Token {
        let types = Types::new(types.iter().map(|&name| name.to_owned()).collect()).expect("types");
        let cursor = SnapshotCursor { position: 7, types, filter: None, after };
        Token { epoch: EPOCH, cursor: Cursor::Snapshot(Arc::new(cursor)) }
    }

    fn with_filter(filter: &str) -> Token {
        let filter = Some(Filter::parse(filter, Scope::Change).expect("a filter"));
        let cursor = SnapshotCursor { position: 7, types: Types::all(), filter, after: None };
        Token { epoch: EPOCH, cursor: Cursor::Snapshot(Arc::new(cursor)) }
    }

    #[test]
    fn a_text_gives_back_its_token() {
        let key = EntityKey::new_unchecked("Car", "\u{1F697}\"\\");
        for token in [
            Token::in_log(EPOCH, 0),
            Token::in_log(Uuid::nil(), u64::MAX),
            in_snapshot(&[], None),
            in_snapshot(&["Car", "Loan"], Some(key)),
            with_filter(r#"data["a \"b\""] == 'ä' || eventName == "x""#),
        ] {
            let text = token.to_string();
            assert_eq!(Token::parse(&text), Some(token), "{text}");
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        }
    }

    #[test]
    fn a_text_of_an_earlier_release_is_still_a_token() {
        let text = Token::in_log(EPOCH, 7).to_string();
        assert_eq!(text, "AQGQpbRxxH4KtqldLowfRwMAAAAAAAAAB09rI2bgRQ");
        let text = in_snapshot(&["Car"], None).to_string();
        assert_eq!(Token::parse(&text), Some(in_snapshot(&["Car"], None)));
        assert_eq!(
            text,
            "AgGQpbRxxH4KtqldLowfRwMAAAAAAAAAB3sidHlwZXMiOlsiQ2FyIl0sImFmdGVyIjpudWxsfdS11kKDbg"
        );
    }

    #[test]
    fn a_text_that_was_altered_is_no_token() {
        for token in
            [Token::in_log(EPOCH, 7), in_snapshot(&["Car"], None), with_filter("data.a == 1")]
        {
            let text = token.to_string();
            for length in 0..text.len() {
                assert_eq!(Token::parse(&text[..length]), None, "cut to {length}");
            }
            for (place, old) in text.char_indices() {
                for new in ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("-_=+/ é".chars()) {
                    let mut altered = text.clone();
                    altered.replace_range(place..=place, new.encode_utf8(&mut [0; 4]));
                    assert_eq!(Token::parse(&altered).is_some(), new == old, "{altered}");
                }
            }
        }
        for other in ["", "now", "A", &"A".repeat(1 << 20)] {
            assert_eq!(Token::parse(other), None);
        }
    }
}
