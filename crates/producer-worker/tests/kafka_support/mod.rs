//! Sinks, updates and records for the tests of Kafka.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod reading;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use producer_core::feed::{Change, Start, Types};
use producer_core::model::{Entity, EntryKind, LogEntry};
use producer_core::{EntityKey, Operation, Timestamp};
use producer_test_support::Kafka;
use producer_worker::config::{
    Form, Format, Mode, OnDead, Part, Retry, Secret, SinkConfig, SinkKind, Template, TimeUnit,
};
use producer_worker::sink::{NotDelivered, Sink};
use producer_worker::sinks;
use producer_worker::update::{Cause, Update};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

/// For what the broker does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const NAMES: [Part; 3] = [Part::Type, Part::Id, Part::EventName];

pub(crate) fn template(text: &str) -> Template {
    Template::parse(text, &NAMES).expect("a template")
}

/// What a test's sink has other than the defaults.
pub(crate) struct Settings<'a> {
    pub(crate) topic: &'a str,
    pub(crate) form: Form,
    pub(crate) tombstones: bool,
    pub(crate) properties: &'a [(&'a str, &'a str)],
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self { topic: "{type}", form: Form::CloudEvents, tombstones: true, properties: &[] }
    }
}

pub(crate) fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    let own =
        |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::from((*value).to_owned()));
    pairs.iter().map(own).collect()
}

pub(crate) fn sink(kafka: &Kafka, settings: &Settings<'_>) -> Arc<dyn Sink> {
    sink_at(&kafka.url(), settings)
}

pub(crate) fn sink_at(url: &str, settings: &Settings<'_>) -> Arc<dyn Sink> {
    let kind = SinkKind::Kafka {
        url: Secret::from(url.to_owned()),
        topic: template(settings.topic),
        key: template("{type}/{id}"),
        tombstones: settings.tombstones,
        properties: properties(settings.properties),
    };
    let format = Format {
        form: settings.form,
        event_type: None,
        timestamp_unit: TimeUnit::Milliseconds,
        cloudevents_source: "/producer".into(),
    };
    let config = SinkConfig {
        name: "kafka".into(),
        kind,
        types: Types::all(),
        filter: None,
        from: Start::Now,
        mode: Mode::Log,
        format,
        batch: 500,
        lanes: 16,
        rate: None,
        retry: Retry::default(),
        on_dead: OnDead::Hold,
    };
    sinks::open(&config, &sinks::no_searches()).expect("settings that can work")
}

/// A change of an entity; its patch and state have a text of this many bytes.
pub(crate) fn change(entity_type: &str, id: &str, version: u64, bytes: usize) -> Update {
    let data = format!(r#"{{"n":{version},"text":"{}"}}"#, "x".repeat(bytes));
    let entry = LogEntry { patch: data.clone(), ..entry(version, Operation::Merge) };
    let key = EntityKey::new_unchecked(entity_type, id);
    let (created_at, updated_at) = (entry.committed, entry.committed);
    let state = Entity { key: key.clone(), version, created_at, updated_at, data };
    let change = Change::new(Uuid::nil(), version, key, entry);
    Update { cause: Cause::Change(Arc::new(change)), state: Some(Arc::new(state)) }
}

pub(crate) fn deletion(entity_type: &str, id: &str, version: u64) -> Update {
    let key = EntityKey::new_unchecked(entity_type, id);
    let change = Change::new(Uuid::nil(), version, key, entry(version, Operation::Delete));
    Update { cause: Cause::Change(Arc::new(change)), state: None }
}

fn entry(version: u64, operation: Operation) -> LogEntry {
    LogEntry {
        kind: EntryKind::Event,
        uuid: Uuid::from_u128(u128::from(version)),
        ordinal: 0,
        version,
        operation,
        created: version == 1,
        event_name: "OrderPaid".into(),
        event_type: None,
        source: Some("shop".into()),
        actor: None,
        created_date: None,
        // 2024-01-15T10:30:05.123456Z
        committed: Timestamp::from_micros(1_705_314_605_123_456),
        patch: "{}".into(),
    }
}

/// What became of an update, in a word.
pub(crate) fn word(result: &Result<(), NotDelivered>) -> &'static str {
    match result {
        Ok(()) => "delivered",
        Err(NotDelivered::Refused { .. }) => "refused",
        Err(NotDelivered::Failed(_)) => "failed",
    }
}

pub(crate) fn words(results: &[Result<(), NotDelivered>]) -> Vec<&'static str> {
    results.iter().map(word).collect()
}

/// A record as a consumer has it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) value: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Record {
    /// The version of the change in a CloudEvent.
    pub(crate) fn version(&self) -> u64 {
        self.headers["ce_sequence"].parse().expect("a number")
    }
}

/// All records of a topic, of each partition in order.
pub(crate) async fn records(kafka: &Kafka, topic: &str) -> Vec<Record> {
    let (url, topic) = (kafka.url(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_all(&url, &topic)).await.expect("no panic")
}

fn read_all(url: &str, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", url)
        .set("group.id", "tests-read")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
    let mut list = TopicPartitionList::new();
    let mut missing = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) =
            consumer.fetch_watermarks(topic, partition.id(), PATIENCE).expect("marks");
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a partition");
        missing += high - low;
    }
    consumer.assign(&list).expect("assigned");
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while missing > 0 {
        assert!(Instant::now() < deadline, "{missing} records are not read");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        missing -= 1;
        records.push(owned(&message));
    }
    records
}

fn owned(message: &impl Message) -> Record {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let headers = message.headers().map(|headers| {
        let pair = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), header.value.map(text).unwrap_or_default())
        };
        headers.iter().map(pair).collect()
    });
    Record {
        partition: message.partition(),
        key: message.key().map(text).unwrap_or_default(),
        value: message.payload().map(text),
        headers: headers.unwrap_or_default(),
    }
}

/// The versions of an entity, in the order in which they arrived.
pub(crate) fn versions(records: &[Record], key: &str) -> Vec<u64> {
    let of_key = records.iter().filter(|record| record.key == key && record.value.is_some());
    of_key.map(Record::version).collect()
}

/// Panics unless each version from 1 to `last` has arrived, none before the one below it.
pub(crate) fn assert_in_order(versions: &[u64], last: u64) {
    let mut reached = 0;
    for version in versions {
        assert!(*version <= reached + 1, "{version} came before {}: {versions:?}", reached + 1);
        reached = reached.max(*version);
    }
    assert_eq!(reached, last, "{versions:?}");
}
