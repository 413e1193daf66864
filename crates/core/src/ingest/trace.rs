//! What a job tells its sender about its time, and what a batch tells about its requests.

use opentelemetry::trace::SpanContext;
use producer_telemetry::request;
use producer_telemetry::spans::{self, BatchSpan};
use producer_telemetry::stopwatch::Part;
use tokio::time::Instant;

use super::job::{Job, JobState};

/// Begins the batch's span, where one of its requests has one, and notes on each job that it was
/// taken.
pub(super) fn begin(jobs: &[Job]) -> Option<BatchSpan> {
    let now = Instant::now();
    let requests = jobs.iter().filter_map(|job| job.meta.span.as_deref());
    let span = BatchSpan::begin(jobs.iter().map(|job| job.meta.events).sum(), requests);
    for job in jobs {
        job.meta.state.times().taken(now - job.meta.queued, span.as_ref());
    }
    span
}

/// A sender's wait. However it ends, the present request learns where the time went.
pub(super) struct Wait<'a> {
    queued: Instant,
    state: &'a JobState,
}

impl<'a> Wait<'a> {
    pub(super) fn begin(queued: Instant, state: &'a JobState) -> Self {
        request::enter(Part::Queue);
        Self { queued, state }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let times = self.state.times();
        request::waited(times.taken_at(self.queued), times.applied_at(self.queued));
    }
}

/// Records the wait of an answered event in its request's trace. Events of one request that shared
/// a batch waited once: `last` is the batch that the one before was in.
pub(super) fn record(
    request: Option<&SpanContext>,
    queued: Instant,
    state: &JobState,
    last: &mut Option<SpanContext>,
) {
    let times = state.times();
    let (Some(request), Some(batch)) = (request, times.batch()) else { return };
    let Some(taken) = times.taken_at(queued) else { return };
    if last.as_ref() != Some(batch) {
        spans::queue(request, batch, queued, taken);
        *last = Some(batch.clone());
    }
}
