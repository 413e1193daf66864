//! What a filter is once it is parsed.

use std::time::Duration;

use super::names::{Name, Scope};
use crate::json::Selection;
use crate::time::Timestamp;

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
