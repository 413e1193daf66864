//! What every database adapter offers.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::pool::PoolUse;
use crate::feed::FeedStore;
use crate::ingest::WriteStore;
use crate::query::{ListStore, ReadError, ReadStore};
use crate::search::{SearchEngine, SearchParts};
use crate::types::TypeStore;
use crate::worker::WorkerStore;

/// Why the store can't be used at all: one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(pub String);

/// How often a service at least [pings](Store::ping) its database, whether anybody asks or not. So one
/// that is idle behind a pooler is seen.
pub const SERVICE_PING: Duration = Duration::from_secs(10);

/// A database that keeps entities, their log, and what the worker needs.
pub trait Store:
    WriteStore
    + ReadStore
    + ListStore
    + FeedStore
    + TypeStore
    + SearchParts
    + SearchEngine
    + WorkerStore
{
    /// How the pool is used that the reads take their connections from; `None` where there is none.
    fn pool(&self) -> Option<PoolUse> {
        None
    }

    /// Whether the database answers and has the schema of this release, or a newer one.
    fn ping(&self) -> BoxFuture<'_, Result<(), ReadError>>;

    /// Closes every connection; on SQLite this also truncates the write-ahead log.
    fn close(&self) -> BoxFuture<'_, ()>;
}
