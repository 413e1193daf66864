//! Whether events can be accepted: one probe of the database for everyone who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use producer_core::Ingest;
use producer_core::model::UnavailableKind;
use producer_core::query::ReadError;
use producer_core::store::{SERVICE_PING, Store};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long the result of a probe is reused.
const REUSED_FOR: Duration = Duration::from_millis(500);

/// How often the log repeats why the service isn't ready.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The state of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseState {
    /// It answers, and has the schema of this release.
    Up,
    /// It can't be used, or doesn't answer in time.
    Unavailable(UnavailableKind),
    /// It answers, and this service is about to migrate it.
    Migrating,
}

impl DatabaseState {
    /// As health documents have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unavailable(kind) => kind.as_str(),
            Self::Migrating => UnavailableKind::Schema.as_str(),
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
            Some(DatabaseState::Unavailable(kind)) => Some(kind.detail()),
            Some(DatabaseState::Migrating) => {
                Some("the database's schema is being migrated; the log says what that waits for")
            }
            None => Some(UnavailableKind::Unreachable.detail()),
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
    /// When the log last said that the service isn't ready.
    logged: Option<Instant>,
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

    /// Checks periodically until the service stops, whoever else does: so the log says at once, and
    /// then once a minute, why the service isn't ready.
    pub async fn watch(&self) {
        while !self.0.shutdown.is_cancelled() {
            self.check().await;
            tokio::select! {
                () = sleep(SERVICE_PING) => {}
                () = self.0.shutdown.cancelled() => {}
            }
        }
    }

    async fn database(&self) -> DatabaseState {
        match self.probed().await {
            DatabaseState::Up | DatabaseState::Unavailable(UnavailableKind::Schema)
                if self.0.is_migrating() =>
            {
                DatabaseState::Migrating
            }
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
            let observed = probe.ping(*last).await;
            *last = Some(observed);
            observed.state
        });
        ping.await.unwrap_or(DatabaseState::Unavailable(UnavailableKind::Unreachable))
    }
}

impl Probe {
    fn is_migrating(&self) -> bool {
        self.migrating.load(Ordering::Relaxed)
    }

    /// Pings the database, and logs what changed or has been wrong for long.
    async fn ping(&self, before: Option<Observed>) -> Observed {
        let result = match timeout(self.timeout, self.store.ping()).await {
            Ok(result) => result,
            Err(_) => Err(ReadError {
                kind: UnavailableKind::Unreachable,
                text: format!("no answer within {:?}", self.timeout),
            }),
        };
        let state = match &result {
            Ok(()) => DatabaseState::Up,
            Err(error) => DatabaseState::Unavailable(error.kind),
        };
        let at = Instant::now();
        let is_new = before.is_none_or(|before| before.state != state);
        let mut logged = before.and_then(|before| before.logged);
        match result {
            // a migration under way logs what it waits for
            Err(error) if error.kind == UnavailableKind::Schema && self.is_migrating() => {}
            Err(ReadError { kind, text }) => {
                if is_new || logged.is_none_or(|logged| at - logged >= LOG_EVERY) {
                    let database = kind.as_str();
                    let reason = kind.detail();
                    tracing::warn!(database, reason, error = text, "not ready");
                    logged = Some(at);
                }
            }
            Ok(()) if logged.take().is_some() => {
                tracing::info!(database = state.as_str(), "ready again");
            }
            Ok(()) => {}
        }
        Observed { state, at, logged }
    }
}
