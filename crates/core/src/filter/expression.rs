//! What a filter is once it is parsed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::FilterError;
use super::evaluate::{Facts, holds};
use super::names::{Name, Scope};
use super::parser::parse;
use crate::json::{PathStep, Selection, patch_names};
use crate::time::Timestamp;

/// A condition over an entity or a change. Cloning is cheap.
#[derive(Clone)]
pub struct Filter(pub(super) Arc<Parsed>);

/// A parsed text.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub(super) text: Box<str>,
    pub(super) scope: Scope,
    pub(super) condition: Expression,
    /// The paths that it reads of the document, and of the patch.
    pub(super) data: Selection,
    pub(super) patch: Selection,
    /// Whether it has names or functions beside `type`, `id` and `data`.
    pub(super) has_other_names: bool,
    /// Whether it has names that belong to the state beside `data`.
    pub(super) has_state_names: bool,
}

/// A condition.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare(Operand, Comparison, Operand),
    OneOf(Operand, Vec<Literal>),
    Has(Source),
    Text(Source, TextTest, Box<str>),
    Elements(Elements),
    /// The change's patch names this path, or it is a replace or delete.
    Touches(Vec<Box<str>>),
}

/// A condition over the elements of an array.
#[derive(Debug, Clone)]
pub(super) struct Elements {
    pub(super) array: Place,
    /// Whether all must fulfil it, or one.
    pub(super) all: bool,
    /// What is read of each element.
    pub(super) paths: Selection,
    pub(super) condition: Box<Expression>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The same comparison with its sides swapped.
    pub(super) const fn swapped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal | Self::NotEqual => self,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

/// One side of a comparison.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Source(Source),
    /// Characters, elements or members.
    Size(Source),
    /// A string or number of a document, read as a time.
    Time(Source),
    Literal(Literal),
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Name(Name),
    Place(Place),
}

/// A slot of one of the selections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Data(usize),
    Patch(usize),
    /// Of the element that is looked at.
    Element(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Text(Box<str>),
    /// The text of a JSON number.
    Number(Box<str>),
    Bool(bool),
    Null,
    Time(Timestamp),
    /// So long before the request.
    Before(Duration),
}

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

    /// Whether it holds. One that reads `data` holds of no change without a state.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        (facts.state.is_some() || !self.reads_data()) && holds(&self.0, facts)
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
        self.0.data.paths().iter().any(|path| patch_names(patch, keys(path)))
    }

    /// Bytes that it takes in memory, about.
    pub fn weight(&self) -> usize {
        // each node, path and literal has some bytes of the text
        size_of::<Parsed>() + self.0.text.len() * 16
    }
}

/// The keys of a path up to its first index: a patch replaces arrays as a whole.
fn keys(path: &[PathStep]) -> impl Iterator<Item = &str> {
    path.iter().map_while(|step| match step {
        PathStep::Key(key) => Some(&**key),
        PathStep::Index(_) => None,
    })
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
