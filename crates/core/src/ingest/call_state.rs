//! What the events of one call share: which of its entities failed, and its last progress.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use opentelemetry::trace::SpanContext;
use producer_telemetry::request;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What the events of one call share.
pub(super) struct CallState {
    broken: AtomicBool,
    broke: Notify,
    failed: Mutex<Failed>,
    /// When a writer last gave an outcome.
    progress: Mutex<Instant>,
    /// The span of the request that opened the call, where that is recorded.
    span: Option<Box<SpanContext>>,
}

#[derive(Default)]
struct Failed {
    keys: HashSet<u64>,
    /// The database is not available: nothing of this call is tried any more.
    all: bool,
}

impl CallState {
    pub(super) fn new() -> Self {
        Self {
            broken: AtomicBool::new(false),
            broke: Notify::new(),
            failed: Mutex::default(),
            progress: Mutex::new(Instant::now()),
            span: request::span(),
        }
    }

    /// Notes that an item came back unavailable or unknown; with `all`, that the database is not
    /// available.
    pub(super) fn fail(&self, keys: &[u64], all: bool) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.keys.extend(keys);
        failed.all |= all;
        drop(failed);
        self.broken.store(true, Ordering::Release);
        self.broke.notify_waiters();
    }

    /// Whether an item came back unavailable or unknown.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// The span of the request that opened the call, where it is recorded.
    pub(super) fn span(&self) -> Option<&SpanContext> {
        self.span.as_deref()
    }

    /// Whether a job must not be applied any more; then its keys count as failed too.
    pub(super) fn forbids(&self, keys: &[u64]) -> bool {
        if !self.is_broken() {
            return false;
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let forbidden = failed.all || keys.iter().any(|key| failed.keys.contains(key));
        if forbidden {
            failed.keys.extend(keys);
        }
        forbidden
    }

    pub(super) fn progress(&self) -> Instant {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_progress(&self) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Resolves when an item came back unavailable or unknown.
    pub(super) async fn broken(&self) {
        loop {
            let mut broke = std::pin::pin!(self.broke.notified());
            broke.as_mut().enable();
            if self.is_broken() {
                return;
            }
            broke.await;
        }
    }
}
