//! A sink of OpenSearch, what it is given, and what is there afterwards.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::feed::{Change, Start, Token, Types};
use producer_core::model::{Entity, EntryKind, LogEntry, Operation};
use producer_core::query::ReadError;
use producer_core::search::{SearchPart, SearchParts};
use producer_core::types::Definition;
use producer_core::{EntityKey, Timestamp};
use producer_opensearch::{Body, Client, Error, Marker};
use producer_test_support::OpenSearch;
use producer_worker::config::{
    Form, Format, Mode, OnDead, Part, Retry, Secret, SinkConfig, SinkKind, Template, TimeUnit,
};
use producer_worker::names::Values;
use producer_worker::sink::{Failure, NotDelivered, Present, Sink};
use producer_worker::sinks;
use producer_worker::update::{Cause, Update};
use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

pub(crate) const EPOCH: Uuid = Uuid::from_u128(7);
const TIMEOUT: Duration = Duration::from_secs(30);
const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_001);

/// A sink with indexes of its own.
pub(crate) struct Target {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) config: SinkConfig,
    pub(crate) searches: Arc<FakeSearches>,
    pub(crate) client: Client,
    index: Template,
}

impl Target {
    pub(crate) fn new() -> Self {
        Self::with(None, &[])
    }

    /// With a template's file and types.
    pub(crate) fn with(template: Option<PathBuf>, types: &[&str]) -> Self {
        Self::at(&OpenSearch::shared().url(), &(unique() + "-{type}"), template, types)
    }

    /// The name of the indexes is not taken from a counter.
    pub(crate) fn named(index: &str) -> Self {
        Self::at(&OpenSearch::shared().url(), index, None, &[])
    }

    pub(crate) fn at(url: &str, index: &str, template: Option<PathBuf>, types: &[&str]) -> Self {
        let index = Template::parse(index, &[Part::Type]).unwrap();
        let config = SinkConfig {
            name: format!("sink-{}", unique()),
            kind: SinkKind::OpenSearch {
                url: Secret::from(url.to_owned()),
                index: index.clone(),
                template,
            },
            types: Types::new(types.iter().map(|&name| name.to_owned()).collect()).unwrap(),
            filter: None,
            from: Start::Snapshot,
            mode: Mode::Latest,
            format: Format {
                form: Form::CloudEvents,
                event_type: None,
                timestamp_unit: TimeUnit::Milliseconds,
                cloudevents_source: "/producer".into(),
            },
            batch: 500,
            lanes: 16,
            rate: None,
            retry: Retry::default(),
            on_dead: OnDead::Continue,
        };
        let searches = Arc::new(FakeSearches::default());
        let sink = open(&config, &searches);
        Self { sink, config, searches, client: Client::new(url).unwrap(), index }
    }

    /// Another worker's.
    pub(crate) fn again(&self) -> Arc<dyn Sink> {
        open(&self.config, &self.searches)
    }

    pub(crate) async fn deliver(
        &self,
        updates: &[Update],
    ) -> Result<Vec<Result<(), NotDelivered>>, Failure> {
        self.sink.deliver(updates).await
    }

    pub(crate) async fn delivered(&self, updates: &[Update]) {
        let outcomes = self.deliver(updates).await.unwrap();
        assert_eq!(outcomes, vec![Ok(()); updates.len()]);
    }

