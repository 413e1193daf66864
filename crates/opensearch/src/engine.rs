//! Search in the indexes of a sink.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::feed::{Cursor, Token};
use producer_core::model::{Entity, UnavailableKind};
use producer_core::query::ReadError;
use producer_core::search::{
    Engine as EngineName, Found as FoundState, MatchQuery, Matched, Needed, SearchEngine,
    SearchError, SearchPart, SearchParts, Stems, StemsQuery,
};
use producer_core::worker::{Role, WorkerStore};
use producer_core::{EntityKey, Location, Problem, Step, Violations};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Body, Client};
use crate::document;
use crate::error::Error;
use crate::marker::Marker;
use crate::query::{Fields, query};
use crate::scroll::{Found, Hit, Scroll};
use crate::states::states;
use crate::stems::KeptStems;
use crate::template::field_language;

/// The kind of sinks that keep what is searched.
const KIND: &str = "opensearch";
/// What the servers say of a query with too many clauses.
const TOO_MANY: &str = "maxClauseCount";
/// How long a small request may take, and a search beyond its own time.
const SMALL: Duration = Duration::from_secs(2);
/// Hits that the servers return at once at most.
const MAX_AT_ONCE: usize = 10_000;
/// Documents that are read first, and at once at most; about so many bytes they should have.
const FEW: usize = 50;
const MANY: usize = 1000;
const PART_BYTES: usize = 8 << 20;

/// Searches in the indexes that a sink of the worker keeps.
pub struct Engine {
    client: Client,
    /// The sink's name.
    sink: String,
    parts: Arc<dyn SearchParts>,
    sinks: Arc<dyn WorkerStore>,
    /// As it was read last.
    marker: Mutex<Option<Arc<Marker>>>,
    stems: KeptStems,
}

/// Where to search.
#[derive(Debug, Clone)]
pub struct Target {
    /// The cluster.
    pub client: Client,
    /// The name of the sink whose indexes are searched.
    pub sink: String,
}

impl Engine {
    /// Searches there; `parts` says what types declare, and `sinks` how far the sink is.
    pub fn new(target: Target, parts: Arc<dyn SearchParts>, sinks: Arc<dyn WorkerStore>) -> Self {
        let Target { client, sink } = target;
        let (marker, stems) = (Mutex::default(), KeptStems::default());
        Self { client, sink, parts, sinks, marker, stems }
    }

