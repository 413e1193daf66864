//! What is asked of a search, and its answer.

use super::engine::Engine;
use super::facets::{Facet, FacetValue};
use crate::filter::Filter;
use crate::json::Path;
use crate::model::{Entity, Problem};
use crate::query::ReadError;

/// Hits of a page, unless another size is asked for.
pub const SEARCH_PAGE: u32 = 20;
/// Hits of a page at most.
pub const MAX_SEARCH_PAGE: u32 = 100;
/// Hits that are ranked and counted at most.
pub const MAX_HITS: usize = 10_000;
/// Facets at most.
pub const MAX_FACETS: usize = 8;

/// A search.
#[derive(Debug, Clone, Default)]
pub struct SearchRequest {
    /// In the syntax of [`Query`](super::Query); empty for all that the filter lets through.
    pub query: String,
    /// Over these types; empty for all that declare search.
    pub types: Vec<String>,
    /// What hits must fulfil, of [`Scope::Entity`](crate::filter::Scope::Entity).
    pub filter: Option<Filter>,
    /// What to count of the hits, at most [`MAX_FACETS`].
    pub facets: Vec<Facet>,
    /// Whether to return fragments of the texts.
    pub highlight: bool,
    /// Whether a word may have a typo, where the engine finds those.
    pub fuzzy: bool,
    /// How many hits; more than [`MAX_SEARCH_PAGE`] means that.
    pub size: u32,
    /// [`SearchPage::next`] of the page before.
    pub token: Option<String>,
    /// About so many bytes of documents a page has at most; one it always has.
    pub bytes: usize,
}

/// A page of hits.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPage {
    /// By score, then type and id.
    pub hits: Vec<Hit>,
    /// How many there are.
    pub total: Total,
    /// For each facet that was asked for, its path and its most frequent values.
    pub facets: Vec<(Path, Vec<FacetValue>)>,
    /// Who searched.
    pub engine: Engine,
    /// Of an engine that lags: a token of the feed. What was committed up to there is found.
    pub indexed_up_to: Option<String>,
    /// The token of the next page; `None` behind the last hit, and behind the 1,000th.
    pub next: Option<String>,
}

/// How many hits there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The number of hits.
    pub value: u64,
    /// Whether there are no more.
    pub exact: bool,
}

/// An entity that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// As it is now, or as an engine that lags has it.
    pub entity: Entity,
    /// How well it matches; compares only within one answer.
    pub score: f64,
    /// For each path that is searched and has a match, fragments of its strings.
    pub highlights: Vec<Highlight>,
}

/// Fragments of the strings below a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Highlight {
    /// The path as it is declared.
    pub path: Path,
    /// HTML: matches are within `<em>`, all else is escaped.
    pub fragments: Vec<String>,
}

/// Why a search failed.
#[derive(Debug)]
pub enum SearchError {
    /// The database.
    Read(ReadError),
    /// What was asked for, or that too much is asked at once.
    Refused(Problem),
}

impl From<ReadError> for SearchError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Problem> for SearchError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}
