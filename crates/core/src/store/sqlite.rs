//! The SQLite adapter.

mod checkpoint;
mod disk;
mod query;
mod short_transactions;
mod store;
mod types;
mod worker;
mod write;
pub mod write_lock;

pub use store::{SqliteStore, options};
pub use write::write_search_rows;
