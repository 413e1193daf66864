//! An entry of the queue: what is applied together, and what goes along with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use opentelemetry::trace::SpanContext;
use producer_telemetry::request;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call_state::CallState;
use super::job_times::Times;
use super::problems::{outcome_unknown, unavailable};
use crate::model::{AttemptId, Event, Outcome, Problem, Receipt};

/// Where a job stands, shared with its sender, so that a deadline can take it out of the queue and
/// know for sure that it is not stored.
#[derive(Clone, Default)]
pub(super) struct JobState(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stage: AtomicU8,
    times: Times,
}

impl JobState {
    const QUEUED: u8 = 0;
    const TAKEN: u8 = 1;
    const CANCELLED: u8 = 2;

    /// Takes the job out of the queue; false when a writer has it.
    pub(super) fn cancel(&self) -> bool {
        self.change(Self::QUEUED, Self::CANCELLED)
    }

    fn take(&self) -> bool {
        self.change(Self::QUEUED, Self::TAKEN)
    }

    pub(super) fn unclaim(&self) {
        self.change(Self::TAKEN, Self::QUEUED);
    }

    /// When a writer had it.
    pub(super) fn times(&self) -> &Times {
        &self.0.times
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.0.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// What is applied together, and where its outcome goes.
pub(super) enum Work {
    /// One event.
    One(Event, oneshot::Sender<Outcome>),
    /// All events or none.
    All(Vec<Event>, oneshot::Sender<Result<Vec<Receipt>, Problem>>),
}

impl Work {
    pub(super) fn events(&self) -> &[Event] {
        match self {
            Self::One(event, _) => std::slice::from_ref(event),
            Self::All(events, _) => events,
        }
    }
}

/// An entry of the queue.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) meta: JobMeta,
}

/// What goes along with the work of a job.
pub(super) struct JobMeta {
    /// Hashes of the uuids and entities; two jobs that share one keep their order.
    pub(super) keys: Vec<u64>,
    pub(super) call: Option<Arc<CallState>>,
    /// When a job that waits for a foreign session's lock is given up; an event of a call has its
    /// time from when it first met the lock.
    pub(super) expires: Option<Instant>,
    pub(super) queued: Instant,
    /// Earlier tries that may have stored it: it can't be refused as not stored any more.
    pub(super) unconfirmed_attempts: Vec<AttemptId>,
    pub(super) state: JobState,
    /// Of the request that brought it, where that is recorded.
    pub(super) span: Option<Box<SpanContext>>,
    pub(super) events: usize,
    pub(super) weight: usize,
}

impl JobMeta {
    /// Whether an earlier try may have stored it.
    pub(super) fn is_unconfirmed(&self) -> bool {
        !self.unconfirmed_attempts.is_empty()
    }

    /// A writer is done with it.
    pub(super) fn applied(&self, now: Instant) {
        self.state.times().applied(now - self.queued);
    }

    /// What a sender is told whose event is not stored as far as this try goes: an earlier try may
    /// have stored it.
    pub(super) fn refusal(&self, problem: Problem) -> Problem {
        if self.is_unconfirmed() { outcome_unknown() } else { problem }
    }
}

impl Job {
    pub(super) fn new(work: Work, keys: Vec<u64>, expires: Option<Instant>) -> Self {
        let events = work.events();
        let meta = JobMeta {
            keys,
            call: None,
            expires,
            queued: Instant::now(),
            unconfirmed_attempts: Vec::new(),
            state: JobState::default(),
            span: request::span(),
            events: events.len(),
            weight: events.iter().map(Event::weight).sum(),
        };
        Self { work, meta }
    }

    pub(super) fn is_atomic(&self) -> bool {
        matches!(self.work, Work::All(..))
    }

    /// Tells the sender that nothing was stored.
    pub(super) fn refuse(self, problem: Problem) {
        match self.work {
            Work::One(event, reply) => drop(reply.send(Err(problem.with_event_id(event.uuid())))),
            Work::All(_, reply) => drop(reply.send(Err(problem))),
        }
    }

    /// Takes the job for a writer, unless its sender gave it up or its call forbids it.
    pub(super) fn try_claim(self) -> Option<Self> {
        let JobMeta { keys, call, state, .. } = &self.meta;
        if !self.meta.is_unconfirmed() && !state.take() {
            // What stands behind it in its call must not be applied in its stead.
            call.iter().for_each(|call| call.fail(keys, false));
            return None;
        }
        if call.as_ref().is_some_and(|call| call.forbids(keys)) {
            let problem = self.meta.refusal(behind_a_failed_one());
            self.refuse(problem);
            return None;
        }
        Some(self)
    }

    /// Every key that isn't an event's uuid is an update's entity.
    pub(super) fn update_count(&self) -> usize {
        self.meta.keys.len() - self.meta.events
    }
}

/// A job of a call whose earlier event on the same entity failed must not overtake it.
pub(super) fn behind_a_failed_one() -> Problem {
    let mut problem = unavailable();
    problem.detail =
        "an earlier event of this call could not be stored; this one was not tried".into();
    problem
}
