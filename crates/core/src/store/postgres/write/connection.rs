//! A writer's connection between two batches.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, sleep_until, timeout};

use crate::store::postgres::session::SLACK;

/// How long a connection is slot_guard.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::postgres) struct ConnectionLifetime {
    /// `DATABASE_IDLE_TIMEOUT`
    pub(in crate::store::postgres) idle: Duration,
    /// `DATABASE_MAX_LIFETIME`
    pub(in crate::store::postgres) max: Duration,
}

/// A connection that is whole: no transaction, nothing under way.
pub(super) struct OpenConnection {
    pub(super) connection: PgConnection,
    opened: Instant,
    used: Instant,
}

impl OpenConnection {
    pub(super) fn new(connection: PgConnection) -> Self {
        let now = Instant::now();
        Self { connection, opened: now, used: now }
    }

    pub(super) fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    /// When it has been slot_guard for long enough.
    fn due(&self, lifetime: ConnectionLifetime) -> Instant {
        (self.used + lifetime.idle).min(self.opened + lifetime.max)
    }
}

/// Where a writer leaves its connection. One that isn't fetched in time is closed.
pub(super) struct WriterConnection {
    lifetime: ConnectionLifetime,
    slot: Arc<Mutex<Option<OpenConnection>>>,
    /// Whether the task runs that closes it.
    watched: bool,
}

impl WriterConnection {
    pub(super) fn new(lifetime: ConnectionLifetime) -> Self {
        Self { lifetime, slot: Arc::default(), watched: false }
    }

    /// Takes it out, unless it is too old.
    pub(super) fn take(&self) -> Option<OpenConnection> {
        let open = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if open.opened.elapsed() < self.lifetime.max {
            return Some(open);
        }
        tokio::spawn(close(open));
        None
    }

    /// Puts it back after a batch.
    pub(super) fn put(&mut self, mut open: OpenConnection) {
        open.used = Instant::now();
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        if !self.watched {
            self.watched = true;
            tokio::spawn(watch(Arc::downgrade(&self.slot), self.lifetime));
        }
    }
}

/// Closes what has been slot_guard for long enough, as long as there is a writer.
async fn watch(slot: Weak<Mutex<Option<OpenConnection>>>, lifetime: ConnectionLifetime) {
    let mut next = Instant::now() + lifetime.idle.min(lifetime.max);
    loop {
        sleep_until(next).await;
        let Some(slot) = slot.upgrade() else { return };
        next = close_due(&slot, lifetime);
    }
}

/// Returns when to look again.
fn close_due(slot: &Mutex<Option<OpenConnection>>, lifetime: ConnectionLifetime) -> Instant {
    let mut slot_guard = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    match slot_guard.as_ref().map(|open| open.due(lifetime)) {
        Some(due) if due > now => return due,
        Some(_) => drop(slot_guard.take().map(|open| tokio::spawn(close(open)))),
        None => {}
    }
    // what isn't there now can't be due before
    now + lifetime.idle.min(lifetime.max)
}

/// Takes leave of the server, which may be gone.
async fn close(open: OpenConnection) {
    let _gone = timeout(SLACK, open.connection.close()).await;
}
