//! The report of the worker's measurements.

use super::steps::Step;
use super::targets;
use crate::report::{Block, Document, Section, number};
use crate::results::{Results, table};
use crate::targets::{Summaries, quotient, rate};

const METHOD: [&str; 8] = [
    "Each cell has a new process of the real producer-worker with a file of one sink or source, and default \
     settings. PostgreSQL (wal_level = logical), the targets, the receivers and the clients share the machine. \
     The service's CPU is the worker's (debezium: Kafka Connect's; ndjson: producer-rest's); that of the targets \
     is not counted.",
    "The backlog: rows of event_log as the service writes them, filled by SQL in transactions of 1,000; orders of \
     about 300 B, ten versions of each entity by turns. A target is asked every 20 ms how much it has. The time \
     goes from the start of the process, with its connections and leases, to the last change.",
    "kafka, debezium: a topic of 8 partitions on one broker; the records are counted by the ends of the partitions. \
     debezium: Kafka Connect as one distributed worker (384 MiB of heap, Java's first compiler alone, as all \
     servers in Java here), JSON without schemas, the connector's defaults; it reads the table event_log by \
     pgoutput from a slot that was made before the rows. Kafka Connect runs and takes connectors already: the \
     time goes from when the connector is made. Its record is a row; the worker's is a CloudEvent with the patch \
     and the state.",
    "redis: a stream of a Redis without persistence.",
    "opensearch, bulk: the sink takes a snapshot of one order and stops; then the backlog is filled, and the time \
     goes from when it is started again until it has passed every change; several of one order that wait together \
     are one document. bulk: a \
     client without anything else writes the same documents to an index that the sink has made, 500 a bulk, 4 bulks \
     in flight. Each has a new node.",
    "webhooks: signed, default lanes (16), a receiver that answers at once, in the generator's thread. Counted for the \
     measured seconds, once they flow.",
    "ndjson, source: events of 400 B, each of one of 100,000 entities by chance, on empty tables. ndjson: 8 \
     connections, 1,000 lines a request. source: the stream is filled before; the time ends when all are \
     acknowledged. Both are counted in the log afterwards.",
    "memory: a stream, a cache, a topic and webhooks; and webhooks and a stream whose targets accept connections and \
     never answer. It ends when the backlog is in stream, cache and topic. delivery: latencies are from when an \
     event was sent to producer-rest to when a client has read its entry of the stream, so they include the write; a \
     cell fails if an acknowledged event does not come.",
];

/// The report of these results.
pub(super) fn document(results: &Results) -> Document {
    let cells = results.summaries();
    let mut sections = vec![
        Section::new("Targets", [Block::Table(targets::table(&cells))]),
        Section::new("All cells", [Block::Table(table::of(Step::all(), &cells))]),
    ];
    sections.extend(results.errors());
    sections.push(Section::new("Method", METHOD.map(|text| Block::Text(text.to_owned()))));
    Document {
        title: "producer's worker".to_owned(),
        summary: summary(&cells),
        warnings: Vec::new(), // a high load is among the facts
        facts: results.facts.clone(),
        sections,
    }
}

fn summary(cells: &Summaries<'_>) -> String {
    let (kafka, debezium) = (rate(cells, "kafka"), rate(cells, "debezium"));
    match (kafka, quotient(kafka, debezium)) {
        (Some(kafka), Some(ratio)) => format!(
            "A backlog goes into Kafka at {} changes/s, {} times as fast as by Debezium.",
            number(kafka),
            number(ratio)
        ),
        _ => String::new(),
    }
}
