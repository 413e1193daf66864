//! The store port: *apply these events, tell me each one's outcome*, and the reads. Two adapters
//! stand behind it, PostgreSQL and SQLite; [`connect`] picks by `DATABASE_URL`.

mod log;
pub(crate) mod numbers;
mod plan;
mod pool;
pub mod postgres;
mod slices;
pub mod sqlite;
mod url;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use uuid::Uuid;

use crate::config::Settings;
use crate::{Clock, EntityKey, Event, Timestamp, Violations};
pub use pool::PoolUse;
pub use url::{DEFAULT_FILE, DatabaseUrl};

/// Why the store can't be used at all: one line, for whoever starts the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(pub String);

/// The store that `DATABASE_URL` names. A PostgreSQL that is down is no error: the store reaches it
/// as soon as it is back.
///
/// # Errors
/// An unusable URL, a PostgreSQL that is too old, a pooler that isn't named, an SQLite file that can't be opened.
pub async fn connect(settings: &Settings) -> Result<Arc<dyn Store>, ConnectError> {
    match DatabaseUrl::parse(settings.database_url.as_deref()).map_err(ConnectError)? {
        DatabaseUrl::Postgres(base) => {
            let store = postgres::PostgresStore::new(*base, settings, Clock::system());
            store.check().await?;
            Ok(Arc::new(store))
        }
        DatabaseUrl::Sqlite(file) => {
            if settings.database_url.is_none() {
                tracing::info!(file = DEFAULT_FILE, "DATABASE_URL is not set: embedded database");
            }
            let store = sqlite::SqliteStore::open(&file, settings, Clock::system()).await?;
            Ok(Arc::new(store))
        }
    }
}

/// A boxed future, so that the port can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database that keeps entities and their log.
pub trait Store: Send + Sync + 'static {
    /// Makes a writer with a connection of its own, opened when first needed.
    fn writer(&self) -> Box<dyn Writer>;

    /// How many writers may work at once.
    fn max_writers(&self) -> usize;

    /// The current state of one entity.
    fn entity<'a>(&'a self, key: &'a EntityKey)
    -> BoxFuture<'a, Result<Option<Entity>, ReadError>>;

    /// One event as the log has it.
    fn event(&self, uuid: Uuid) -> BoxFuture<'_, Result<Option<LoggedEvent>, ReadError>>;

    /// How the pool is used that the reads take their connections from; `None` where there is none.
    fn pool(&self) -> Option<PoolUse> {
        None
    }

    /// Whether the database answers.
    fn ping(&self) -> BoxFuture<'_, Result<(), ReadError>>;

    /// Closes every connection; on SQLite this also truncates the write-ahead log.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Applies batches over a connection of its own. After an error the next call reconnects by itself.
pub trait Writer: Send {
    /// Applies `batch` in its order in one transaction and returns a verdict for each event.
    ///
    /// Each event is all or nothing. A uuid that is already in the log, or twice in the batch, takes
    /// effect once. A verdict never depends on what else is in the batch.
    /// On an error nothing of the batch is stored, but for [`ApplyError::Unknown`]; after that the
    /// same batch may be applied again, which settles it, because a uuid takes effect once. What the
    /// earlier try stored is then a [`Verdict::Duplicate`] with its stamp.
    fn apply<'a>(
        &'a mut self,
        batch: &'a [Event],
        mode: ApplyMode,
    ) -> BoxFuture<'a, Result<Vec<Verdict>, ApplyError>>;
}

/// How a batch is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// Waits `DATABASE_LOCK_TIMEOUT` for locks. The way of nearly every batch.
    Normal,
    /// Waits for no lock: events whose entities others hold get [`Verdict::Locked`]. For batches
    /// that wait already, and the halves of one that failed.
    Patient,
    /// All events or none: if one gets another verdict than applied or duplicate, nothing is stored
    /// (the verdicts still tell what each one would have been). Waits for no lock, like `Patient`.
    Atomic,
}

/// Marks in the log what one try to apply a batch wrote, so that a sender whose try ended with
/// [`ApplyError::Unknown`] can be told whether it was that try that stored the event, or another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(pub i32);

impl Stamp {
    /// One that no other try has, but for one in four billion.
    fn random() -> Self {
        let [a, b, c, d, ..] = *Uuid::new_v4().as_bytes();
        Self(i32::from_ne_bytes([a, b, c, d]))
    }
}

/// What became of one event of a batch that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Stored; the versions that its updates made, in their order.
    Applied(Vec<u64>),
    /// It was stored before, with the same content.
    Duplicate {
        /// The versions that it made then.
        versions: Vec<u64>,
        /// The try that stored it.
        stamp: Stamp,
    },
    /// Its uuid is stored with other content.
    Conflict,
    /// It breaks a rule that only the stored state can tell: a document would grow too large.
    Invalid(Violations),
    /// A foreign session holds one of its entities; nothing of it is stored.
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
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The connection was lost or went silent when the commit may have been under way.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// What happened.
        reason: String,
        /// What the batch has in the log if it was stored.
        stamp: Stamp,
    },
    /// The database refused the batch (bad data, a lock that only a smaller batch can tell apart).
    /// Nothing was stored; halves of it may pass.
    #[error("batch refused: {0}")]
    Refused(String),
}

impl ApplyError {
    /// What kind it is, without what happened.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Unknown { .. } => "unknown",
            Self::Refused(_) => "refused",
        }
    }
}

/// Why a read failed: the database is out of reach. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("database unavailable: {0}")]
pub struct ReadError(pub String);

/// The current state of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// The entity.
    pub key: EntityKey,
    /// How many updates it has seen.
    pub version: u64,
    /// When its first update was committed (adopted: as the older service had it).
    pub created_at: Timestamp,
    /// When its last update was committed.
    pub updated_at: Timestamp,
    /// The document, a JSON object.
    pub data: String,
}

/// An event as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The idempotency key.
    pub uuid: Uuid,
    /// `eventName`.
    pub name: String,
    /// `eventType`.
    pub event_type: Option<String>,
    /// `createdDate`.
    pub created: Option<Timestamp>,
    /// `savedDate`, or the commit's time where the event brought none.
    pub saved: Timestamp,
    /// When it was committed.
    pub committed: Timestamp,
    /// The try that stored it.
    pub stamp: Stamp,
    /// The updates in their order.
    pub updates: Vec<LoggedUpdate>,
}

/// One update as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedUpdate {
    /// The entity.
    pub key: EntityKey,
    /// The version that it made.
    pub version: u64,
    /// The patch as it was sent, a JSON object.
    pub patch: String,
}
