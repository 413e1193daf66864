//! The one use case: take events, apply them in batches that share a commit, answer each sender.
//!
//! Senders put `job::Job`s into a bounded queue; writer tasks take what is there (`grouping` says how
//! much of it) and apply it in one transaction. A batch is no part of any request: a sender that leaves, or
//! whose deadline passes, takes its job out of the queue, and interrupts nothing that a writer has.

pub mod bulk;
mod call;
mod call_state;
mod grouping;
mod job;
mod job_handle;
mod job_times;
mod limits;
mod metrics;
mod parked;
mod port;
mod problems;
mod queue;
mod queue_state;
mod ready_queue;
mod timers;
mod trace;
mod writer;

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bulk::all_valid;
pub use call::{CallResults, CallSender};
use futures_util::FutureExt;
use futures_util::future::Either;
use job::{Job, JobShared, Work};
use job_handle::JobHandle;
pub use limits::Limits;
use opentelemetry::trace::SpanContext;
pub use port::{ApplyError, ApplyMode, Verdict, WriteStore, Writer};
use problems::{outcome_unknown, too_old};
use producer_telemetry::metrics::MetricFamily;
use queue::Queue;
use timers::Timers;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use trace::WaitTimer;
use uuid::Uuid;

use crate::decode::EntityWrite;
use crate::model::{Event, Outcome, Problem, ProblemKind};

/// The queue in front of the writers. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    queue: Arc<Queue>,
    /// Of senders that wait.
    timers: Arc<Timers>,
}

impl Ingest {
    /// Starts the writers as tasks of their own on the runtime `writers`, which should have nothing
    /// else to do: a database's answer is seen at once there.
    pub fn start(store: Arc<dyn WriteStore>, limits: Limits, writers: &Handle) -> Self {
        let queue = Arc::new(Queue::new(limits, store.max_writers()));
        for index in 0..store.max_writers() {
            writer::spawn(index, Arc::clone(&store), Arc::clone(&queue), writers);
        }
        Self { queue, timers: Arc::default() }
    }

    /// Is notified whenever a writer has committed something.
    pub fn commits(&self) -> Arc<Notify> {
        Arc::clone(&self.queue.commits)
    }

    /// Applies one event, which is queued when this returns. A caller that drops the future cancels the
    /// event if no writer has taken it yet, and nothing otherwise.
    ///
    /// # Errors
    /// `Conflict`, `Validation`, `Overloaded`, `Unavailable`, `OutcomeUnknown`, `Internal`.
    // no async function: that would keep the event in its future while a writer has it
    pub fn submit(&self, event: Event) -> impl Future<Output = Outcome> + Send {
        let uuid = event.uuid();
        tracing::debug!(%uuid, event_type = event.event_type(), "event received");
        let (reply, answer) = oneshot::channel();
        let answer = self.push(Work::One(event, reply), answer);
        answer.map(move |outcome| {
            let outcome = outcome.map_err(|problem| problem.with_event_id(uuid));
            self.queue.metrics.record(&outcome);
            outcome
        })
    }

    /// Applies one event, or returns the problem that its text has: both are counted.
    ///
    /// # Errors
    /// The item's, or as [`Ingest::submit`].
    pub fn submit_item(
        &self,
        item: Result<Event, Problem>,
    ) -> impl Future<Output = Outcome> + Send {
        match item {
            Ok(event) => Either::Left(self.submit(event)),
            Err(problem) => {
                let outcome = Err(problem);
                self.queue.metrics.record(&outcome);
                Either::Right(ready(outcome))
            }
        }
    }

    /// Applies a write of one entity, or returns the problem that its request has. Problems have locations
    /// in the request.
    ///
    /// # Errors
    /// As [`Ingest::submit`]; `NotFound` where the entity must exist and does not.
    pub async fn submit_write(&self, write: Result<EntityWrite, Problem>) -> Outcome {
        match write {
            Ok(write) => {
                let (event, problem) = write.into_event();
                self.submit(event).await.map_err(problem)
            }
            Err(problem) => self.submit_item(Err(problem)).await,
        }
    }

    /// Applies all events or none, in one transaction. The outcomes are in the events' order:
    /// receipts, or `OutcomeUnknown` for every event. Dropping the future is as in [`Ingest::submit`].
    ///
    /// # Errors
    /// `Validation` or `Conflict` with locations from the array's root, or why nothing was stored.
    pub async fn submit_atomic(&self, events: Vec<Event>) -> Result<Vec<Outcome>, Problem> {
        let uuids: Vec<Uuid> = events.iter().map(Event::uuid).collect();
        let (reply, answer) = oneshot::channel();
        let outcomes: Vec<Outcome> = match self.push(Work::All(events, reply), answer).await {
            Ok(receipts) => receipts.into_iter().map(Ok).collect(),
            Err(unknown) if unknown.kind == ProblemKind::OutcomeUnknown => {
                uuids.into_iter().map(|uuid| Err(unknown.clone().with_event_id(uuid))).collect()
            }
            Err(problem) => {
                self.queue.metrics.record_all(uuids.len(), problem.kind);
                return Err(problem);
            }
        };
        outcomes.iter().for_each(|outcome| self.queue.metrics.record(outcome));
        Ok(outcomes)
    }

