//! What `worker.toml` says, checked.

mod errors;
mod kinds;
mod parse;
mod secret;
mod sink;
mod sink_kinds;
mod source;
mod table;
mod text;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use errors::ConfigErrors;
use producer_core::feed::{Start, Types};
use producer_core::filter::Filter;
pub use secret::Secret;
pub(crate) use secret::Secrets;

use crate::map::Map;

/// Everything that the file says.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// In the file's order.
    pub sinks: Vec<SinkConfig>,
    /// In the file's order.
    pub sources: Vec<SourceConfig>,
}

/// A sink.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// It names the position.
    pub name: String,
    /// Where to, with what only this kind has.
    pub kind: SinkKind,
    /// Only changes of these types.
    pub types: Types,
    /// Only changes that match, of [`Scope::Change`](producer_core::filter::Scope::Change).
    pub filter: Option<Filter>,
    /// Where it begins, the first time.
    pub from: Start,
    /// Changes or states.
    pub mode: Mode,
    /// How messages are written.
    pub format: Format,
    /// Changes of one delivery at most.
    pub batch: usize,
    /// Deliveries in flight at most.
    pub lanes: usize,
    /// Changes in a time at most.
    pub rate: Option<Rate>,
    /// How failures are tried again.
    pub retry: Retry,
    /// Whether an entity's later changes wait behind a dead letter.
    pub on_dead: OnDead,
}

/// Changes or states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every change, in the order of each entity.
    Log,
    /// The state as it is when it is sent; several changes at once become one.
    Latest,
}

/// What becomes of an entity's later changes behind a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDead {
    /// They wait behind it.
    Hold,
    /// They do not wait.
    Continue,
}

/// A rate, such as `50/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many changes, from 1.
    pub changes: u32,
    /// In this time.
    pub per: Duration,
}

/// How failures are tried again: with full jitter, then behind a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The longest first pause.
    pub initial: Duration,
    /// The longest pause.
    pub max: Duration,
    /// An older delivery becomes a dead letter; `None`: never.
    pub max_age: Option<Duration>,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// How long it stays open before one delivery is tried.
    pub breaker_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(30),
            max_age: None,
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(30),
        }
    }
}

/// How messages are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Which form.
    pub form: Form,
    /// A template for the type of both forms; `None` is each form's own.
    pub event_type: Option<Template>,
    /// The unit of `timestamp` in the form `plain`.
    pub timestamp_unit: TimeUnit,
    /// `source` of CloudEvents, by the setting `CLOUDEVENTS_SOURCE`.
    pub cloudevents_source: String,
}

/// A form of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// CloudEvents 1.0.
    CloudEvents,
    /// A small object of its own.
    Plain,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Milliseconds since 1970.
    Milliseconds,
    /// Seconds since 1970, without a fraction.
    Seconds,
}

/// A text with `{type}`, `{id}` and `{eventName}`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// The entity's type.
    Type,
    /// The entity's id.
    Id,
    /// The event's name; empty in a snapshot.
    EventName,
}

/// Where a sink carries, with what only its kind has.
#[derive(Debug, Clone)]
pub enum SinkKind {
    /// `redis-stream`
    RedisStream {
        /// `redis://` or `rediss://`
        url: Secret,
        /// The stream's key.
        stream: Template,
        /// About so many entries are kept.
        maxlen: Option<u64>,
    },
    /// `redis-cache`
    RedisCache {
        /// `redis://` or `rediss://`
        url: Secret,
        /// An entity's key.
        key: Template,
        /// Keys end so long after they were written.
        ttl: Option<Duration>,
    },
    /// `kafka`
    Kafka {
        /// `host:port`, with commas between several.
        url: Secret,
        /// The topic.
        topic: Template,
        /// A record's key.
        key: Template,
        /// Whether a delete also sends a null record.
        tombstones: bool,
        /// librdkafka's own settings, over ours.
        properties: BTreeMap<String, Secret>,
    },
    /// `opensearch`
    OpenSearch {
        /// `http://` or `https://`, with user and password where they are needed.
        url: Secret,
        /// A type's index; without `{id}` and `{eventName}`.
        index: Template,
        /// A file with an index template of the user's own.
        template: Option<PathBuf>,
    },
    /// `webhook`
    Webhook {
        /// `https://` or `http://`; query parameters may be secrets.
        url: Secret,
        /// One secret (`whsec_…`), or two while one is replaced; none: not signed.
        secrets: Vec<Secret>,
        /// Headers of every request.
        headers: BTreeMap<String, Secret>,
        /// How long one request may take.
        timeout: Duration,
        /// Whether private and loopback addresses may be reached.
        allow_private: bool,
    },
    /// `stdout`
    Stdout,
}

impl SinkKind {
    /// Its word in the file and in the database.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::RedisStream { .. } => "redis-stream",
            Self::RedisCache { .. } => "redis-cache",
            Self::Kafka { .. } => "kafka",
            Self::OpenSearch { .. } => "opensearch",
            Self::Webhook { .. } => "webhook",
            Self::Stdout => "stdout",
        }
    }
}

/// A source.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// It names dead letters, and derives uuids.
    pub name: String,
    /// Where from, with what only this kind has.
    pub kind: SourceKind,
    /// How a message becomes an event; `None`: it is one.
    pub map: Option<Map>,
}

/// Where a source reads, with what only its kind has.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// `redis-stream`
    RedisStream {
        /// `redis://` or `rediss://`
        url: Secret,
        /// The stream's key.
        stream: String,
        /// The consumer group, made where it is absent.
        group: String,
        /// Where a new group begins.
        from: SourceStart,
    },
    /// `kafka`
    Kafka {
        /// `host:port`, with commas between several.
        url: Secret,
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// Where a new group begins.
        from: SourceStart,
        /// librdkafka's own settings, over ours.
        properties: BTreeMap<String, Secret>,
    },
}

impl SourceKind {
    /// Its word in the file and in the database.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::RedisStream { .. } => "redis-stream",
            Self::Kafka { .. } => "kafka",
        }
    }

    /// Whether every worker runs it at once, as members of a group.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Kafka { .. })
    }
}

/// Where a new consumer group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStart {
    /// With the oldest message.
    Start,
    /// With what comes from now on.
    Now,
}