    /// Reads what the indexes have.
    async fn read_marker(&self) -> Result<Option<Arc<Marker>>, ReadError> {
        let marker = Marker::read(&self.client, &self.sink, SMALL).await.map_err(unavailable)?;
        let marker = marker.map(Arc::new);
        self.marker.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&marker);
        Ok(marker)
    }

    /// What the indexes have, as it was read last.
    fn marker(&self) -> Option<Arc<Marker>> {
        self.marker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn position(&self, types: &[&str]) -> Result<Option<String>, SearchError> {
        let mut sinks = self.sinks.connectors(Role::Sink, Some(&self.sink)).await?;
        let Some(sink) = sinks.pop().filter(|sink| sink.kind == KIND) else {
            let rule = format!(
                "can't be searched: no worker has a sink {:?} of the kind {KIND}",
                self.sink
            );
            return Err(refused(rule).into());
        };
        if let Some(marker) = self.read_marker().await? {
            self.check(&marker, types).await?;
        }
        // while a snapshot is taken nobody knows
        let token = sink.token.filter(|text| {
            Token::parse(text).is_some_and(|token| matches!(token.cursor, Cursor::Log(_)))
        });
        Ok(token)
    }

    /// Whether the sink has all of these types.
    async fn check(&self, marker: &Marker, types: &[&str]) -> Result<(), SearchError> {
        if marker.filter.is_some() {
            let rule = format!("can't be searched: the sink {:?} has a filter", self.sink);
            return Err(refused(rule).into());
        }
        let declared = if types.is_empty() { self.parts.search_parts().await? } else { Vec::new() };
        let declared = declared.iter().map(|part| part.entity_type.as_str());
        let missing = types.iter().copied().chain(declared).find(|name| !marker.includes(name));
        missing.map_or(Ok(()), |name| {
            Err(refused(format!("has {name:?}, which the sink {:?} does not have", self.sink))
                .into())
        })
    }

    async fn find(
        &self,
        query: MatchQuery<'_>,
        each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> Result<bool, Error> {
        let left = query.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let marker = self.marker();
        let index = marker.as_ref().and_then(|marker| marker.indexes.get(&query.part.entity_type));
        // without an index the type has no entity
        let Some(index) = index else { return Ok(true) };
        let search = Search { engine: self, index: &index.name, query };
        let found = match query.needed {
            Needed::Nothing => search.ids(left, each).await,
            Needed::Members(_) | Needed::State => search.states(left, each).await,
        };
        match found {
            // more words than the server takes in one query
            Err(Error::Status { status: 400, cause, .. }) if cause.reason.contains(TOO_MANY) => {
                Ok(false)
            }
            found => found,
        }
    }

    async fn find_stems(&self, query: StemsQuery<'_>) -> Result<Stems, Error> {
        let language = field_language(query.language);
        let terms = query.terms.iter().map(|term| term.word.as_str());
        let all: Vec<&str> = query.words.iter().map(String::as_str).chain(terms).collect();
        let stems = self.stems.of(&self.client, language, &all, SMALL).await?;
        let (of_words, of_terms) = stems.split_at(query.words.len());
        let mut meant = Vec::new();
        for (place, (word, stem)) in query.words.iter().zip(of_words).enumerate() {
            for (number, (term, stem_of_term)) in query.terms.iter().zip(of_terms).enumerate() {
                let is_meant =
                    if term.begins { word.starts_with(&term.word) } else { stem == stem_of_term };
                if is_meant {
                    meant.push((place, number));
                }
            }
        }
        Ok(Stems { meant, passed_over: Vec::new() })
    }
}

/// A search in one index.
struct Search<'s> {
    engine: &'s Engine,
    index: &'s str,
    query: MatchQuery<'s>,
}

