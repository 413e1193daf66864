//! Reads a source.

use super::kinds::{self, Kind};
use super::sink_kinds::properties;
use super::table::Table;
use super::values;
use crate::config::{SourceConfig, SourceKind, SourceStart};
use crate::kafka::Role;
use crate::map::{Map, MapError};

/// The consumer group where the file names none.
const GROUP: &str = "producer";

const SOURCE_KINDS: &[Kind<SourceKind>] = &[
    Kind { name: "redis-stream", options: &["url", "stream", "group", "from"], read: redis_stream },
    Kind { name: "kafka", options: &["url", "topic", "group", "from", "properties"], read: kafka },
];

/// Reads a source; `None` where something is wrong, which is noted.
pub(super) fn read(name: Option<String>, table: Table<'_>) -> Option<SourceConfig> {
    let kind = kinds::read(SOURCE_KINDS, &table);
    let map = map(&table);
    table.finish();
    Some(SourceConfig { name: name?, kind: kind?, map })
}

/// How a message becomes an event; `None` also where something is wrong, which is noted.
fn map(table: &Table<'_>) -> Option<Map> {
    let value = table.value("map")?;
    let wrong = match Map::parse(value, &|written| table.expand(written)) {
        Ok(map) => return Some(map),
        Err(wrong) => wrong,
    };
    for MapError { key, span, rule } in wrong {
        let key = if key.is_empty() { "map".to_owned() } else { format!("map: {key}") };
        table.wrong_at(&span, &key, rule);
    }
    None
}

fn redis_stream(table: &Table<'_>) -> Option<SourceKind> {
    let url = table.require("url", table.parsed("url", values::redis_url));
    let stream = table.require("stream", table.parsed("stream", values::name));
    let (group, from) = (group(table), from(table));
    Some(SourceKind::RedisStream { url: url?, stream: stream?, group, from })
}

fn kafka(table: &Table<'_>) -> Option<SourceKind> {
    let url = table.require("url", table.parsed("url", values::kafka_servers));
    let topic = table.require("topic", table.parsed("topic", values::name));
    let (group, from) = (group(table), from(table));
    let properties = properties(table, Role::Consumer);
    Some(SourceKind::Kafka { url: url?, topic: topic?, group, from, properties })
}

fn group(table: &Table<'_>) -> String {
    table.parsed("group", values::name).unwrap_or_else(|| GROUP.to_owned())
}

fn from(table: &Table<'_>) -> SourceStart {
    let words = [("start", SourceStart::Start), ("now", SourceStart::Now)];
    table.word("from", &words).unwrap_or(SourceStart::Start)
}
