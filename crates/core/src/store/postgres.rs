//! The PostgreSQL adapter.

mod error;
mod generation;
pub mod pooler;
mod query;
mod read_pool;
mod session;
mod short_transactions;
mod store;
mod time;
mod types;
pub mod version;
mod worker;
mod write;

pub use error::connect_error;
pub use store::PostgresStore;
pub use time::{from_pg, to_pg};
pub use write::write_search_rows;
