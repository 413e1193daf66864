//! Whether events can be accepted: one probe of the database for everyone who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use producer_core::Ingest;
use producer_core::query::{ReadError, ReadErrorKind};
use producer_core::store::Store;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long the result of a probe is reused.
const REUSED_FOR: Duration = Duration::from_millis(500);

/// The state of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseState {
    /// It answers, and its schema is there.
    Up,
    /// It can't be reached, or doesn't answer in time.
    Unreachable,
    /// It refuses the login, or the role lacks a privilege.
    Authentication,
    /// Its schema is missing, or a migration is pending.
    Schema,
}

impl DatabaseState {
    /// As health documents have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::Authentication => "authentication",
            Self::Schema => "schema",
        }
    }
}

impl From<ReadErrorKind> for DatabaseState {
    fn from(kind: ReadErrorKind) -> Self {
        match kind {
            ReadErrorKind::Unreachable => Self::Unreachable,
            ReadErrorKind::Authentication => Self::Authentication,
            ReadErrorKind::Schema => Self::Schema,
        }
    }
}

/// The state of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether the service is stopping.
    pub draining: bool,
    /// `None` while draining, if no check was made before.
    pub database: Option<DatabaseState>,
}

impl Health {
    /// Why no events can be accepted; `None` where they can.
    pub fn problem(self) -> Option<&'static str> {
        match self.database {
            _ if self.draining => Some("the service is draining"),
            Some(DatabaseState::Up) => None,
            Some(DatabaseState::Unreachable) | None => Some("the database can't be reached"),
            Some(DatabaseState::Authentication) => {
                Some("the database refuses the login, or the role lacks a privilege")
            }
            Some(DatabaseState::Schema) => {
                Some("the database's schema is missing, or a migration is pending")
            }
        }
    }
}

/// The probe. Cheap to clone: all clones share it.
#[derive(Clone)]
pub struct Readiness(Arc<Probe>);

struct Probe {
    store: Arc<dyn Store>,
    ingest: Ingest,
    shutdown: CancellationToken,
    timeout: Duration,
    migrating: AtomicBool,
    /// Locked while a ping is in flight, so that everyone else waits for its result.
    last: Arc<Mutex<Option<Observed>>>,
}

#[derive(Clone, Copy)]
struct Observed {
    state: DatabaseState,
    at: Instant,
}

impl Readiness {
    /// The readiness of a service on `store`. A database that takes longer than `timeout` is not ready.
    pub fn new(
        store: &Arc<dyn Store>,
        ingest: &Ingest,
        shutdown: CancellationToken,
        timeout: Duration,
    ) -> Self {
        Self(Arc::new(Probe {
            store: Arc::clone(store),
            ingest: ingest.clone(),
            shutdown,
            timeout,
            migrating: AtomicBool::new(false),
            last: Arc::default(),
        }))
    }

    /// Says whether a migration is pending. While it is, the service isn't ready.
    pub fn set_migrating(&self, migrating: bool) {
        self.0.migrating.store(migrating, Ordering::Relaxed);
    }

    /// The present state. Pings the database, unless that was done a moment ago or is being done.
    pub async fn check(&self) -> Health {
        let draining = || self.0.shutdown.is_cancelled() || self.0.ingest.is_draining();
        if !draining() {
            tokio::select! {
                state = self.database() => {
                    return Health { draining: draining(), database: Some(state) };
                }
                () = self.0.shutdown.cancelled() => {}
            }
        }
        let known = self.0.last.try_lock().ok().and_then(|last| *last);
        Health { draining: true, database: known.map(|last| last.state) }
    }

    async fn database(&self) -> DatabaseState {
        match self.probed().await {
            DatabaseState::Up if self.0.migrating.load(Ordering::Relaxed) => DatabaseState::Schema,
            state => state,
        }
    }

    async fn probed(&self) -> DatabaseState {
        let mut last = Arc::clone(&self.0.last).lock_owned().await;
        if let Some(recent) = last.filter(|last| last.at.elapsed() < REUSED_FOR) {
            return recent.state;
        }
        let probe = Arc::clone(&self.0);
        // a task of its own: the caller may leave before the answer, and others wait for it
        let ping = tokio::spawn(async move {
            let state = probe.ping(last.map(|last| last.state)).await;
            *last = Some(Observed { state, at: Instant::now() });
            state
        });
        ping.await.unwrap_or(DatabaseState::Unreachable)
    }
}

impl Probe {
    /// Asks the database, and logs where its state isn't `before`.
    async fn ping(&self, before: Option<DatabaseState>) -> DatabaseState {
        let result = match timeout(self.timeout, self.store.ping()).await {
            Ok(result) => result,
            Err(_) => Err(ReadError {
                kind: ReadErrorKind::Unreachable,
                text: format!("no answer within {:?}", self.timeout),
            }),
        };
        let state = match &result {
            Ok(()) => DatabaseState::Up,
            Err(error) => error.kind.into(),
        };
        match result {
            Err(error) if before != Some(state) => {
                tracing::warn!(database = state.as_str(), %error, "not ready");
            }
            Ok(()) if before.is_some_and(|before| before != state) => {
                tracing::info!(database = state.as_str(), "ready again");
            }
            _ => {}
        }
        state
    }
}
