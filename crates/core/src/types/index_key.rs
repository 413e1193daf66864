//! Keys of indexes: bytes whose order is the order of the values, alike on both databases.
//!
//! A key is the encodings of the values at the index's paths, one behind the other. No encoding of a path is
//! the beginning of another one, so comparing keys compares the values in turn:
//!
//! | value | bytes |
//! |---|---|
//! | false, true | a byte for each |
//! | number | a byte for its sign, then, inverted for negative ones, two for its magnitude and one for each two digits, ended by 0 |
//! | string | a byte, then UTF-8 of its first 256 characters (128 in an index of several paths), ended by 0 |
//! | time | its microseconds since year 1 in eight bytes, as only times are at such a path |
//!
//! Bytes of kinds are in the order of the kinds. Documents hold no U+0000, so 0 is below every character. All
//! else (null, arrays, objects, nothing) is absent, and an entity in which a path is absent has no key.

mod encoding;
mod range;

use std::borrow::Cow;

use self::encoding::{number, string, time};
pub use self::range::{Condition, Range, prefix, range};
use super::definition::IndexDefinition;
use super::index_path::IndexPath;
use crate::json::{Selection, decode};
use crate::model::Timestamp;

/// Bytes that a key takes at most: with the longest id it fits into a page of a b-tree.
pub const MAX_KEY_BYTES: usize = 1600;

/// A value that a document may have at an indexed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// The text of a JSON number.
    Number(&'a str),
    /// The characters of a string.
    String(Cow<'a, str>),
}

impl<'a> Scalar<'a> {
    /// The scalar of a JSON text; `None` for null, arrays and objects.
    pub fn from_json(text: &'a str) -> Option<Self> {
        match text.as_bytes() {
            [b'"', .., b'"'] => Some(Self::String(decode(&text[1..text.len() - 1]))),
            [b'-' | b'0'..=b'9', ..] => Some(Self::Number(text)),
            b"true" => Some(Self::Bool(true)),
            b"false" => Some(Self::Bool(false)),
            _ => None,
        }
    }
}

/// A value at a path of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexValue<'a> {
    /// At `createdAt` and `updatedAt`.
    Time(Timestamp),
    /// At a path into the document.
    Scalar(Scalar<'a>),
}

impl From<Timestamp> for IndexValue<'_> {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

impl<'a> From<Scalar<'a>> for IndexValue<'a> {
    fn from(scalar: Scalar<'a>) -> Self {
        Self::Scalar(scalar)
    }
}

/// What keys are made of.
#[derive(Debug, Clone, Copy)]
pub struct EntityFacts<'a> {
    /// `createdAt`
    pub created: Timestamp,
    /// `updatedAt`
    pub updated: Timestamp,
    /// The document's JSON text.
    pub data: &'a str,
}

/// The key of an entity in one index; `None` where a path is absent. To make keys of many entities or indexes,
/// use [`KeyMaker`].
pub fn key(index: &IndexDefinition, facts: EntityFacts<'_>) -> Option<Vec<u8>> {
    KeyMaker::new([index]).keys(facts).pop().flatten()
}

/// Makes the keys of entities in several indexes, with one pass over each document.
#[derive(Debug, Clone, Default)]
pub struct KeyMaker {
    /// Paths into documents.
    data: Selection,
    indexes: Vec<Vec<Source>>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Created,
    Updated,
    /// A path's slot.
    Data(usize),
}

impl KeyMaker {
    /// For these indexes, in their order.
    pub fn new<'d>(indexes: impl IntoIterator<Item = &'d IndexDefinition>) -> Self {
        let (mut data, mut sources) = (Selection::default(), Vec::new());
        for index in indexes {
            let source = |path: &'d IndexPath| match path {
                IndexPath::CreatedAt => Source::Created,
                IndexPath::UpdatedAt => Source::Updated,
                IndexPath::Data(path) => Source::Data(data.add_path(path)),
            };
            sources.push(index.paths.iter().map(source).collect());
        }
        Self { data, indexes: sources }
    }

    /// An entity's key in each index; `None` where a path is absent.
    pub fn keys(&self, facts: EntityFacts<'_>) -> Vec<Option<Vec<u8>>> {
        let keys = self.keys_without_times(facts.data).into_iter();
        keys.map(|key| Some(key?.with_times(facts.created, facts.updated))).collect()
    }

    /// As [`KeyMaker::keys`], of an entity whose times are not known yet.
    pub(super) fn keys_without_times(&self, data: &str) -> Vec<Option<TimelessKey>> {
        let found = self.data.find(data);
        self.indexes.iter().map(|sources| TimelessKey::new(sources, &found)).collect()
    }
}

/// A key without the times of its entity: its bytes are 0 there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimelessKey {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where the eight bytes of `createdAt` begin, if it has them.
    pub created_at: Option<usize>,
    /// Where the eight bytes of `updatedAt` begin, if it has them.
    pub updated_at: Option<usize>,
}

impl TimelessKey {
    /// `None` where a path is absent.
    fn new(sources: &[Source], found: &[Option<&str>]) -> Option<Self> {
        let characters = characters(sources.len());
        let mut key = Self::default();
        for source in sources {
            match source {
                Source::Created => key.created_at = Some(key.push_place()),
                Source::Updated => key.updated_at = Some(key.push_place()),
                Source::Data(slot) => {
                    scalar(&mut key.bytes, &Scalar::from_json(found[*slot]?)?, characters);
                }
            }
        }
        Some(key)
    }

    fn push_place(&mut self) -> usize {
        let place = self.bytes.len();
        self.bytes.extend([0; 8]);
        place
    }

    /// The key of an entity with these times.
    pub fn with_times(mut self, created: Timestamp, updated: Timestamp) -> Vec<u8> {
        for (place, value) in [(self.created_at, created), (self.updated_at, updated)] {
            if let Some(place) = place {
                self.bytes[place..place + 8].copy_from_slice(&time(value));
            }
        }
        self.bytes
    }
}

/// How many characters of a string are indexed in an index of so many paths.
pub const fn characters(paths: usize) -> usize {
    if paths > 1 { 128 } else { 256 }
}

fn scalar(key: &mut Vec<u8>, scalar: &Scalar<'_>, characters: usize) {
    match scalar {
        Scalar::Bool(value) => key.push(encoding::of_bool(*value)),
        Scalar::Number(text) => number(key, text),
        Scalar::String(text) => string(key, text, characters),
    }
}

#[cfg(test)]
mod tests;
