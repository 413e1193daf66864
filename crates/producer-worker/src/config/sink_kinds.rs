//! Reads a sink: what only its kind has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::kinds::Kind;
use super::table::Table;
use super::text::Text;
use super::values;
use crate::config::{Part, Secret, SinkKind, Template};
use crate::kafka::{Role, check_property};

/// How long a webhook may take to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);

const ALL: &[Part] = &[Part::Type, Part::Id, Part::EventName];
const OF_ENTITY: &[Part] = &[Part::Type, Part::Id];
const OF_TYPE: &[Part] = &[Part::Type];

/// All kinds of sinks. Those whose targets keep states have no options of how messages are written.
pub(super) const SINK_KINDS: &[Kind<SinkKind>] = &[
    Kind {
        name: "redis-stream",
        options: &["url", "stream", "maxlen", "format", "event_type", "timestamp_unit"],
        read: redis_stream,
    },
    Kind { name: "redis-cache", options: &["url", "key", "ttl"], read: redis_cache },
    Kind {
        name: "kafka",
        options: &[
            "url",
            "topic",
            "key",
            "tombstones",
            "properties",
            "format",
            "event_type",
            "timestamp_unit",
        ],
        read: kafka,
    },
    Kind { name: "opensearch", options: &["url", "index", "template"], read: opensearch },
    Kind {
        name: "webhook",
        options: &[
            "url",
            "secrets",
            "headers",
            "timeout",
            "allow_private",
            "format",
            "event_type",
            "timestamp_unit",
        ],
        read: webhook,
    },
    Kind {
        name: "stdout",
        options: &["format", "event_type", "timestamp_unit"],
        read: |_| Some(SinkKind::Stdout),
    },
];

fn redis_stream(table: &Table<'_>) -> Option<SinkKind> {
    let url = table.require("url", table.parsed("url", values::redis_url));
    let stream = table.require("stream", template(table, "stream", ALL));
    let maxlen = table.number("maxlen", 1..=u64::MAX, "a whole number from 1");
    Some(SinkKind::RedisStream { url: url?, stream: stream?, maxlen })
}

fn redis_cache(table: &Table<'_>) -> Option<SinkKind> {
    let url = table.require("url", table.parsed("url", values::redis_url));
    let key = template_or(
        table,
        "key",
        OF_ENTITY,
        &[Part::Text("entity:".into()), Part::Type, Part::Text(":".into()), Part::Id],
    );
    let ttl = table.parsed("ttl", values::age);
    Some(SinkKind::RedisCache { url: url?, key: key?, ttl })
}

fn kafka(table: &Table<'_>) -> Option<SinkKind> {
    let url = table.require("url", table.parsed("url", values::kafka_servers));
    let topic = table.require("topic", template(table, "topic", ALL));
    let key = template_or(table, "key", ALL, &[Part::Type, Part::Text("/".into()), Part::Id]);
    let tombstones = table.boolean("tombstones").unwrap_or(true);
    let properties = properties(table, Role::Producer);
    Some(SinkKind::Kafka { url: url?, topic: topic?, key: key?, tombstones, properties })
}

fn opensearch(table: &Table<'_>) -> Option<SinkKind> {
    let url = table.require("url", table.parsed("url", values::http_url));
    let index = template_or(table, "index", OF_TYPE, &[Part::Text("entities-".into()), Part::Type]);
    let template = table.parsed("template", |path| match std::fs::metadata(path.as_str()) {
        Ok(found) if found.is_file() => Ok(PathBuf::from(path.as_str())),
        Ok(_) => Err(format!("must be a file, not {path}")),
        Err(error) => Err(format!("must be a file, not {path}: {error}")),
    });
    Some(SinkKind::OpenSearch { url: url?, index: index?, template })
}

fn webhook(table: &Table<'_>) -> Option<SinkKind> {
    let url = table.require("url", table.parsed("url", values::http_url));
    let secrets = table.texts("secrets").unwrap_or_default();
    if secrets.len() > 2 {
        table.wrong("secrets", "must be at most 2: one, and its successor while it is replaced");
    }
    let secret = |text: &Text| values::webhook_secret(text);
    let secrets: Result<Vec<Secret>, String> = secrets.iter().map(secret).collect();
    let secrets = secrets.unwrap_or_else(|reason| {
        table.wrong("secrets", reason);
        Vec::new()
    });
    let headers = table.table("headers").map_or_else(BTreeMap::new, |headers| {
        let header = |(name, value): (String, Text)| {
            let checked = values::header(&name, &value);
            checked.map_err(|reason| headers.wrong(&name, reason)).ok().map(|value| (name, value))
        };
        headers.free(false).into_iter().filter_map(header).collect()
    });
    Some(SinkKind::Webhook {
        secrets,
        headers,
        timeout: table.parsed("timeout", values::duration).unwrap_or(WEBHOOK_TIMEOUT),
        allow_private: table.boolean("allow_private").unwrap_or(false),
        url: url?,
    })
}

/// librdkafka's own settings.
pub(super) fn properties(table: &Table<'_>, role: Role) -> BTreeMap<String, Secret> {
    let Some(properties) = table.table("properties") else { return BTreeMap::new() };
    let property = |(name, value): (String, Text)| {
        let checked = check_property(role, &name, value.as_str());
        checked.map_err(|reason| properties.wrong(&name, reason)).ok()?;
        Some((name, values::secret(&value)))
    };
    properties.free(true).into_iter().filter_map(property).collect()
}

fn template(table: &Table<'_>, key: &'static str, allowed: &[Part]) -> Option<Template> {
    table.parsed(key, |text| values::template(text, allowed))
}

/// A template with a default; `None` where it is wrong.
fn template_or(
    table: &Table<'_>,
    key: &'static str,
    allowed: &[Part],
    default: &[Part],
) -> Option<Template> {
    let read = template(table, key, allowed);
    if table.has(key) { read } else { Some(Template(default.to_vec())) }
}
