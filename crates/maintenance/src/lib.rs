//! What is done to a database beside serving from it: migrations, adopting the older services'
//! table, rebuilding entities from their log, pruning the log, and giving it a new identity. Each works on connections of its
//! own, without the timeouts that guard the service's.

pub mod adopt;
mod blockers;
mod connection;
mod database;
pub mod epoch;
mod error;
mod fold;
pub mod migrate;
mod progress;
pub mod prune;
pub mod rebuild;
mod sessions;
mod statements;
mod tables;

pub use database::Database;
pub use error::MaintenanceError;
pub use progress::Progress;
