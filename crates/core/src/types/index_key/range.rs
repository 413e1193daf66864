//! Ranges of keys. They may contain more than what matches, since long strings are cut, and never less: each
//! entity that is found is judged by the filter itself.

use super::encoding::{FALSE, NEGATIVE, POSITIVE, STRING, TRUE, cut, time};
use super::{IndexValue, Scalar, characters, scalar};
use crate::types::definition::IndexDefinition;
use crate::types::index_path::IndexPath;

/// The keys from `from` up to and without `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The lowest key.
    pub from: Vec<u8>,
    /// The first key that is not in it.
    pub to: Vec<u8>,
}

/// What is asked of the value at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition<'a> {
    /// It is there.
    Any,
    /// `==`
    Equal(IndexValue<'a>),
    /// `<`
    Less(IndexValue<'a>),
    /// `<=`
    AtMost(IndexValue<'a>),
    /// `>`
    Greater(IndexValue<'a>),
    /// `>=`
    AtLeast(IndexValue<'a>),
    /// `startsWith`
    StartsWith(&'a str),
}

/// What the keys of all entities begin with that have these values at the index's first paths. `None` where
/// no entity can have them: a time is asked of a document's path, or another kind of a time.
pub fn prefix(index: &IndexDefinition, equal: &[IndexValue<'_>]) -> Option<Vec<u8>> {
    let mut prefix = Vec::new();
    for (place, value) in equal.iter().enumerate() {
        prefix = encoded(index, place, prefix, value)?;
    }
    Some(prefix)
}

/// The keys of all entities that have the values `equal` at the index's first paths and fulfil `condition` at the
/// next one, whatever they have at the others. A comparison only finds values of the same kind. `None` where
/// none can fulfil it.
pub fn range(
    index: &IndexDefinition,
    equal: &[IndexValue<'_>],
    condition: &Condition<'_>,
) -> Option<Range> {
    let (prefix, place) = (prefix(index, equal)?, equal.len());
    let kind = match condition {
        Condition::Any => return any(index.paths.get(place)?, prefix),
        Condition::StartsWith(text) => return starts_with(index, place, prefix, text),
        Condition::Equal(value)
        | Condition::Less(value)
        | Condition::AtMost(value)
        | Condition::Greater(value)
        | Condition::AtLeast(value) => value,
    };
    let key = encoded(index, place, prefix.clone(), kind)?;
    let lowest = || below(&prefix, kind).from;
    let behind_all = || below(&prefix, kind).to;
    let is_cut = is_cut(kind, characters(index.paths.len()));
    Some(match condition {
        Condition::Less(_) if !is_cut => Range { from: lowest(), to: key },
        Condition::Less(_) | Condition::AtMost(_) => Range { from: lowest(), to: after(key) },
        Condition::Greater(_) if !is_cut => Range { from: after(key), to: behind_all() },
        Condition::Greater(_) | Condition::AtLeast(_) => Range { from: key, to: behind_all() },
        _ => Range { from: key.clone(), to: after(key) },
    })
}

/// The prefix, and behind it the value at the path in this place.
fn encoded(
    index: &IndexDefinition,
    place: usize,
    mut prefix: Vec<u8>,
    value: &IndexValue<'_>,
) -> Option<Vec<u8>> {
    match (index.paths.get(place)?, value) {
        (IndexPath::CreatedAt | IndexPath::UpdatedAt, IndexValue::Time(value)) => {
            prefix.extend(time(*value));
        }
        (IndexPath::Data(_), IndexValue::Scalar(value)) => {
            scalar(&mut prefix, value, characters(index.paths.len()));
        }
        _ => return None,
    }
    Some(prefix)
}

/// Whether other strings may have the same key: those that are as long as what is kept, or longer.
fn is_cut(value: &IndexValue<'_>, characters: usize) -> bool {
    match value {
        IndexValue::Scalar(Scalar::String(text)) => {
            text.len() >= characters && text.chars().nth(characters - 1).is_some()
        }
        _ => false,
    }
}

fn any(path: &IndexPath, prefix: Vec<u8>) -> Option<Range> {
    Some(match path {
        IndexPath::CreatedAt | IndexPath::UpdatedAt => all_times(prefix),
        IndexPath::Data(_) => between(&prefix, FALSE, STRING),
    })
}

fn starts_with(
    index: &IndexDefinition,
    place: usize,
    mut prefix: Vec<u8>,
    text: &str,
) -> Option<Range> {
    index.paths.get(place)?.data()?;
    prefix.push(STRING);
    prefix.extend(cut(text, characters(index.paths.len())).as_bytes());
    Some(Range { from: prefix.clone(), to: after(prefix) })
}

/// All values of the same kind.
fn below(prefix: &[u8], value: &IndexValue<'_>) -> Range {
    match value {
        IndexValue::Time(_) => all_times(prefix.to_vec()),
        IndexValue::Scalar(Scalar::Bool(_)) => between(prefix, FALSE, TRUE),
        IndexValue::Scalar(Scalar::Number(_)) => between(prefix, NEGATIVE, POSITIVE),
        IndexValue::Scalar(Scalar::String(_)) => between(prefix, STRING, STRING),
    }
}

/// No time of the years 0001 to 9999 begins with the byte 255.
fn all_times(prefix: Vec<u8>) -> Range {
    let mut to = prefix.clone();
    to.push(u8::MAX);
    Range { from: prefix, to }
}

/// The values of these kinds.
fn between(prefix: &[u8], first: u8, last: u8) -> Range {
    let with = |byte| [prefix, &[byte]].concat();
    Range { from: with(first), to: with(last + 1) }
}

/// The first key behind all that begin with these bytes, of which one at least is not 255.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            break;
        }
    }
    key
}
