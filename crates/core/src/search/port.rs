//! The port of full-text engines.

use std::ops::ControlFlow;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::engine::Engine;
use super::query::{Term, Terms};
use super::request::SearchError;
use crate::model::{Entity, EntityKey};
use crate::query::ReadError;
use crate::time::Timestamp;
use crate::types::SearchDefinition;

/// The search that a type declares, and its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPart {
    /// What its rows are known by.
    pub id: i32,
    /// The type.
    pub entity_type: String,
    /// What is searched, and how.
    pub definition: SearchDefinition,
    /// Whether the rows are complete; before, they are being built.
    pub is_ready: bool,
}

/// Where the types stand that declare search.
pub trait SearchParts: Send + Sync + 'static {
    /// All of them, as of now.
    fn search_parts(&self) -> BoxFuture<'_, Result<Vec<SearchPart>, ReadError>>;
}

/// What to look for.
#[derive(Debug, Clone, Copy)]
pub struct MatchQuery<'a> {
    /// Where.
    pub part: &'a SearchPart,
    /// What, in the part's language; never [`Terms::Nothing`].
    pub terms: &'a Terms,
    /// Whether words that must be there may have a typo, as [`is_meant_with_a_typo`](super::is_meant_with_a_typo) says; only of
    /// an engine that [finds](Engine::finds_typos) them.
    pub fuzzy: bool,
    /// What of the state of each entity.
    pub needed: Needed<'a>,
    /// When to end with what there is.
    pub deadline: Instant,
}

/// What of the state of entities that are found is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed<'a> {
    /// Nothing.
    Nothing,
    /// Of the document the members with these names; an engine may return more of it.
    Members(&'a [&'a str]),
    /// All of it.
    State,
}

/// An entity whose text matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Matched {
    /// The entity's id.
    pub entity_id: String,
    /// How well, from 0; more is better.
    pub score: f64,
    /// Its state, where that was asked for.
    pub state: Option<Found>,
}

/// The state of an entity that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its version.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was updated.
    pub updated_at: Timestamp,
    /// Its document, or the members of it that are needed; one that is absent may be null then.
    pub data: String,
}

/// Which words of a text are meant by which terms of a query.
#[derive(Debug, Clone, Copy)]
pub struct StemsQuery<'a> {
    /// The language, not `simple`: there a word is its own stem.
    pub language: &'a str,
    /// Words as [`SearchText`](crate::types::search_text::SearchText) has them.
    pub words: &'a [String],
    /// Terms of a query in this language.
    pub terms: &'a [Term],
}

/// What [`SearchEngine::stems`] returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stems {
    /// Places of a word and of a term that means it.
    pub meant: Vec<(usize, usize)>,
    /// Places of terms that the language passes over, so that they mean any word.
    pub passed_over: Vec<usize>,
}

/// Finds entities by their texts.
pub trait SearchEngine: Send + Sync + 'static {
    /// Which one it is.
    fn engine(&self) -> Engine;

    /// Looks whether these types can be searched; none: all that declare search. Where the engine lags behind
    /// the log, returns the token up to which searches that follow find everything, as far as it is known.
    fn indexed_up_to<'a>(
        &'a self,
        types: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Option<String>, SearchError>> {
        let _ = types;
        Box::pin(async { Ok(None) })
    }

    /// Calls `each` with every entity that matches, in no particular order, until it breaks or the deadline
    /// has passed. What an answered write did is seen, unless the engine lags. Returns whether those were all.
    fn matches<'a>(
        &'a self,
        query: MatchQuery<'a>,
        each: &'a mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// The states of hits, as [`ListStore::states`] returns them, of an engine that has them itself; they lag as
    /// what it finds does.
    ///
    /// [`ListStore::states`]: crate::query::ListStore::states
    fn hit_states<'a>(
        &'a self,
        keys: &'a [&'a EntityKey],
        bytes: usize,
    ) -> Option<BoxFuture<'a, Result<Vec<Option<Entity>>, ReadError>>> {
        let _ = (keys, bytes);
        None
    }

    /// Which words have a stem that a term means.
    fn stems<'a>(&'a self, query: StemsQuery<'a>) -> BoxFuture<'a, Result<Stems, ReadError>>;
}
