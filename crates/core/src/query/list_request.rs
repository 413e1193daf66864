//! What is asked of a list, and what it answers.

use super::list_order::ListOrder;
use crate::filter::Filter;
use crate::model::Entity;

/// Which page of entities is wanted.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// The type of the entities; `None` for all types.
    pub entity_type: Option<String>,
    /// What they fulfil.
    pub filter: Option<Filter>,
    /// Their order; without it one that is not specified, but stable. Not for all types.
    pub order: Option<ListOrder>,
    /// How many at most.
    pub size: u32,
    /// How many bytes they have together at most, about, but for the first one.
    pub bytes: usize,
    /// What the page before returned.
    pub token: Option<String>,
    /// Whether to count all of the list.
    pub count: Option<CountKind>,
}

/// A page of entities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// In the order that was asked for. The page may be short or empty where it ended early.
    pub entities: Vec<Entity>,
    /// The token of the next page, as long as there may be one.
    pub next: Option<String>,
    /// How many entities the whole list has, where that was asked for.
    pub count: Option<Count>,
}

/// How exactly to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountKind {
    /// One by one, for a second at most.
    Exact,
    /// By the database's statistics, where they can tell.
    Estimated,
}

impl CountKind {
    /// Reads the name of a kind.
    ///
    /// # Errors
    /// The end of a sentence about the text: `must …`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "exact" => Ok(Self::Exact),
            "estimated" => Ok(Self::Estimated),
            _ => Err("must be exact or estimated"),
        }
    }
}

/// How many entities a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub value: u64,
    /// Whether that is what there is. If not, it is an estimate, or what was counted until time was up.
    pub exact: bool,
}

/// Which page of the types is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypesRequest {
    /// How many at most.
    pub size: u32,
    /// What the page before returned.
    pub token: Option<String>,
}

/// A page of types, in bytewise order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypesPage {
    /// The page may be short or empty where it ended early.
    pub types: Vec<TypeEntry>,
    /// The token of the next page, as long as there may be one.
    pub next: Option<String>,
}

/// A type that has entities or a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeEntry {
    /// The type.
    pub entity_type: String,
    /// How many entities it has, about.
    pub entities: u64,
    /// Whether it has a definition.
    pub defined: bool,
}
