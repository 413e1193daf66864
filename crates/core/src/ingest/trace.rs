//! What a job tells its sender about its time, and what a batch tells about its requests.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use opentelemetry::trace::SpanContext;
use tokio::time::Instant;

use super::job::{Job, Ticket};
use crate::telemetry::request::{self, Part};
use crate::telemetry::spans::{self, BatchSpan};

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

/// Begins the batch's span, where one of its requests has one, and notes on each job that it was
/// taken.
pub(super) fn begin(jobs: &[Job]) -> Option<BatchSpan> {
    let now = Instant::now();
    let requests = jobs.iter().filter_map(|job| job.slip.span.as_deref());
    let span = BatchSpan::begin(jobs.iter().map(|job| job.slip.events).sum(), requests);
    for job in jobs {
        job.slip.ticket.times().taken(now - job.slip.queued, span.as_ref());
    }
    span
}

/// A sender's wait. However it ends, the present request learns where the time went.
pub(super) struct Wait<'a> {
    queued: Instant,
    ticket: &'a Ticket,
}

impl<'a> Wait<'a> {
    pub(super) fn begin(queued: Instant, ticket: &'a Ticket) -> Self {
        request::enter(Part::Queue);
        Self { queued, ticket }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let times = self.ticket.times();
        request::waited(moment(self.queued, &times.taken), moment(self.queued, &times.applied));
    }
}

/// Records the wait of an answered event in its request's trace. Events of one request that shared
/// a batch waited once: `last` is the batch that the one before was in.
pub(super) fn record(
    request: Option<&SpanContext>,
    queued: Instant,
    ticket: &Ticket,
    last: &mut Option<SpanContext>,
) {
    let times = ticket.times();
    let (Some(request), Some(batch)) = (request, times.batch.get()) else { return };
    let Some(taken) = moment(queued, &times.taken) else { return };
    if last.as_ref() != Some(&**batch) {
        spans::queue(request, batch, queued, taken);
        *last = Some((**batch).clone());
    }
}
