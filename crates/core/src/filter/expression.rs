//! What a filter is once it is parsed.

use super::names::{Name, Scope};
use super::value::{Literal, Literals};
use crate::json::Selection;

/// A parsed text.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub(super) text: Box<str>,
    pub(super) scope: Scope,
    /// Its conditions and operators.
    pub(super) nodes: usize,
    pub(super) condition: Expression,
    /// The paths that it reads of the document, and of the patch.
    pub(super) data: Selection,
    pub(super) patch: Selection,
    /// The paths that it asks whether an update touches them.
    pub(super) touched: Selection,
    /// How many [`Expression::Once`] it has.
    pub(super) once: usize,
    /// Whether it has conditions over elements.
    pub(super) has_elements: bool,
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
    OneOf(Operand, Literals),
    Has(Source),
    Text(Source, TextTest, Box<str>),
    Elements(Elements),
    /// The change's patch names the path of this slot, or it is a replace or delete.
    Touches(usize),
    /// A condition within one over elements that reads none of them, and where its verdict is kept: it is judged
    /// once, not for each element.
    Once(usize, Box<Self>),
}

impl Expression {
    /// Whether it compares two values, or looks one up in a list.
    pub(super) fn is_comparison(&self) -> bool {
        match self {
            Self::Compare(..) | Self::OneOf(..) => true,
            Self::Once(_, condition) => condition.is_comparison(),
            _ => false,
        }
    }

    /// Whether a condition without others in it reads the element that is looked at.
    pub(super) fn reads_element(&self) -> bool {
        match self {
            Self::Compare(left, _, right) => left.reads_element() || right.reads_element(),
            Self::OneOf(operand, _) => operand.reads_element(),
            Self::Has(source) | Self::Text(source, ..) => source.is_of_element(),
            _ => false,
        }
    }
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

impl Operand {
    fn reads_element(&self) -> bool {
        match self {
            Self::Source(source) | Self::Size(source) | Self::Time(source) => {
                source.is_of_element()
            }
            Self::Literal(_) => false,
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Name(Name),
    Place(Place),
}

impl Source {
    pub(super) const fn is_of_element(self) -> bool {
        matches!(self, Self::Place(Place::Element(_)))
    }
}

/// A slot of one of the selections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Data(usize),
    Patch(usize),
    /// Of the element that is looked at.
    Element(usize),
}
