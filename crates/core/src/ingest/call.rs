//! Calls of many events (bulk, NDJSON, streams): a bounded share of the queue, results in order,
//! and no event applied after one that failed before it on the same entity.

use std::sync::Arc;

use opentelemetry::trace::SpanContext;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::call_state::CallState;
use super::job::{Job, JobState, Work, behind_a_failed_one};
use super::problems::{outcome_unknown, too_old_problem};
use super::queue::Queue;
use super::trace::{self, Wait};
use crate::model::{Event, Outcome, Problem, ProblemKind};

/// Events that one call may have in the queue.
const SHARE: usize = 1000;

/// An item on its way from [`CallSender`] to [`CallResults`].
enum Pending {
    Ready(Outcome),
    Waiting(Waiting),
}

struct Waiting {
    uuid: Uuid,
    keys: Vec<u64>,
    state: JobState,
    since: Instant,
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
    /// WriterConnection here while it waits, so that dropping [`CallResults::next`] loses nothing.
    head: Option<Waiting>,
    /// The span of the batch that the event before was in.
    batch: Option<SpanContext>,
}

pub(super) fn open(queue: Arc<Queue>) -> (CallSender, CallResults) {
    let call = Arc::new(CallState::new());
    let (sender, receiver) = mpsc::channel(SHARE);
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
    /// has its share of the queue (1,000 events) or the queue is full; this is what slows a sender
    /// down. Returns false once the call is broken (see [`CallSender::broken`]); the item is taken
    /// and answered all the same. [`CallResults::next`] must be polled meanwhile.
    pub async fn send(&mut self, item: Result<Event, Problem>) -> bool {
        // The slot first: an item in the queue always has its place among the results.
        let Ok(slot) = self.pending.clone().reserve_owned().await else { return false };
        let pending = match item {
            Ok(event) => self.queue_event(event).await,
            Err(problem) => Pending::Ready(Err(problem)),
        };
        slot.send(pending);
        !self.is_broken()
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
        let mut job = Box::new(Job::new(Work::One(event, reply), keys.clone(), None));
        let state = job.meta.state.clone();
        let since = job.meta.queued;
        if self.call.forbids(&keys) {
            return Pending::Ready(Err(behind_a_failed_one().with_event_id(uuid)));
        }
        job.meta.call = Some(Arc::clone(&self.call));
        if !self.push_when_there_is_room(job, since).await {
            self.call.fail(&keys, true);
            return Pending::Ready(Err(too_old_problem().with_event_id(uuid)));
        }
        Pending::Waiting(Waiting { uuid, keys, state, since, answer })
    }

    /// False when there was none for `REQUEST_TIMEOUT`, in which nothing of the call went on.
    async fn push_when_there_is_room(&self, mut job: Box<Job>, since: Instant) -> bool {
        let deadline = || self.call.progress().max(since) + self.queue.limits.request_timeout;
        loop {
            let mut released = std::pin::pin!(self.queue.released());
            released.as_mut().enable();
            job = match self.queue.try_push_of_call(job) {
                Ok(()) => return true,
                Err(job) => job,
            };
            let waited = timeout_at(deadline(), released).await;
            if waited.is_err() && deadline() <= Instant::now() {
                return false;
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
                Pending::Ready(outcome) => return Some(self.told(outcome)),
                Pending::Waiting(waiting) => self.head = Some(waiting),
            }
        }
        let head = self.head.as_mut()?;
        let deadline = self.call.progress().max(head.since) + self.queue.limits.request_timeout;
        // What is given up is no progress: everything else that waited as long is given up at once.
        let wait = Wait::begin(head.since, &head.state);
        let outcome = match timeout_at(deadline, &mut head.answer).await {
            Ok(Ok(outcome)) => {
                self.call.note_progress();
                outcome
            }
            Ok(Err(_writer_died)) => give_up(&self.call, head, outcome_unknown()),
            Err(_elapsed) if head.state.cancel() => give_up(&self.call, head, too_old_problem()),
            Err(_elapsed) => give_up(&self.call, head, outcome_unknown()),
        };
        drop(wait);
        trace::record(self.call.span(), head.since, &head.state, &mut self.batch);
        self.head = None;
        Some(self.told(outcome))
    }

    fn told(&self, outcome: Outcome) -> Outcome {
        self.queue.metrics.record(&outcome);
        outcome
    }
}

/// Notes in the call that an item is given up.
fn give_up(call: &CallState, waiting: &Waiting, problem: Problem) -> Outcome {
    call.fail(&waiting.keys, problem.kind == ProblemKind::OutcomeUnknown);
    Err(problem.with_event_id(waiting.uuid))
}
