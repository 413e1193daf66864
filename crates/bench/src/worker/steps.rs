//! What is measured of the worker, in the order of a round: what is compared is measured one after the other.

use std::fmt;

/// One measurement of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The log's rows into Kafka by Kafka Connect with Debezium's connector.
    Debezium,
    /// The backlog into Kafka.
    Kafka,
    /// The backlog into a Redis Stream.
    Redis,
    /// The documents of the backlog into OpenSearch by a plain client.
    Bulk,
    /// The backlog into OpenSearch.
    OpenSearch,
    /// The backlog to a receiver of webhooks.
    Webhooks,
    /// Events as NDJSON.
    Ndjson,
    /// As many events from a Redis Stream.
    Source,
    /// Six sinks at once, two of which hang.
    Memory,
    /// Time from sending an event until Redis has its change.
    Delivery,
}

impl Step {
    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        vec![
            Self::Debezium,
            Self::Kafka,
            Self::Redis,
            Self::Bulk,
            Self::OpenSearch,
            Self::Webhooks,
            Self::Ndjson,
            Self::Source,
            Self::Memory,
            Self::Delivery,
        ]
    }
}

impl fmt::Display for Step {
    /// The name on the command line and in the results.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debezium => "debezium",
            Self::Kafka => "kafka",
            Self::Redis => "redis",
            Self::Bulk => "bulk",
            Self::OpenSearch => "opensearch",
            Self::Webhooks => "webhooks",
            Self::Ndjson => "ndjson",
            Self::Source => "source",
            Self::Memory => "memory",
            Self::Delivery => "delivery",
        })
    }
}
