//! The port of the change feed: what it reads of a database.

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::change::Change;
use super::types::Types;
use crate::model::Timestamp;
use crate::query::{ListStore, ReadError};

/// Bytes of patches or documents that one read returns at most, but for the first of them, which may be
/// larger.
pub const PAGE_BYTES: usize = 1 << 20;

/// A database whose log is read in the order of positions, and whose entities are read beside it.
pub trait FeedStore: ListStore {
    /// The log's epoch, the last position that was drawn, and then which transactions may still commit one up to it. All
    /// that these do not commit later is committed, or never will be.
    ///
    /// # Errors
    /// Also where the database is a standby: it does not show who writes.
    fn head(&self) -> BoxFuture<'_, Result<LogHead, ReadError>>;

    /// As [`LogHead::generation`], now: where it is that of a head, what was read in between was read before
    /// any crash.
    fn generation(&self) -> BoxFuture<'_, Result<u64, ReadError>>;

    /// Who a writer that [`FeedStore::head`] returned is, and what an operator can do, for the log.
    fn describe<'a>(&'a self, writer: &'a OpenWriter) -> BoxFuture<'a, Result<String, ReadError>>;

    /// The log's epoch and floor, and its last committed position up to `up_to`.
    fn bounds(&self, up_to: u64) -> BoxFuture<'_, Result<LogBounds, ReadError>>;

    /// The last mark of the log that says: everything up to this position was committed before `time`;
    /// without a time the last mark of all. `None` where there is none.
    fn position_before(
        &self,
        time: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<Option<u64>, ReadError>>;

    /// Changes in the order of their positions, with the log's epoch and floor of the same moment.
    fn changes<'a>(&'a self, query: ChangesQuery<'a>) -> BoxFuture<'a, Result<LogPage, ReadError>>;
}

/// Where the log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// The log's epoch.
    pub epoch: Uuid,
    /// The last position that was drawn, maybe by a transaction that has not committed, or never will.
    pub drawn: u64,
    /// The transactions that may still commit a position up to it.
    pub writers: Vec<OpenWriter>,
    /// Another one wherever the server may have crashed since the last head. Then positions that were drawn
    /// and not committed may be drawn again, and the writers of an earlier head are gone though others may
    /// have their positions.
    pub generation: u64,
}

/// An open transaction that has written to the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OpenWriter {
    /// `virtualtransaction` of `pg_locks`: unlike a process id, no other transaction has the same.
    pub transaction: String,
    /// The process of its session; a prepared transaction has none.
    pub pid: Option<i32>,
}

/// What the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// The identity of the log: positions mean something only together with it.
    pub epoch: Uuid,
    /// Up to here the log may have been pruned.
    pub floor: u64,
    /// The last committed position that was asked for, or the floor if that is higher.
    pub last: u64,
}

/// Which part of the log to read.
#[derive(Debug, Clone, Copy)]
pub struct ChangesQuery<'a> {
    /// Positions after this one.
    pub after: u64,
    /// Positions up to this one.
    pub up_to: u64,
    /// Only changes of these types.
    pub types: &'a Types,
    /// Looks at so many rows of the log at most.
    pub rows: u32,
    /// Stops before the change with which the patches would have more bytes.
    pub bytes: usize,
}

/// A part of the log.
#[derive(Debug)]
pub struct LogPage {
    /// The log's epoch.
    pub epoch: Uuid,
    /// Up to here the log may have been pruned when the page was read.
    pub floor: u64,
    /// The changes, without what pruning writes.
    pub changes: Vec<Change>,
    /// The position of the last row that was looked at, as far as that is known; `None` where no change was
    /// found.
    pub last: Option<u64>,
    /// Whether it is known that no change follows up to [`ChangesQuery::up_to`].
    pub is_last: bool,
}
