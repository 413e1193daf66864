//! An entry of the queue: the events that are applied together, and what belongs to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::SpanContext;
use producer_telemetry::request;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call_state::CallState;
use super::job_times::JobTimes;
use super::problems::{after_failure, outcome_unknown};
use super::ready_queue::{JobId, Keyed};
use crate::model::{AttemptId, Event, Outcome, Problem, Receipt};

/// Hashes of the uuids and entities of a job, each once; jobs that have one in common keep their
/// order. Nearly all events have two, which then need no memory of their own.
pub(super) type Keys = SmallVec<[u64; 2]>;

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

/// How much of the queue something takes up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Load {
    pub(super) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.events -= other.events;
        self.bytes -= other.bytes;
    }
}

/// What a job has in common with its sender.
pub(super) struct JobShared {
    pub(super) keys: Keys,
    pub(super) times: JobTimes,
    /// The sender has given up the wait for the writer's answer, and has counted the event as unknown.
    given_up: AtomicBool,
}

impl JobShared {
    /// The sender gives up the wait for the writer's answer, and counts the event as unknown.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    /// Whether the sender has counted the outcome though it got none.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }
}

/// An entry of the queue.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) meta: JobMeta,
}

/// What belongs to a job besides its events.
pub(super) struct JobMeta {
    /// Set when it is queued.
    pub(super) id: JobId,
    pub(super) shared: Arc<JobShared>,
    pub(super) call: Option<Arc<CallState>>,
    /// When a job that waits for another session's lock is refused. `None` for an event of a call: its
    /// time starts when it first finds the lock taken.
    pub(super) expires: Option<Instant>,
    /// Attempts that may have stored it: their connection was lost.
    pub(super) unconfirmed_attempts: Vec<AttemptId>,
    /// Attempts that panicked. They may have stored it, too; as their ids are not known, it is a
    /// duplicate when it is found stored.
    pub(super) panics: u32,
    /// The span of its request, where that is recorded.
    pub(super) span: Option<Box<SpanContext>>,
    pub(super) load: Load,
    pub(super) updates: usize,
}

impl JobMeta {
    pub(super) fn keys(&self) -> &[u64] {
        &self.shared.keys
    }

    pub(super) fn times(&self) -> &JobTimes {
        &self.shared.times
    }

    /// Whether an earlier attempt may have stored it: it can't be refused as not stored any more.
    pub(super) fn maybe_stored(&self) -> bool {
        self.panics > 0 || !self.unconfirmed_attempts.is_empty()
    }

    /// `problem` says that the event is not stored, which is true of the last attempt. What the
    /// sender gets to know also depends on the earlier ones.
    pub(super) fn refusal(&self, problem: Problem) -> Problem {
        if self.maybe_stored() { outcome_unknown() } else { problem }
    }
}

impl Job {
    /// A job that is queued now.
    pub(super) fn new(work: Work, keys: Keys, now: Instant, expires: Option<Instant>) -> Box<Self> {
        let events = work.events();
        let bytes = events.iter().map(Event::weight).sum();
        let meta = JobMeta {
            id: JobId::default(),
            shared: Arc::new(JobShared {
                keys,
                times: JobTimes::begin(now),
                given_up: AtomicBool::new(false),
            }),
            call: None,
            expires,
            unconfirmed_attempts: Vec::new(),
            panics: 0,
            span: request::span(),
            load: Load { events: events.len(), bytes },
            updates: events.iter().map(|event| event.updates().len()).sum(),
        };
        Box::new(Self { work, meta })
    }

    pub(super) fn is_atomic(&self) -> bool {
        matches!(self.work, Work::All(..))
    }

    /// Whether it must not be applied, because of an earlier event of its call.
    pub(super) fn is_forbidden(&self) -> bool {
        self.meta.call.as_ref().is_some_and(|call| call.forbids(self.meta.keys()))
    }

    /// Answers a job that [is forbidden](Job::is_forbidden).
    pub(super) fn refuse_after_failure(self) {
        let problem = self.meta.refusal(after_failure());
        self.refuse(problem);
    }

    /// Answers that nothing was stored.
    pub(super) fn refuse(self, problem: Problem) {
        match self.work {
            Work::One(event, reply) => drop(reply.send(Err(problem.with_event_id(event.uuid())))),
            Work::All(_, reply) => drop(reply.send(Err(problem))),
        }
    }
}

impl Keyed for Box<Job> {
    fn keys(&self) -> &[u64] {
        self.meta.keys()
    }
}
