//! Where the next page of a list begins.

use crate::model::{EntityKey, Timestamp};

/// Where a list goes on, and since when it goes: what a page token holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The time of the first page, which `now` means in its filter.
    pub(super) now: Timestamp,
    /// The last entity that was looked at.
    pub(super) place: Place,
}

/// A place in a list: the list goes on behind it, in its direction. It needs not exist any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An entity, in the order of keys.
    Key(EntityKey),
    /// A row of an index.
    Index { index_id: i32, key: Vec<u8>, id: String },
    /// An entity, in the order of the values that are sorted in memory.
    Sorted { key: Vec<u8>, id: String },
}

const KEY: u8 = 0;
const SORTED: u8 = 1;
const INDEX: u8 = 2;

impl Cursor {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.now.micros().to_be_bytes().to_vec();
        match &self.place {
            Place::Key(key) => {
                bytes.push(KEY);
                put(&mut bytes, key.entity_type().as_bytes());
                bytes.extend(key.entity_id().as_bytes());
            }
            Place::Index { index_id, key, id } => {
                bytes.push(INDEX);
                bytes.extend(index_id.to_be_bytes());
                put(&mut bytes, key);
                bytes.extend(id.as_bytes());
            }
            Place::Sorted { key, id } => {
                bytes.push(SORTED);
                put(&mut bytes, key);
                bytes.extend(id.as_bytes());
            }
        }
        bytes
    }

    /// `None` of bytes that are none of [`Cursor::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (now, rest) = bytes.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let place = match *kind {
            KEY => {
                let (entity_type, id) = taken(rest)?;
                Place::Key(EntityKey::new_unchecked(text(entity_type)?, text(id)?))
            }
            INDEX => {
                let (index_id, rest) = rest.split_first_chunk()?;
                let (key, id) = taken(rest)?;
                let index_id = i32::from_be_bytes(*index_id);
                Place::Index { index_id, key: key.to_vec(), id: text(id)? }
            }
            SORTED => {
                let (key, id) = taken(rest)?;
                Place::Sorted { key: key.to_vec(), id: text(id)? }
            }
            _ => return None,
        };
        Some(Self { now: Timestamp::from_micros(i64::from_be_bytes(*now)), place })
    }
}

/// Appends bytes, at most 65,535, and before them how many.
fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_be_bytes());
    bytes.extend(part);
}

/// What [`put`] appended, and what follows.
fn taken(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let long = "😀".repeat(255);
        for place in [
            Place::Key(EntityKey::new_unchecked(&*long, &*long)),
            Place::Key(EntityKey::new_unchecked("Car", "a")),
            Place::Index { index_id: -7, key: vec![255; 1600], id: long.clone() },
            Place::Sorted { key: vec![0, 255, 7], id: "a".into() },
            Place::Sorted { key: vec![], id: long.clone() },
        ] {
            let cursor = Cursor { now: Timestamp::from_micros(-5), place };
            let bytes = cursor.to_bytes();
            assert_eq!(Cursor::from_bytes(&bytes), Some(cursor));
            for length in 0..12.min(bytes.len()) {
                Cursor::from_bytes(&bytes[..length]);
            }
        }
        assert_eq!(Cursor::from_bytes(b"12345678\x09"), None);
        assert_eq!(Cursor::from_bytes(b"12345678\x00\x00\x01\xff"), None);
    }
}
