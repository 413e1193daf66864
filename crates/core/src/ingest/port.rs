//! The port of writing: *apply these events, return the verdict on each*.

use futures_util::future::BoxFuture;

use crate::json::Violations;
use crate::model::{AttemptId, Event, FailedPrecondition, NewVersion, UnavailableKind};

/// A database that events are written to.
pub trait WriteStore: Send + Sync + 'static {
    /// Makes a writer with a connection of its own, opened when first needed.
    fn writer(&self) -> Box<dyn Writer>;

    /// How many writers may work at once.
    fn max_writers(&self) -> usize;
}

/// Applies batches over a connection of its own. After an error the next call reconnects by itself.
pub trait Writer: Send {
    /// Applies `batch` in its order in one transaction and returns a verdict for each event.
    ///
    /// Each event is all or nothing. A uuid that is already in the log, or twice in the batch, takes
    /// effect once. A verdict never depends on what else is in the batch.
    /// On an error nothing of the batch is stored, except with [`ApplyError::Unknown`]. Then the same
    /// events may be applied again, which resolves it, because a uuid takes effect once: what
    /// the earlier attempt stored is a [`Verdict::Duplicate`] with that attempt's id.
    fn apply<'a>(
        &'a mut self,
        batch: &'a [Event],
        mode: ApplyMode,
    ) -> BoxFuture<'a, Result<Vec<Verdict>, ApplyError>>;
}

/// How a batch is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// Waits up to `DATABASE_LOCK_TIMEOUT` for locks. Nearly every batch is applied so.
    Normal,
    /// Waits for no lock: events whose entities others hold get [`Verdict::Locked`]. For events that
    /// waited for a lock before, and for the parts of a batch that failed.
    SkipLocked,
    /// All events or none: if one gets another verdict than applied or duplicate, nothing is stored
    /// (the verdicts are what they would have been). Waits for no lock, like `SkipLocked`.
    Atomic,
}

/// The result for one event of a batch that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Stored; the versions that its updates made, in their order.
    Applied(Vec<NewVersion>),
    /// It was stored before, with the same content.
    Duplicate {
        /// The versions that it made then.
        versions: Vec<NewVersion>,
        /// The attempt that stored it.
        attempt: AttemptId,
    },
    /// Its uuid is stored with other content.
    Conflict,
    /// It breaks a rule that depends on the stored state: a document would grow too large.
    Invalid(Violations),
    /// A condition of one of its updates does not hold; the violation names the update.
    PreconditionFailed(Violations, FailedPrecondition),
    /// A other session holds one of its entities; nothing of it is stored.
    Locked,
}

impl Verdict {
    /// Whether the event is stored, now or before.
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Applied(_) | Self::Duplicate { .. })
    }
}

/// Why a batch was not applied. The texts are for the log, never for an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The database can't be reached or can't write now. Nothing was stored.
    #[error("database unavailable: {reason}")]
    Unavailable {
        /// What an operator has to look at.
        kind: UnavailableKind,
        /// What happened.
        reason: String,
    },
    /// The connection was lost or stopped answering when the commit may have been under way.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// What happened.
        reason: String,
        /// The attempt's id, which the batch has in the log if it was stored.
        attempt: AttemptId,
    },
    /// The database refused the batch (bad data, or a lock that only a smaller batch can attribute to
    /// an event). Nothing was stored; parts of it may pass.
    #[error("batch refused: {0}")]
    Refused(String),
}

impl ApplyError {
    /// The kind of error, without its reason.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Unknown { .. } => "unknown",
            Self::Refused(_) => "refused",
        }
    }
}
