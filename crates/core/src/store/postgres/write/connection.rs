//! A writer's connection between two batches. Not sqlx's pool, which pings each connection when it is
//! returned: a round trip more for each batch.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, sleep_until, timeout};

use crate::store::postgres::session::SLACK;

/// A connection that was idle for longer is tested before something is sent over it whose outcome would be
/// unknown, though nothing was stored, if the server had closed it.
const TEST_AFTER_IDLE: Duration = Duration::from_millis(20);

/// How long a connection is kept open.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::postgres) struct ConnectionLifetime {
    /// `DATABASE_IDLE_TIMEOUT`
    pub(in crate::store::postgres) idle: Duration,
    /// `DATABASE_MAX_LIFETIME`
    pub(in crate::store::postgres) max: Duration,
}

/// A connection without a transaction or a statement in progress.
pub(in crate::store::postgres) struct OpenConnection {
    pub(in crate::store::postgres) connection: PgConnection,
    opened: Instant,
    used: Instant,
}

impl OpenConnection {
    pub(in crate::store::postgres) fn new(connection: PgConnection) -> Self {
        let now = Instant::now();
        Self { connection, opened: now, used: now }
    }

    pub(super) fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    /// Whether it was used so recently that it need not be tested.
    pub(in crate::store::postgres) fn is_just_used(&self) -> bool {
        self.idle() < TEST_AFTER_IDLE
    }

    /// When it is to be closed.
    fn due(&self, lifetime: ConnectionLifetime) -> Instant {
        (self.used + lifetime.idle).min(self.opened + lifetime.max)
    }
}

/// Keeps a writer's connection. One that isn't taken in time is closed.
pub(in crate::store::postgres) struct WriterConnection {
    lifetime: ConnectionLifetime,
    slot: Arc<Mutex<Option<OpenConnection>>>,
    /// Whether the task is running that closes it.
    watched: bool,
}

impl WriterConnection {
    pub(in crate::store::postgres) fn new(lifetime: ConnectionLifetime) -> Self {
        Self { lifetime, slot: Arc::default(), watched: false }
    }

    /// Takes the connection, unless it is too old.
    pub(in crate::store::postgres) fn take(&self) -> Option<OpenConnection> {
        let open = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if open.opened.elapsed() < self.lifetime.max {
            return Some(open);
        }
        tokio::spawn(close(open));
        None
    }

    /// Puts it back after a batch.
    pub(in crate::store::postgres) fn put(&mut self, open: OpenConnection) {
        self.slot()(open);
    }

    /// Puts it back from a task that uses it for longer than the batch.
    pub(super) fn slot(&mut self) -> impl FnOnce(OpenConnection) + Send + use<> {
        if !self.watched {
            self.watched = true;
            tokio::spawn(watch(Arc::downgrade(&self.slot), self.lifetime));
        }
        let slot = Arc::clone(&self.slot);
        move |mut open| {
            open.used = Instant::now();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        }
    }
}

/// Closes the connection when it is due, as long as the writer exists.
async fn watch(slot: Weak<Mutex<Option<OpenConnection>>>, lifetime: ConnectionLifetime) {
    let mut next = Instant::now() + lifetime.idle.min(lifetime.max);
    loop {
        sleep_until(next).await;
        let Some(slot) = slot.upgrade() else { return };
        next = close_due(&slot, lifetime);
    }
}

/// Closes the connection if it is due; returns when to check again.
fn close_due(slot: &Mutex<Option<OpenConnection>>, lifetime: ConnectionLifetime) -> Instant {
    let mut kept = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    match kept.as_ref().map(|open| open.due(lifetime)) {
        Some(due) if due > now => return due,
        Some(_) => drop(kept.take().map(|open| tokio::spawn(close(open)))),
        None => {}
    }
    // a connection that is put back from now on can't be due earlier
    now + lifetime.idle.min(lifetime.max)
}

/// Closes a connection properly, if the server still responds.
async fn close(open: OpenConnection) {
    let _gone = timeout(SLACK, open.connection.close()).await;
}
