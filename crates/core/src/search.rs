//! Full-text search over the types that declare it.
//!
//! What belongs to the contract is here, so that every engine gives the same answers: the syntax of queries
//! ([`Query`]), what counts as a word, which text of an entity is searched
//! ([`search_text`](crate::types::search_text)), filters,
//! facets and highlighted fragments. An engine ([`SearchEngine`]) finds and scores the entities whose words
//! match, and knows the stems of a language.

mod engine;
mod facets;
mod fragments;
mod highlights;
mod port;
mod query;
mod request;
mod service;
mod token;
mod typos;

pub use engine::Engine;
pub use facets::{Facet, FacetValue};
pub use port::{
    Found, MatchQuery, Matched, Needed, SearchEngine, SearchPart, SearchParts, Stems, StemsQuery,
};
pub use query::{Leaf, MAX_QUERY_BYTES, Query, Term, Terms};
pub use request::{
    Highlight, Hit, MAX_FACETS, MAX_HITS, MAX_SEARCH_PAGE, SEARCH_PAGE, SearchError, SearchPage,
    SearchRequest, Total,
};
pub use service::Search;
pub use typos::{is_meant_with_a_typo, may_have_a_typo};
