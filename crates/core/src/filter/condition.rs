//! A filter, as its users have it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::FilterError;
use super::evaluate::{Facts, holds};
use super::exclusion::excludes;
use super::expression::Parsed;
use super::names::{Field, Scope};
use super::narrow::{Constraint, constraints, without};
use super::parser::parse;
use crate::json::Path;
use crate::time::Timestamp;

/// What a condition takes with a byte at most, estimated generously: what is too high costs a change of threads.
const NANOS: u64 = 3;
/// The same of a filter with conditions over elements. The slowest one that is known takes 8 ns: 21 `exists`, which
/// have 63 nodes, over 500,000 numbers in half a second.
const NANOS_OF_ELEMENTS: u64 = 25;

/// A condition over an entity or a change. Cloning is cheap.
#[derive(Clone)]
pub struct Filter(Arc<Parsed>);

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// Where the text is none, and what was expected there.
    pub fn parse(text: &str, scope: Scope) -> Result<Self, FilterError> {
        parse(text, scope).map(|parsed| Self(Arc::new(parsed)))
    }

    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What it demands of a field: the conditions over it that are joined by `&&` at the top. Times relative to
    /// the request are relative to `now`.
    pub fn constraints(&self, field: Field<'_>, now: Timestamp) -> Vec<Constraint<'_>> {
        constraints(&self.0, field, now)
    }

    /// The filter without those conditions that are joined by `&&` at the top and read this path alone; `None`
    /// where nothing is left.
    pub fn without(&self, path: &Path) -> Option<Self> {
        without(&self.0, path).map(|parsed| Self(Arc::new(parsed)))
    }

    /// Whether it holds; a task that shares its thread judges by [`JudgingTime`](super::JudgingTime). None over entities holds of one that does not exist, and none over changes that reads
    /// `data` of a change without a state.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        let needs_state = self.0.scope == Scope::Entity || self.reads_data();
        (facts.state.is_some() || !needs_state) && holds(&self.0, facts)
    }

    /// Whether it holds of no state at all, as far as that follows from the other facts: the state need not be
    /// read then.
    pub fn excludes(&self, facts: &Facts<'_>) -> bool {
        excludes(&self.0, facts)
    }

    /// Whether it reads the document.
    pub fn reads_data(&self) -> bool {
        !self.0.data.paths().is_empty()
    }

    /// Whether it reads anything of the state: the document or its times.
    pub fn reads_state(&self) -> bool {
        self.0.has_state_names || self.reads_data()
    }

    /// Whether it reads the type, the id and the document alone: what it says of an entity then depends on
    /// its state, and not on the update.
    pub fn reads_key_and_data_only(&self) -> bool {
        !self.0.has_other_names
    }

    /// Whether an update may change what it reads of the document: the update's patch names one of its paths,
    /// one above or below it. A replace or delete always may.
    pub fn is_touched_by(&self, patch: &str) -> bool {
        self.0.data.named_by(patch).contains(&true)
    }

    /// How many conditions and operators it has, 64 at most: a measure of the time that it takes with each
    /// byte of a document.
    pub fn nodes(&self) -> usize {
        self.0.nodes
    }

    /// How long it takes at most, about, with documents and patches of so many bytes.
    pub fn longest(&self, bytes: usize) -> Duration {
        let nanos = if self.0.has_elements { NANOS_OF_ELEMENTS } else { NANOS };
        let steps = self.0.nodes.max(1).saturating_mul(bytes);
        Duration::from_nanos((steps as u64).saturating_mul(nanos))
    }

    /// Bytes that it takes in memory, about.
    pub fn weight(&self) -> usize {
        // each node, path and literal has some bytes of the text
        size_of::<Parsed>() + self.0.text.len() * 16
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.0.scope == other.0.scope && self.0.text == other.0.text
    }
}

impl Eq for Filter {}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.0.text).finish()
    }
}
