//! Databases for tests: a temporary PostgreSQL server for each test process, one that a test may
//! stop, freeze or kill, PgBouncer in front of it, SQLite files, Redis, and servers in Java. Existing databases
//! are never touched.
#![expect(clippy::expect_used, reason = "a test without its database must fail")]
#![expect(clippy::panic, reason = "a test without its database must fail")]

mod cluster;
mod command;
mod container;
pub mod event_cases;
mod fetched;
mod http;
mod java;
#[cfg(feature = "kafka")]
mod kafka;
mod opensearch;
mod pgbouncer;
mod port;
mod postgres;
mod redis;
mod sqlite;
mod user;
mod watcher;

pub use fetched::fetched;
pub use http::{http_client, http_client_builder};
pub use java::JavaServer;
#[cfg(feature = "kafka")]
pub use kafka::Kafka;
pub use opensearch::OpenSearch;
pub use pgbouncer::PgBouncer;
pub use port::free_port;
pub use postgres::{Database, Postgres};
pub use redis::Redis;
pub use sqlite::{SqliteFile, sqlite_file};
pub use user::is_root;