    /// As [`Ingest::submit_atomic`], of items that may have problems.
    ///
    /// # Errors
    /// `Validation` with the broken rules of all items, or as [`Ingest::submit_atomic`].
    pub async fn submit_items_atomic(
        &self,
        items: Vec<Result<Event, Problem>>,
    ) -> Result<Vec<Outcome>, Problem> {
        let count = items.len();
        match all_valid(items) {
            Ok(events) => self.submit_atomic(events).await,
            Err(problem) => {
                self.queue.metrics.record_all(count, problem.kind);
                Err(problem)
            }
        }
    }

    /// Applies many events in their order and independently; the outcomes are in the same order.
    ///
    /// # Errors
    /// As [`Ingest::open_call`]: nothing was stored.
    pub async fn submit_items(
        &self,
        items: Vec<Result<Event, Problem>>,
    ) -> Result<Vec<Outcome>, Problem> {
        let (mut sender, mut results) = self.open_call()?;
        let mut outcomes = Vec::with_capacity(items.len());
        let send = async move {
            for item in items {
                sender.send(item).await;
            }
        };
        let receive = async {
            while let Some(outcome) = results.next().await {
                outcomes.push(outcome);
            }
        };
        tokio::join!(send, receive);
        Ok(outcomes)
    }

    /// Opens a call of many events: its events are applied in their order for the same entity, and
    /// wait for room instead of being refused. Dropping the [`CallResults`] cancels the events that no
    /// writer has taken yet.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, `Unavailable` when draining: nothing was read yet.
    pub fn open_call(&self) -> Result<(CallSender, CallResults), Problem> {
        self.queue.check_admits_call()?;
        Ok(call::open(Arc::clone(&self.queue)))
    }

    /// The ingest's counters, and the present depth of its queue.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        self.queue.metrics.gather(&self.queue.depth())
    }

    /// From now on new events are refused; calls that are open may go on.
    pub fn drain(&self) {
        self.queue.drain();
    }

    /// Whether [`Ingest::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.queue.is_draining()
    }

    /// Waits until everything that was taken in is answered, then stops the writers.
    pub async fn close_when_empty(&self) {
        self.queue.close_when_empty().await;
    }

    /// Queues the work now; the future waits for its outcome.
    fn push<T: Send>(
        &self,
        work: Work,
        answer: oneshot::Receiver<Result<T, Problem>>,
    ) -> impl Future<Output = Result<T, Problem>> + Send {
        let now = Instant::now();
        let events = work.events();
        let (keys, count) = (self.queue.keys(events), events.len());
        let job = Job::new(work, keys, now, Some(now + self.queue.limits.queue_age));
        let (shared, span) = (Arc::clone(&job.meta.shared), job.meta.span.clone());
        match self.queue.push(job) {
            Ok(id) => {
                let handle = JobHandle::new(Arc::clone(&self.queue), id, count);
                Either::Left(self.answer(handle, shared, span, answer))
            }
            Err(problem) => Either::Right(ready(Err(problem))),
        }
    }

    /// The outcome of a queued job. The wait is measured and traced.
    async fn answer<T>(
        &self,
        mut handle: JobHandle,
        shared: Arc<JobShared>,
        span: Option<Box<SpanContext>>,
        mut answer: oneshot::Receiver<Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let timer = WaitTimer::begin(&shared.times, shared.times.queued_at());
        let outcome = self.wait(&mut handle, &shared, &mut answer).await;
        drop(timer);
        trace::record_wait(span.as_deref(), &shared.times, &mut None);
        handle.finish();
        outcome
    }

    /// Waits for the writer's answer until the job is too old, and for one that a writer has taken
    /// until `REQUEST_TIMEOUT`.
    async fn wait<T>(
        &self,
        handle: &mut JobHandle,
        shared: &JobShared,
        answer: &mut oneshot::Receiver<Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let limits = &self.queue.limits;
        let queued = shared.times.queued_at();
        let age_limit = queued + limits.queue_age.min(limits.request_timeout);
        let mut timer = self.timers.timer();
        for deadline in [age_limit, queued + limits.request_timeout] {
            let answered = poll_fn(|cx| match Pin::new(&mut *answer).poll(cx) {
                Poll::Ready(answered) => Poll::Ready(Some(answered)),
                Poll::Pending => timer.poll(deadline, cx).map(|()| None),
            });
            match answered.await {
                Some(Ok(outcome)) => return outcome,
                Some(Err(_writer_died)) => break,
                None if handle.cancel() => return Err(too_old()),
                None => {}
            }
        }
        shared.give_up();
        Err(outcome_unknown())
    }
}
