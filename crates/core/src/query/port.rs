//! The port of reading.

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::model::{
    AsOf, Entity, EntityKey, LogEntry, LogPoint, LogRange, LoggedEvent, Problem, ProblemKind,
    UnavailableKind,
};

/// About so many bytes of patches a part of a log has.
pub const LOG_BYTES: usize = 8 << 20;

/// Updates or changes of a page, unless its reader asks for another size.
pub const PAGE_SIZE: u32 = 100;
/// Updates or changes of a page at most.
pub const MAX_PAGE_SIZE: u32 = 1000;

/// A database that entities and their log are read from.
pub trait ReadStore: Send + Sync + 'static {
    /// The current state of one entity.
    fn entity<'a>(&'a self, key: &'a EntityKey)
    -> BoxFuture<'a, Result<Option<Entity>, ReadError>>;

    /// One event as the log has it.
    fn event(&self, uuid: Uuid) -> BoxFuture<'_, Result<Option<LoggedEvent>, ReadError>>;

    /// A part of one entity's log; empty where there is nothing of it. It ends early with the
    /// first entry by which its patches have [`LOG_BYTES`] together.
    fn log<'a>(
        &'a self,
        key: &'a EntityKey,
        range: LogRange,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, ReadError>>;

    /// The last entry of an entity's log up to a moment; `None` where there is none. What came before it is
    /// looked for among the `within` entries that end with it.
    fn log_point<'a>(
        &'a self,
        key: &'a EntityKey,
        as_of: AsOf,
        within: u64,
    ) -> BoxFuture<'a, Result<Option<LogPoint>, ReadError>>;
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("database unavailable: {text}")]
pub struct ReadError {
    /// What an operator has to look at.
    pub kind: UnavailableKind,
    /// For the log.
    pub text: String,
}

impl ReadError {
    /// What it is for clients.
    pub fn problem(&self) -> Problem {
        let detail = format!("{}; try again later", self.kind.detail());
        Problem::new(ProblemKind::Unavailable, detail)
    }

    /// A read whose task panicked or was aborted.
    pub(crate) fn of_task(error: &tokio::task::JoinError) -> Self {
        Self {
            kind: UnavailableKind::Unreachable,
            text: format!("a read of the log ended: {error}"),
        }
    }
}
