//! A writer's connection between two batches.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, sleep_until, timeout};

use crate::store::postgres::session::SLACK;

/// How long a connection is kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::postgres) struct Keep {
    /// `DATABASE_IDLE_TIMEOUT`
    pub(in crate::store::postgres) idle: Duration,
    /// `DATABASE_MAX_LIFETIME`
    pub(in crate::store::postgres) life: Duration,
}

/// A connection that is whole: no transaction, nothing under way.
pub(super) struct Open {
    pub(super) connection: PgConnection,
    opened: Instant,
    used: Instant,
}

impl Open {
    pub(super) fn new(connection: PgConnection) -> Self {
        let now = Instant::now();
        Self { connection, opened: now, used: now }
    }

    pub(super) fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    /// When it has been kept for long enough.
    fn due(&self, keep: Keep) -> Instant {
        (self.used + keep.idle).min(self.opened + keep.life)
    }
}

/// Where a writer leaves its connection. One that isn't fetched in time is closed.
pub(super) struct Kept {
    keep: Keep,
    place: Arc<Mutex<Option<Open>>>,
    /// Whether the task runs that closes it.
    watched: bool,
}

impl Kept {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, place: Arc::default(), watched: false }
    }

    /// Takes it out, unless it is too old.
    pub(super) fn take(&self) -> Option<Open> {
        let open = self.place.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if open.opened.elapsed() < self.keep.life {
            return Some(open);
        }
        tokio::spawn(close(open));
        None
    }

    /// Puts it back after a batch.
    pub(super) fn put(&mut self, mut open: Open) {
        open.used = Instant::now();
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        if !self.watched {
            self.watched = true;
            tokio::spawn(watch(Arc::downgrade(&self.place), self.keep));
        }
    }
}

/// Closes what has been kept for long enough, as long as there is a writer.
async fn watch(place: Weak<Mutex<Option<Open>>>, keep: Keep) {
    let mut next = Instant::now() + keep.idle.min(keep.life);
    loop {
        sleep_until(next).await;
        let Some(place) = place.upgrade() else { return };
        next = close_due(&place, keep);
    }
}

/// Returns when to look again.
fn close_due(place: &Mutex<Option<Open>>, keep: Keep) -> Instant {
    let mut kept = place.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    match kept.as_ref().map(|open| open.due(keep)) {
        Some(due) if due > now => return due,
        Some(_) => drop(kept.take().map(|open| tokio::spawn(close(open)))),
        None => {}
    }
    // what isn't there now can't be due before
    now + keep.idle.min(keep.life)
}

/// Takes leave of the server, which may be gone.
async fn close(open: Open) {
    let _gone = timeout(SLACK, open.connection.close()).await;
}
