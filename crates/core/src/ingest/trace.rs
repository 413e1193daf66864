//! Passes the times of jobs on to the requests that sent them, and to their traces.

use opentelemetry::trace::SpanContext;
use producer_telemetry::request;
use producer_telemetry::spans::{self, BatchSpan};
use producer_telemetry::stopwatch::Part;
use tokio::time::Instant;

use super::job::Job;
use super::job_times::JobTimes;

/// Begins the batch's span, where one of its requests has one, and notes on each job that it was
/// taken.
pub(super) fn begin_batch(jobs: &[Job]) -> Option<BatchSpan> {
    let now = Instant::now();
    let requests = jobs.iter().filter_map(|job| job.meta.span.as_deref());
    let span = BatchSpan::begin(jobs.iter().map(|job| job.meta.load.events).sum(), requests);
    for job in jobs {
        job.meta.times().note_taken(now, span.as_ref());
    }
    span
}

/// Measures a sender's wait. However it ends, the request's stopwatch gets the times.
pub(super) struct WaitTimer<'a>(&'a JobTimes);

impl<'a> WaitTimer<'a> {
    /// Begins a wait from `at` on.
    pub(super) fn begin(times: &'a JobTimes, at: Instant) -> Self {
        request::enter_at(Part::Queue, at);
        Self(times)
    }
}

impl Drop for WaitTimer<'_> {
    fn drop(&mut self) {
        request::record_wait(self.0.taken_at(), self.0.applied_at());
    }
}

/// Records the wait of an answered event in its request's trace. Events of one request that shared
/// a batch waited once: `last` is the batch that the event before was in.
pub(super) fn record_wait(
    request: Option<&SpanContext>,
    times: &JobTimes,
    last: &mut Option<SpanContext>,
) {
    let (Some(request), Some(batch)) = (request, times.batch()) else { return };
    let Some(taken) = times.taken_at() else { return };
    if last.as_ref() != Some(batch) {
        spans::record_queue(request, batch, times.queued_at(), taken);
        *last = Some(batch.clone());
    }
}
