//! The databases: two adapters of the ports, PostgreSQL and SQLite; [`connect()`] picks one by
//! `DATABASE_URL`.

mod changes;
mod chunks;
mod connect;
mod entries;
mod kept_parts;
mod listed;
mod logged;
mod marks;
pub mod numbers;
mod pool;
mod port;
pub mod postgres;
mod schema;
mod search;
mod settings;
pub mod sqlite;
mod types;
mod url;
mod worker;
mod write;

pub use connect::{connect, connect_replica};
pub use pool::PoolUse;
pub use port::{ConnectError, SERVICE_PING, Store};
pub use schema::SCHEMA_VERSION;
pub use settings::{DatabaseSettings, Pooler};
pub use url::{DEFAULT_FILE, DatabaseUrl};
