//! The words of many rows, in few bytes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A hash of the words that rows have, by id. What it costs to ask for the words of one row rises with the
/// number of rows, so that all are read once, in the order of the words.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints(HashMap<i64, u64>);

impl Fingerprints {
    /// The words of a row; `None` where it has none.
    pub(super) fn of(&self, id: i64) -> Option<u64> {
        self.0.get(&id).copied()
    }

    /// The order in which words come does not count.
    pub(super) fn add(&mut self, id: i64, column: &str, word: &str, place: i64) {
        let mut hasher = DefaultHasher::new();
        (column, word, place).hash(&mut hasher);
        let sum = self.0.entry(id).or_default();
        *sum = sum.wrapping_add(hasher.finish());
    }
}