impl Search<'_> {
    /// What is looked for, with `members` beside it. The server stops looking a little before it is too late.
    fn body(&self, left: Duration, members: Value) -> Value {
        let definition = &self.query.part.definition;
        let mut weights: Vec<u8> = definition.paths.iter().map(|(_, weight)| *weight).collect();
        weights.sort_unstable();
        weights.dedup();
        let language = field_language(&definition.language);
        let fields = Fields { language, weights: &weights, fuzzy: self.query.fuzzy };
        let mut body = json!({
            "query": query(self.query.terms, &fields),
            "timeout": format!("{}ms", left.as_millis().max(1)),
        });
        if let (Some(body), Value::Object(members)) = (body.as_object_mut(), members) {
            body.extend(members);
        }
        body
    }

    async fn once(&self, left: Duration, members: Value) -> Result<Found, Error> {
        let mut body = self.body(left, members);
        // a scroll takes no limit
        body["track_total_hits"] = (MAX_AT_ONCE + 1).into();
        let body = Body::Json(body.to_string());
        let path = [self.index, "_search"];
        self.engine.client.json(Method::POST, &path, "", body, left + SMALL).await
    }

    /// Ids and scores: the best ones, in one answer. Nothing is read of the documents.
    async fn ids(
        &self,
        left: Duration,
        each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> Result<bool, Error> {
        let members = json!({
            "size": MAX_AT_ONCE, "stored_fields": "_none_", "docvalue_fields": ["entityId"],
        });
        let found = self.once(left, members).await?;
        let is_complete = !found.timed_out && found.total() <= MAX_AT_ONCE as u64;
        for hit in found.hits.hits {
            let Some(entity_id) = hit.entity_id() else { continue };
            let score = hit.score.unwrap_or_default();
            let matched = Matched { entity_id: entity_id.to_owned(), score, state: None };
            if each(matched).is_break() {
                return Ok(false);
            }
        }
        Ok(is_complete)
    }

    /// With documents, the best ones first: a few, and where these are not all, all of them in parts whose size
    /// is that of the first ones.
    async fn states(
        &self,
        left: Duration,
        each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> Result<bool, Error> {
        let first = self.once(left, json!({"size": FEW})).await?;
        if first.timed_out || first.total() <= first.hits.hits.len() as u64 {
            return Ok(each_of(&first.hits.hits, each)? && !first.timed_out);
        }
        let bytes: usize = first.hits.hits.iter().map(bytes).sum();
        let size = PART_BYTES / (bytes / FEW).max(1);
        let left = self.query.deadline.saturating_duration_since(Instant::now());
        let body = self.body(left, json!({"size": size.clamp(FEW, MANY)}));
        let client = &self.engine.client;
        let (mut scroll, mut found) =
            Scroll::begin(client, self.index, &body, left + SMALL).await?;
        let is_complete = self.parts(&mut scroll, &mut found, each).await;
        scroll.end(SMALL).await;
        is_complete
    }

    async fn parts(
        &self,
        scroll: &mut Scroll<'_>,
        found: &mut Found,
        each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> Result<bool, Error> {
        loop {
            if found.hits.hits.is_empty() {
                return Ok(!found.timed_out);
            }
            if !each_of(&found.hits.hits, each)? || found.timed_out {
                return Ok(false);
            }
            let left = self.query.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            *found = scroll.next(left + SMALL).await?;
        }
    }
}

fn bytes(hit: &Hit) -> usize {
    hit.source.as_ref().map_or(0, |source| source.get().len())
}

/// Whether it went through all of them.
fn each_of(
    hits: &[Hit],
    each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
) -> Result<bool, Error> {
    for hit in hits {
        let Some(source) = &hit.source else { continue };
        let Entity { key, version, created_at, updated_at, data } = document::read(source.get())?;
        let matched = Matched {
            entity_id: key.entity_id().to_owned(),
            score: hit.score.unwrap_or_default(),
            state: Some(FoundState { version, created_at, updated_at, data }),
        };
        if each(matched).is_break() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl SearchEngine for Engine {
    fn engine(&self) -> EngineName {
        EngineName::OpenSearch
    }

    fn indexed_up_to<'a>(
        &'a self,
        types: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Option<String>, SearchError>> {
        Box::pin(self.position(types))
    }

    fn matches<'a>(
        &'a self,
        query: MatchQuery<'a>,
        each: &'a mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(async move { self.find(query, each).await.map_err(unavailable) })
    }

    fn hit_states<'a>(
        &'a self,
        keys: &'a [&'a EntityKey],
        bytes: usize,
    ) -> Option<BoxFuture<'a, Result<Vec<Option<Entity>>, ReadError>>> {
        Some(Box::pin(async move {
            let Some(marker) = self.marker() else { return Ok(vec![None; keys.len()]) };
            states(&self.client, &marker, keys, bytes, SMALL).await.map_err(unavailable)
        }))
    }

    fn stems<'a>(&'a self, query: StemsQuery<'a>) -> BoxFuture<'a, Result<Stems, ReadError>> {
        Box::pin(async move { self.find_stems(query).await.map_err(unavailable) })
    }
}

/// What types declare; a search is ready where all documents have its words.
impl SearchParts for Engine {
    fn search_parts(&self) -> BoxFuture<'_, Result<Vec<SearchPart>, ReadError>> {
        Box::pin(async move {
            let mut parts = self.parts.search_parts().await?;
            let marker = self.read_marker().await?;
            for part in &mut parts {
                let built = marker.as_ref().and_then(|marker| marker.parts.get(&part.entity_type));
                part.is_ready = built == Some(&part.id);
            }
            Ok(parts)
        })
    }
}

fn unavailable(error: Error) -> ReadError {
    ReadError { kind: UnavailableKind::SearchEngine, text: format!("OpenSearch: {error}") }
}

/// What the sink does not have.
fn refused(rule: String) -> Problem {
    Problem::validation(Violations::one(Location(vec![Step::Key("type".into())]), rule))
}