    /// A type's index.
    pub(crate) fn index(&self, entity_type: &str) -> String {
        self.index.index(Values::of_type(entity_type))
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<Value, Error> {
        let body = body.map_or(Body::Empty, |value| Body::Json(value.to_string()));
        self.client.json(method, path, "", body, TIMEOUT).await
    }

    /// A document as it is, with its version.
    pub(crate) async fn document(&self, entity_type: &str, id: &str) -> Option<(u64, Value)> {
        let path = [&*self.index(entity_type), "_doc", id];
        match self.call(Method::GET, &path, None).await {
            Ok(found) => Some((found["_version"].as_u64().unwrap(), found["_source"].clone())),
            Err(error) if error.status() == Some(404) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn marker(&self) -> Option<Marker> {
        Marker::read(&self.client, &self.config.name, TIMEOUT).await.unwrap()
    }
}

fn open(config: &SinkConfig, searches: &Arc<FakeSearches>) -> Arc<dyn Sink> {
    let searches: Arc<dyn SearchParts> = Arc::clone(searches) as _;
    sinks::open(config, &searches).unwrap()
}

/// A text that no other test of this process has.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What types declare, without a database.
#[derive(Default)]
pub(crate) struct FakeSearches(Mutex<Vec<SearchPart>>);

impl FakeSearches {
    /// Declares the search of a type, such as `"data.t":4`, as this part.
    pub(crate) fn declare(&self, id: i32, entity_type: &str, paths: &str, language: &str) {
        let text = format!(r#"{{"search":{{"paths":{{{paths}}},"language":"{language}"}}}}"#);
        let definition = Definition::parse(&text).unwrap().search.unwrap();
        let entity_type = entity_type.to_owned();
        let mut parts = self.0.lock().unwrap();
        parts.retain(|part| part.entity_type != entity_type);
        parts.push(SearchPart { id, entity_type, definition, is_ready: true });
    }
}

impl SearchParts for FakeSearches {
    fn search_parts(&self) -> BoxFuture<'_, Result<Vec<SearchPart>, ReadError>> {
        let parts = self.0.lock().unwrap().clone();
        Box::pin(async { Ok(parts) })
    }
}

/// The entities of a database.
#[derive(Default)]
pub(crate) struct FakePresent(pub(crate) BTreeMap<EntityKey, u64>);

impl FakePresent {
    pub(crate) fn of(keys: &[(&str, &str)]) -> Self {
        Self(keys.iter().map(|(entity_type, id)| (key(entity_type, id), 1)).collect())
    }
}

impl Present for FakePresent {
    fn versions<'a>(
        &'a self,
        keys: &'a [EntityKey],
    ) -> BoxFuture<'a, Result<Vec<Option<u64>>, ReadError>> {
        let versions = keys.iter().map(|key| self.0.get(key).copied()).collect();
        Box::pin(async { Ok(versions) })
    }
}

pub(crate) fn key(entity_type: &str, id: &str) -> EntityKey {
    EntityKey::new_unchecked(entity_type, id)
}

/// A state.
pub(crate) fn state(entity_type: &str, id: &str, version: u64, data: &str) -> Update {
    let entity = Arc::new(Entity {
        key: key(entity_type, id),
        version,
        created_at: START,
        updated_at: START,
        data: data.to_owned(),
    });
    Update { cause: Cause::Snapshot(Arc::clone(&entity)), state: Some(entity) }
}

/// A delete.
pub(crate) fn deleted(entity_type: &str, id: &str, version: u64) -> Update {
    Update { cause: Cause::Change(change(entity_type, id, version)), state: None }
}

/// The entity does not match any more, and has this state.
pub(crate) fn left(entity_type: &str, id: &str, version: u64, data: &str) -> Update {
    let Update { state, .. } = state(entity_type, id, version, data);
    Update { cause: Cause::Left(change(entity_type, id, version)), state }
}

fn change(entity_type: &str, id: &str, version: u64) -> Arc<Change> {
    let entry = LogEntry {
        kind: EntryKind::Event,
        uuid: Uuid::from_u128(9),
        ordinal: 0,
        version,
        operation: Operation::Delete,
        created: false,
        event_name: "Tested".into(),
        event_type: None,
        source: None,
        actor: None,
        created_date: None,
        committed: START,
        patch: "{}".into(),
    };
    Arc::new(Change::new(EPOCH, version, key(entity_type, id), entry))
}

/// Behind a position of the log.
pub(crate) fn token(position: u64) -> Token {
    Token::in_log(EPOCH, position)
}

pub(crate) fn refused(outcome: &Result<(), NotDelivered>) -> (&str, &[u8]) {
    match outcome {
        Err(NotDelivered::Refused { detail, message }) => (detail, message),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn failed(outcome: &Result<(), NotDelivered>) -> &str {
    match outcome {
        Err(NotDelivered::Failed(failure)) => &failure.detail,
        other => panic!("{other:?}"),
    }
}
