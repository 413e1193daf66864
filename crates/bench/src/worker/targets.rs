//! The targets of the worker.

use crate::report::Table;
use crate::targets::{self, Bounds, MIB, Summaries, Target, quotient, rate, valid};

/// The table of targets with the measured values.
pub(super) fn table(cells: &Summaries<'_>) -> Table {
    targets::table(&all(cells), cells)
}

/// The targets that were measured, for the terminal.
pub(super) fn to_text(cells: &Summaries<'_>) -> String {
    targets::to_text(&all(cells), cells)
}

const fn at_least(required: f64) -> Bounds {
    Bounds { higher: true, required: Some(required), goal: None }
}

const fn at_most(required: f64) -> Bounds {
    Bounds { higher: false, required: Some(required), goal: None }
}

fn all(cells: &Summaries<'_>) -> Vec<Target> {
    let rates = |name, against, required, cell, other| Target {
        name,
        against,
        unit: "×",
        bounds: at_least(required),
        cells: vec![cell, other],
        measured: quotient(rate(cells, cell), rate(cells, other)),
    };
    vec![
        rates("backlog into Kafka", "Debezium, the same rows", 2.0, "kafka", "debezium"),
        rates("backlog into a Redis Stream", "into Kafka", 1.0, "redis", "kafka"),
        rates("backlog into OpenSearch", "bulks of a plain client", 0.6, "opensearch", "bulk"),
        Target {
            name: "webhooks",
            against: "16 lanes, one receiver",
            unit: "/s",
            bounds: at_least(1500.0),
            cells: vec!["webhooks"],
            measured: rate(cells, "webhooks"),
        },
        rates("events from a Redis Stream", "as NDJSON", 0.5, "source", "ndjson"),
        Target {
            name: "peak memory, six sinks",
            against: "two of them hang",
            unit: " MiB",
            bounds: at_most(128.0),
            cells: vec!["memory"],
            measured: valid(cells, "memory")
                .and_then(|summary| Some(summary.peak_memory_bytes? as f64 / MIB)),
        },
        Target {
            name: "event to Redis, p99",
            against: "sent at 500/s",
            unit: " ms",
            bounds: at_most(500.0),
            cells: vec!["delivery"],
            measured: valid(cells, "delivery")
                .and_then(|summary| summary.milliseconds(|latency| latency.p99)),
        },
    ]
}
