//! The port of sinks. A kind only connects and delivers a batch; the runner owns position, lease, lanes,
//! retries, the circuit breaker and dead letters.

use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::EntityKey;
use producer_core::feed::Token;
use producer_core::query::ReadError;

use crate::update::Update;

/// A target.
///
/// Several batches may be in flight at once, never two with the same entity. A future that is dropped
/// stops waiting; what it has sent may arrive all the same.
pub trait Sink: Send + Sync + 'static {
    /// Delivers updates in their order, and returns what became of each, in the same order: `Ok` only after
    /// the target has acknowledged it. Behind an update that is not delivered none of the same entity is.
    ///
    /// Every call ends within [`Sink::deadline`], whatever the target does.
    ///
    /// # Errors
    /// All of them failed alike, and none is known to be delivered.
    fn deliver<'a>(
        &'a self,
        updates: &'a [Update],
    ) -> BoxFuture<'a, Result<Vec<Result<(), NotDelivered>>, Failure>>;

    /// How long one call may take.
    fn deadline(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How long it takes at least from one checkpoint to the next.
    fn checkpoint_every(&self) -> Duration {
        Duration::from_millis(250)
    }

    /// Called with the place up to which everything is delivered, before that is stored, and about every
    /// second while there is nothing to do. Says whether the target still has what it acknowledged.
    ///
    /// `stored` is the place that the database has. A target that keeps state writes `reached` beside it;
    /// where it finds none, or one before `stored`, or of another log, it has lost something.
    ///
    /// # Errors
    /// The target can't be asked now.
    fn checkpoint<'a>(
        &'a self,
        reached: &'a Token,
        stored: &'a Token,
    ) -> BoxFuture<'a, Result<Kept, Failure>> {
        let _ = (reached, stored);
        Box::pin(async { Ok(Kept::Everything) })
    }

    /// After a snapshot was delivered: removes what the target has and the database does not. Nothing is
    /// delivered meanwhile.
    ///
    /// # Errors
    /// It is to be called again later.
    fn sweep<'a>(&'a self, present: &'a dyn Present) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = present;
        Box::pin(async { Ok(()) })
    }

    /// Connects, and looks at the target as far as that needs no delivery: for `producer-worker check`.
    ///
    /// # Errors
    /// Why it can't be reached or used, in one sentence.
    fn check(&self) -> BoxFuture<'_, Result<(), Failure>>;
}

/// Which entities a sink is to have.
pub trait Present: Send + Sync {
    /// For each of these entities, in their order, the version of its state, where it exists and the sink's
    /// types and filter include it.
    ///
    /// # Errors
    /// The database can't be read now.
    fn versions<'a>(
        &'a self,
        keys: &'a [EntityKey],
    ) -> BoxFuture<'a, Result<Vec<Option<u64>>, ReadError>>;
}

/// What a target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// What it acknowledged.
    Everything,
    /// It has lost something, or all of it: a snapshot is to be taken.
    Lost,
}

/// Why an update is not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDelivered {
    /// The target refuses it as it is: it becomes a dead letter.
    Refused {
        /// Why, in one sentence without secrets.
        detail: String,
        /// What was sent, byte by byte.
        message: Vec<u8>,
    },
    /// It may be delivered later.
    Failed(Failure),
}

/// A failure that may pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What failed, in one sentence without secrets.
    pub detail: String,
    /// The target wants to be left alone for so long.
    pub retry_after: Option<Duration>,
    /// The target wants nothing any more: the sink is paused (410 of a webhook).
    pub pauses: bool,
}

impl Failure {
    /// A failure that is tried again as the sink's settings say.
    pub fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), retry_after: None, pauses: false }
    }
}

impl From<Failure> for NotDelivered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
