//! When a writer had a job.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use opentelemetry::trace::SpanContext;
use producer_telemetry::spans::BatchSpan;
use tokio::time::Instant;

/// When a writer took a job, last, and when it was done with it. Shared with the job's sender; in
/// microseconds after the job was queued, of which zero is never.
#[derive(Default)]
pub(super) struct Times {
    taken: AtomicU32,
    applied: AtomicU32,
    /// The span of the batch that first had it.
    batch: OnceLock<Box<SpanContext>>,
}

impl Times {
    pub(super) fn taken(&self, after: Duration, batch: Option<&BatchSpan>) {
        self.taken.store(micros(after), Ordering::Relaxed);
        // it may have waited aside since a writer was done with it
        self.applied.store(0, Ordering::Relaxed);
        if let Some(batch) = batch {
            self.batch.get_or_init(|| Box::new(batch.context().clone()));
        }
    }

    /// When a writer took the job, which was queued at `queued`.
    pub(super) fn taken_at(&self, queued: Instant) -> Option<Instant> {
        moment(queued, &self.taken)
    }

    /// When a writer was done with it.
    pub(super) fn applied_at(&self, queued: Instant) -> Option<Instant> {
        moment(queued, &self.applied)
    }

    /// The span of the batch that first had it.
    pub(super) fn batch(&self) -> Option<&SpanContext> {
        self.batch.get().map(|span| &**span)
    }

    pub(super) fn applied(&self, after: Duration) {
        self.applied.store(micros(after), Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX).max(1)
}

fn moment(queued: Instant, micros: &AtomicU32) -> Option<Instant> {
    match micros.load(Ordering::Relaxed) {
        0 => None,
        micros => Some(queued + Duration::from_micros(micros.into())),
    }
}
