//! When a writer had a job.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use opentelemetry::trace::SpanContext;
use producer_telemetry::spans::BatchSpan;
use tokio::time::Instant;

/// When a writer last took a job, and when it had applied it. Shared with the job's sender; in
/// microseconds since the job was queued, of which zero is never.
pub(super) struct JobTimes {
    queued: Instant,
    taken: AtomicU32,
    applied: AtomicU32,
    /// The span of the first batch that the job was in.
    batch: OnceLock<Box<SpanContext>>,
}

impl JobTimes {
    /// The times of a job that is queued now.
    pub(super) fn begin(now: Instant) -> Self {
        Self {
            queued: now,
            taken: AtomicU32::new(0),
            applied: AtomicU32::new(0),
            batch: OnceLock::new(),
        }
    }

    /// When the job was queued.
    pub(super) fn queued_at(&self) -> Instant {
        self.queued
    }

    /// A writer takes the job.
    pub(super) fn note_taken(&self, now: Instant, batch: Option<&BatchSpan>) {
        self.taken.store(micros(now - self.queued), Ordering::Relaxed);
        // an earlier batch may have had it, which parked it
        self.applied.store(0, Ordering::Relaxed);
        if let Some(batch) = batch {
            self.batch.get_or_init(|| Box::new(batch.context().clone()));
        }
    }

    /// The writer has applied the job, or failed to.
    pub(super) fn note_applied(&self, now: Instant) {
        self.applied.store(micros(now - self.queued), Ordering::Relaxed);
    }

    /// When a writer last took the job.
    pub(super) fn taken_at(&self) -> Option<Instant> {
        self.moment(&self.taken)
    }

    /// When the writer had applied it.
    pub(super) fn applied_at(&self) -> Option<Instant> {
        self.moment(&self.applied)
    }

    /// The span of the first batch that the job was in.
    pub(super) fn batch(&self) -> Option<&SpanContext> {
        self.batch.get().map(|span| &**span)
    }

    fn moment(&self, micros: &AtomicU32) -> Option<Instant> {
        match micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(self.queued + Duration::from_micros(micros.into())),
        }
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX).max(1)
}
