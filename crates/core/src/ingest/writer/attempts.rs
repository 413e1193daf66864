//! Attempts to apply events, until their outcome is known.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use producer_telemetry::spans::BatchSpan;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{error, warn};

use super::backoff::Backoff;
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::port::{ApplyError, ApplyMode, Verdict, WriteStore, Writer};
use crate::ingest::queue::Queue;
use crate::model::{AttemptId, Event, UnavailableKind};

/// Between two attempts to learn the outcome of a batch.
const RESOLVE_PAUSE: Duration = Duration::from_millis(50);

/// Why events were not applied.
#[derive(Debug)]
pub(super) enum BatchError {
    /// Nothing of these attempts is stored.
    Unavailable(UnavailableKind),
    /// Nothing of the last attempt is stored; a part of the events may pass.
    Refused(String),
    /// The writer panicked; the events may be stored.
    Panicked,
    /// The events may be stored.
    Unknown,
}

/// What attempts to apply some events came to.
pub(super) struct Applied {
    pub(super) result: Result<Vec<Verdict>, BatchError>,
    /// Attempts whose connection was lost: they may have stored the events.
    pub(super) unconfirmed: Vec<AttemptId>,
}

/// A writer of the store, replaced by a new one whenever it panics.
pub(super) struct Attempts {
    store: Arc<dyn WriteStore>,
    writer: Box<dyn Writer>,
    queue: Arc<Queue>,
    backoff: Backoff,
    /// The span of the present batch.
    pub(super) span: Option<BatchSpan>,
}

impl Attempts {
    pub(super) fn new(store: Arc<dyn WriteStore>, queue: Arc<Queue>) -> Self {
        let writer = store.writer();
        Self { store, writer, queue, backoff: Backoff::default(), span: None }
    }

    /// How long a sender waits.
    pub(super) fn request_timeout(&self) -> Duration {
        self.queue.limits.request_timeout
    }

    pub(super) fn metrics(&self) -> &IngestMetrics {
        &self.queue.metrics
    }

    /// Applies events. Where the outcome is unknown it applies them again, which resolves it, because a
    /// uuid takes effect once; at `REQUEST_TIMEOUT` it gives up, when the senders do.
    pub(super) async fn apply(&mut self, events: &[Event], mode: ApplyMode) -> Applied {
        let deadline = Instant::now() + self.request_timeout();
        let mut unconfirmed = Vec::new();
        let result = match self.measured(events, mode).await {
            Ok(verdicts) => Ok(verdicts),
            Err(AttemptError::Panicked) => Err(BatchError::Panicked),
            Err(AttemptError::Apply(ApplyError::Refused(reason))) => {
                Err(BatchError::Refused(reason))
            }
            Err(AttemptError::Apply(ApplyError::Unavailable { kind, reason })) => {
                warn!(
                    events = events.len(),
                    database = kind.as_str(),
                    reason,
                    "database unavailable, events are refused"
                );
                Err(BatchError::Unavailable(kind))
            }
            Err(AttemptError::Apply(ApplyError::Unknown { reason, attempt })) => {
                warn!(events = events.len(), reason, "outcome of a batch unknown, applying again");
                unconfirmed.push(attempt);
                self.resolve_unknown_outcome(events, mode, deadline, &mut unconfirmed).await
            }
        };
        Applied { result, unconfirmed }
    }

    async fn measured(
        &mut self,
        events: &[Event],
        mode: ApplyMode,
    ) -> Result<Vec<Verdict>, AttemptError> {
        let started = Instant::now();
        let applied = self.attempt(events, mode).await;
        self.metrics().record_attempt(events.len(), started.elapsed());
        if let Some(span) = &self.span {
            let error = applied.as_ref().err().map(AttemptError::as_str);
            span.record_commit(events.len(), started, error);
        }
        applied
    }

    /// A panic says nothing about what is stored, and nothing about the state of the writer.
    async fn attempt(
        &mut self,
        events: &[Event],
        mode: ApplyMode,
    ) -> Result<Vec<Verdict>, AttemptError> {
        let writer = &mut self.writer;
        let attempt = AssertUnwindSafe(async { writer.apply(events, mode).await });
        let Ok(applied) = attempt.catch_unwind().await else {
            error!(events = events.len(), "the writer panicked");
            self.metrics().retries_panic.inc();
            self.writer = self.store.writer();
            sleep(self.backoff.note_panic()).await;
            return Err(AttemptError::Panicked);
        };
        if applied.is_ok() {
            self.backoff.reset();
        }
        applied.map_err(AttemptError::Apply)
    }

    async fn resolve_unknown_outcome(
        &mut self,
        events: &[Event],
        mode: ApplyMode,
        deadline: Instant,
        unconfirmed: &mut Vec<AttemptId>,
    ) -> Result<Vec<Verdict>, BatchError> {
        let mode = if mode == ApplyMode::Atomic { mode } else { ApplyMode::SkipLocked };
        while Instant::now() + RESOLVE_PAUSE < deadline {
            sleep(RESOLVE_PAUSE).await;
            self.metrics().retries_unknown.inc();
            match timeout_at(deadline, self.attempt(events, mode)).await {
                Ok(Ok(verdicts)) => return Ok(verdicts),
                Ok(Err(AttemptError::Panicked)) => return Err(BatchError::Panicked),
                Ok(Err(AttemptError::Apply(error))) => match error {
                    ApplyError::Refused(reason) => return Err(BatchError::Refused(reason)),
                    ApplyError::Unknown { attempt, .. } => unconfirmed.push(attempt),
                    ApplyError::Unavailable { .. } => {}
                },
                Err(_elapsed) => break,
            }
        }
        error!(events = events.len(), "the outcome of a batch stays unknown");
        Err(BatchError::Unknown)
    }
}

/// Why one attempt failed.
enum AttemptError {
    Apply(ApplyError),
    Panicked,
}

impl AttemptError {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Apply(error) => error.as_str(),
            Self::Panicked => "panicked",
        }
    }
}
