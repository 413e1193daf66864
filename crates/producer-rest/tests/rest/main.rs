//! The REST API over real sockets and real databases. The files mirror the routes.
#![expect(clippy::unwrap_used, reason = "a test that finds no value must fail")]

mod app;
mod bodies;
mod bulk;
mod cases;
mod change_filters;
mod change_readers;
mod changes;
mod cross_origin;
mod dead_letters;
mod docs;
mod entities;
mod entity_conditions;
mod entity_writes;
mod errors;
mod events;
mod examples;
mod feed;
mod finding_examples;
mod health;
mod history;
mod lists;
mod metrics;
mod ndjson;
mod operations;
mod search;
mod sinks;
mod sources;
mod types;
mod worker_examples;
mod workers;
