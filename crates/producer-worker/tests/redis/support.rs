//! Updates, sinks and connections for the tests.

use std::sync::Arc;
use std::time::Duration;

use producer_core::feed::{Change, Start, Types};
use producer_core::model::{Entity, EntryKind, LogEntry, Operation};
use producer_core::{EntityKey, Timestamp};
use producer_worker::config::{
    Form, Format, Mode, OnDead, Part, Retry, Secret, SinkConfig, SinkKind, SourceConfig,
    SourceKind, SourceStart, Template, TimeUnit,
};
use producer_worker::sink::{Failure, NotDelivered, Sink};
use producer_worker::source::Source;
use producer_worker::update::{Cause, Update};
use producer_worker::{sinks, sources};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue};
use tokio::time::Instant;
use uuid::Uuid;

/// For whatever should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The log of the tests.
pub(crate) const EPOCH: Uuid = Uuid::from_u128(0x0190_a5b4_71c4_7e0a_b6a9_5d2e_8c1f_4703);

const COMMITTED: Timestamp = Timestamp::from_micros(1_705_314_605_123_456);

pub(crate) fn key(id: &str) -> EntityKey {
    EntityKey::new("Order", id).expect("a key")
}

pub(crate) fn state(key: &EntityKey, version: u64) -> Arc<Entity> {
    let data = format!(r#"{{"version": {version}, "price": 1.10}}"#);
    let (created_at, updated_at) = (COMMITTED, COMMITTED);
    Arc::new(Entity { key: key.clone(), version, created_at, updated_at, data })
}

/// A change at a position, with no state.
pub(crate) fn logged(key: &EntityKey, version: u64, position: u64, name: &str) -> Arc<Change> {
    let entry = LogEntry {
        kind: EntryKind::Event,
        uuid: Uuid::from_u128(u128::from(position)),
        ordinal: 0,
        version,
        operation: Operation::Merge,
        created: version == 1,
        event_name: name.into(),
        event_type: None,
        source: None,
        actor: None,
        created_date: None,
        committed: COMMITTED,
        patch: format!(r#"{{"version":{version}}}"#),
    };
    Arc::new(Change::new(EPOCH, position, key.clone(), entry))
}

/// A change that made this version, with its state.
pub(crate) fn change(key: &EntityKey, version: u64, position: u64) -> Update {
    let cause = Cause::Change(logged(key, version, position, "OrderPaid"));
    Update { cause, state: Some(state(key, version)) }
}

/// A change that deleted the entity.
pub(crate) fn removal(key: &EntityKey, version: u64, position: u64) -> Update {
    let cause = Cause::Change(logged(key, version, position, "OrderDeleted"));
    Update { cause, state: None }
}

pub(crate) fn snapshot(key: &EntityKey, version: u64) -> Update {
    let state = state(key, version);
    Update { cause: Cause::Snapshot(Arc::clone(&state)), state: Some(state) }
}

pub(crate) fn template(text: &str) -> Template {
    Template::parse(text, &[Part::Type, Part::Id, Part::EventName]).expect(text)
}

pub(crate) fn sink_config(name: &str, form: Form, kind: SinkKind) -> SinkConfig {
    SinkConfig {
        name: name.to_owned(),
        kind,
        types: Types::new(vec!["Order".to_owned()]).expect("types"),
        filter: None,
        from: Start::Now,
        mode: Mode::Log,
        format: Format {
            form,
            event_type: None,
            timestamp_unit: TimeUnit::Milliseconds,
            cloudevents_source: "/producer".into(),
        },
        batch: 500,
        lanes: 16,
        rate: None,
        retry: Retry::default(),
        on_dead: OnDead::Hold,
    }
}

pub(crate) fn stream_sink(url: &str, stream: &str, maxlen: Option<u64>) -> Arc<dyn Sink> {
    let url = Secret::from(url.to_owned());
    let kind = SinkKind::RedisStream { url, stream: template(stream), maxlen };
    sinks::open(&sink_config("events", Form::Plain, kind), &sinks::no_searches()).expect("a sink")
}

pub(crate) fn cache_sink(url: &str, ttl: Option<Duration>) -> Arc<dyn Sink> {
    let url = Secret::from(url.to_owned());
    let kind = SinkKind::RedisCache { url, key: template("entity:{type}:{id}"), ttl };
    sinks::open(&sink_config("cache", Form::CloudEvents, kind), &sinks::no_searches())
        .expect("a sink")
}

pub(crate) fn stream_source(url: &str, from: SourceStart, worker: &str) -> Box<dyn Source> {
    let kind = SourceKind::RedisStream {
        url: Secret::from(url.to_owned()),
        stream: "orders:events".into(),
        group: "producer".into(),
        from,
    };
    let config = SourceConfig { name: "shop".into(), kind, map: None };
    sources::open(&config, worker, &producer_core::Clock::system()).expect("a source")
}

/// All of them are delivered.
pub(crate) async fn delivered(sink: &dyn Sink, updates: &[Update]) {
    let results = sink.deliver(updates).await.expect("a delivery");
    assert_eq!(results.len(), updates.len());
    for result in results {
        assert_eq!(result, Ok(()));
    }
}

/// What a delivery failed with that did nothing.
pub(crate) async fn failure(sink: &dyn Sink, updates: &[Update]) -> String {
    sink.deliver(updates).await.expect_err("a failure").detail
}

/// What became of an update, in short.
pub(crate) fn outcome(result: &Result<(), NotDelivered>) -> &'static str {
    match result {
        Ok(()) => "delivered",
        Err(NotDelivered::Refused { .. }) => "refused",
        Err(NotDelivered::Failed(Failure { .. })) => "failed",
    }
}

/// A client of the test's own.
pub(crate) struct Client(MultiplexedConnection);

impl Client {
    pub(crate) async fn of(url: &str) -> Self {
        let client = redis::Client::open(url).expect("a URL");
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(SOON))
            .set_response_timeout(Some(SOON));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        Self(connection.expect("a connection"))
    }

    /// Runs a command, given as words.
    pub(crate) async fn run<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        self.try_run(words).await.expect("an answer")
    }

    pub(crate) async fn try_run<T: FromRedisValue>(
        &mut self,
        words: &[&str],
    ) -> redis::RedisResult<T> {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query_async(&mut self.0).await
    }

    /// The fields of each entry of a stream.
    pub(crate) async fn entries(&mut self, stream: &str) -> Vec<Vec<(String, String)>> {
        let entries: Vec<(String, Vec<(String, String)>)> =
            self.run(&["XRANGE", stream, "-", "+"]).await;
        entries.into_iter().map(|(_, fields)| fields).collect()
    }

    /// Id and version of each entry of a stream.
    pub(crate) async fn versions(&mut self, stream: &str) -> Vec<(String, u64)> {
        let entries = self.entries(stream).await;
        let of = |fields: &[(String, String)], name: &str| {
            fields.iter().find(|(field, _)| field == name).expect(name).1.clone()
        };
        let version = |fields: &[_]| of(fields, "version").parse().expect("a number");
        entries.iter().map(|fields| (of(fields, "entity_id"), version(fields))).collect()
    }

    /// Waits until a command answers this.
    pub(crate) async fn until<T: FromRedisValue + PartialEq>(
        &mut self,
        words: &[&str],
        is_so: impl Fn(&T) -> bool,
    ) {
        let deadline = Instant::now() + SOON;
        while !is_so(&self.run(words).await) {
            assert!(Instant::now() < deadline, "{words:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
