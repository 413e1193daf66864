//! Calls of many events (bulk, NDJSON, streams): a bounded part of the queue, results in order, and
//! no event applied after an earlier one on the same entity that failed.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::SpanContext;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::call_state::CallState;
use super::job::{Job, JobShared, Work};
use super::job_handle::JobHandle;
use super::problems::{after_failure, draining, outcome_unknown, too_old};
use super::queue::{PushError, Queue};
use super::ready_queue::JobId;
use super::trace::{self, WaitTimer};
use crate::model::{Event, Outcome, Problem, ProblemKind};

/// Events that one call may have in the queue.
const MAX_QUEUED: usize = 1000;

/// An item on its way from [`CallSender`] to [`CallResults`].
enum Pending {
    Answered(Outcome),
    Queued(QueuedEvent),
}

/// Dropped with the [`CallResults`] it is cancelled, if no writer has it.
struct QueuedEvent {
    uuid: Uuid,
    shared: Arc<JobShared>,
    handle: JobHandle,
    answer: oneshot::Receiver<Outcome>,
}

/// The end of a call that takes events in.
pub struct CallSender {
    queue: Arc<Queue>,
    call: Arc<CallState>,
    pending: mpsc::Sender<Pending>,
}

/// The end of a call that gives the outcomes out.
pub struct CallResults {
    queue: Arc<Queue>,
    call: Arc<CallState>,
    pending: mpsc::Receiver<Pending>,
    /// Kept here while it waits, so that dropping [`CallResults::next`] loses nothing.
    head: Option<QueuedEvent>,
    /// The span of the batch that the event before was in.
    batch: Option<SpanContext>,
}

pub(super) fn open(queue: Arc<Queue>) -> (CallSender, CallResults) {
    let call = Arc::new(CallState::new());
    let (sender, receiver) = mpsc::channel(MAX_QUEUED);
    let results = CallResults {
        queue: Arc::clone(&queue),
        call: Arc::clone(&call),
        pending: receiver,
        head: None,
        batch: None,
    };
    (CallSender { queue, call, pending: sender }, results)
}

impl CallSender {
    /// Takes the call's next item: an event, or the problem that its text has. Waits while the call
    /// has 1,000 events in the queue or the queue is full; this is what slows a sender down. Returns
    /// false once the call is broken (see [`CallSender::broken`]), when the item is answered all the
    /// same, or once its [`CallResults`] are gone. [`CallResults::next`] must be polled meanwhile.
    pub async fn send(&mut self, item: Result<Event, Problem>) -> bool {
        // The slot first: an item in the queue always has its place among the results.
        let Ok(slot) = self.pending.clone().reserve_owned().await else { return false };
        let pending = match item {
            Ok(event) => self.queue_event(event).await,
            Err(problem) => Pending::Answered(Err(problem)),
        };
        slot.send(pending);
        !self.is_broken() && !self.pending.is_closed()
    }

    /// Whether an item of the call came back unavailable or unknown.
    pub fn is_broken(&self) -> bool {
        self.call.is_broken()
    }

    /// Resolves when an item of the call came back unavailable or unknown: from then on no more
    /// should be read.
    pub async fn broken(&self) {
        self.call.broken().await;
    }

    async fn queue_event(&self, event: Event) -> Pending {
        let uuid = event.uuid();
        tracing::debug!(%uuid, event_type = event.event_type(), "event received");
        let (reply, answer) = oneshot::channel();
        let keys = self.queue.keys(std::slice::from_ref(&event));
        let mut job = Job::new(Work::One(event, reply), keys, Instant::now(), None);
        job.meta.call = Some(Arc::clone(&self.call));
        let shared = Arc::clone(&job.meta.shared);
        if job.is_forbidden() {
            return Pending::Answered(Err(after_failure().with_event_id(uuid)));
        }
        match self.push_when_there_is_room(job, &shared).await {
            Ok(id) => {
                let handle = JobHandle::new(Arc::clone(&self.queue), id, 1);
                Pending::Queued(QueuedEvent { uuid, shared, handle, answer })
            }
            Err(problem) => Pending::Answered(Err(problem.with_event_id(uuid))),
        }
    }

    /// # Errors
    /// There was none for `REQUEST_TIMEOUT`, in which the call made no progress; or the service has
    /// stopped.
    async fn push_when_there_is_room(
        &self,
        mut job: Box<Job>,
        shared: &JobShared,
    ) -> Result<JobId, Problem> {
        let since = shared.times.queued_at();
        let deadline = || self.call.progress().max(since) + self.queue.limits.request_timeout;
        loop {
            let mut released = std::pin::pin!(self.queue.released());
            released.as_mut().enable();
            job = match self.queue.try_push_of_call(job) {
                Ok(id) => return Ok(id),
                Err(PushError::Closed) => return Err(draining()),
                Err(PushError::Full(job)) => job,
            };
            let is_late = timeout_at(deadline(), released).await.is_err();
            if is_late && deadline() <= Instant::now() {
                self.call.fail(&shared.keys, true);
                return Err(too_old());
            }
        }
    }
}

impl CallResults {
    /// The outcome of the next item in the order in which they were sent; `None` after the last,
    /// when the [`CallSender`] is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Outcome> {
        if self.head.is_none() {
            match self.pending.recv().await? {
                Pending::Answered(outcome) => return Some(self.counted(outcome)),
                Pending::Queued(event) => self.head = Some(event),
            }
        }
        let head = self.head.as_mut()?;
        let outcome = head.wait(&self.call, self.queue.limits.request_timeout).await;
        if let Some(event) = self.head.take() {
            trace::record_wait(self.call.span(), &event.shared.times, &mut self.batch);
            event.handle.finish();
        }
        Some(self.counted(outcome))
    }

    fn counted(&self, outcome: Outcome) -> Outcome {
        self.queue.metrics.record(&outcome);
        outcome
    }
}

impl QueuedEvent {
    /// The outcome, or the problem of an event that is given up because its call made no progress.
    async fn wait(&mut self, call: &CallState, timeout: Duration) -> Outcome {
        let times = &self.shared.times;
        let deadline = call.progress().max(times.queued_at()) + timeout;
        let _timer = WaitTimer::begin(times, Instant::now());
        let problem = match timeout_at(deadline, &mut self.answer).await {
            Ok(Ok(outcome)) => {
                call.note_progress();
                return outcome;
            }
            Ok(Err(_writer_died)) => outcome_unknown(),
            Err(_elapsed) if self.handle.cancel() => too_old(),
            Err(_elapsed) => {
                self.shared.give_up();
                outcome_unknown()
            }
        };
        // To give up is no progress: what waited as long behind this event is given up at once.
        call.fail(&self.shared.keys, problem.kind == ProblemKind::OutcomeUnknown);
        Err(problem.with_event_id(self.uuid))
    }
}
