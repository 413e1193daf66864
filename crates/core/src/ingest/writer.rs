//! The writer tasks: take a batch, apply it, answer its senders.

mod attempts;
mod backoff;
mod outcomes;
mod parts;

use std::sync::Arc;
use std::time::Duration;

use attempts::{Attempts, BatchError};
use outcomes::{OwnCommits, all_or_none, new_updates, outcome, panic_problem};
use parts::{MAX_PANICS, apply_in_parts};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::{Level, debug, enabled, error};

use super::job::{Job, JobMeta, Work};
use super::port::{ApplyMode, Verdict, WriteStore};
use super::problems::{internal, outcome_unknown, too_old, unavailable};
use super::queue::{Batch, Queue};
use super::trace;
use crate::model::{Event, Outcome, Problem, Receipt};

/// Before a writer task that ended by a panic is started again. The store's panics do not end it.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// Starts writer `index`, and starts it again should it panic.
pub(super) fn spawn(index: usize, store: Arc<dyn WriteStore>, queue: Arc<Queue>, runtime: &Handle) {
    runtime.spawn(async move {
        loop {
            let task = run(index, Arc::clone(&store), Arc::clone(&queue));
            match tokio::spawn(task).await {
                Err(reason) if reason.is_panic() => {
                    error!(writer = index, "a writer task panicked and is started again");
                    sleep(RESTART_PAUSE).await;
                }
                Ok(()) | Err(_) => return,
            }
        }
    });
}

async fn run(index: usize, store: Arc<dyn WriteStore>, queue: Arc<Queue>) {
    let mut task = WriterTask { attempts: Attempts::new(store, Arc::clone(&queue)), queue };
    while let Some(batch) = task.queue.next_batch(index).await {
        task.attempts.span = trace::begin_batch(&batch.jobs);
        if batch.is_atomic() {
            task.apply_all_or_none(batch).await;
        } else {
            task.apply_each(batch).await;
        }
        task.attempts.span = None;
    }
}

struct WriterTask {
    attempts: Attempts,
    queue: Arc<Queue>,
}

impl WriterTask {
    async fn apply_each(&mut self, mut batch: Batch) {
        let mode = if batch.parked { ApplyMode::SkipLocked } else { ApplyMode::Normal };
        let (events, mut jobs, replies) = unpack(std::mem::take(&mut batch.jobs));
        let results = apply_in_parts(&mut self.attempts, &events, &mut jobs, mode).await;
        let now = Instant::now();
        let mut parked = Vec::new();
        let mut locked_keys = Vec::new();
        let mut answers = Vec::with_capacity(events.len());
        let mut own = OwnCommits::default();
        let items = events.into_iter().zip(jobs).zip(replies).zip(results);
        for (((event, mut job), reply), result) in items {
            if result.is_locked() {
                locked_keys.extend_from_slice(job.keys());
                if self.may_wait(&mut job) {
                    parked.push(Job { work: Work::One(event, reply), meta: job });
                    continue;
                }
            }
            job.times().note_applied(now);
            answers.push((reply, outcome(event, result, &job, &mut own), job.shared));
        }
        self.queue.metrics.retries_locked.inc_by(parked.len() as u64);
        let stored = answers.iter().filter_map(|(_, outcome, _)| outcome.as_ref().ok());
        self.queue.note_committed(stored.map(new_updates).sum());
        batch.finish(parked, &locked_keys);
        for (reply, outcome, shared) in answers {
            // who gets the outcome counts it
            if let Err(unheard) = reply.send(outcome)
                && !shared.is_given_up()
            {
                self.queue.metrics.record(&unheard);
            }
        }
    }

    async fn apply_all_or_none(&mut self, mut batch: Batch) {
        let Some(Job { work: Work::All(events, reply), mut meta }) = batch.jobs.pop() else {
            return;
        };
        let result = self.apply_atomically(&events, &mut meta).await;
        let mut locked_keys = Vec::new();
        if result.as_ref().is_ok_and(|verdicts| verdicts.contains(&Verdict::Locked)) {
            locked_keys.extend_from_slice(meta.keys());
            if self.may_wait(&mut meta) {
                self.queue.metrics.retries_locked.inc_by(events.len() as u64);
                let job = Job { work: Work::All(events, reply), meta };
                return batch.finish(vec![job], &locked_keys);
            }
        }
        meta.times().note_applied(Instant::now());
        let count = events.len();
        let answer = atomic_answer(events, result, &meta);
        self.queue.note_committed(answer.iter().flatten().map(new_updates).sum());
        batch.finish(Vec::new(), &locked_keys);
        if let Err(unheard) = reply.send(answer)
            && !meta.shared.is_given_up()
        {
            match unheard {
                Ok(receipts) => {
                    receipts
                        .into_iter()
                        .for_each(|receipt| self.queue.metrics.record(&Ok(receipt)));
                }
                Err(problem) => self.queue.metrics.record_all(count, problem.kind),
            }
        }
    }

    async fn apply_atomically(
        &mut self,
        events: &[Event],
        meta: &mut JobMeta,
    ) -> Result<Vec<Verdict>, BatchError> {
        loop {
            let applied = self.attempts.apply(events, ApplyMode::Atomic).await;
            meta.unconfirmed_attempts.extend(applied.unconfirmed);
            if let Err(BatchError::Panicked) = applied.result {
                meta.panics += 1;
                if meta.panics < MAX_PANICS {
                    continue;
                }
            }
            return applied.result;
        }
    }

    /// Whether a job whose entity is locked may wait on.
    fn may_wait(&self, job: &mut JobMeta) -> bool {
        let now = Instant::now();
        now < *job.expires.get_or_insert(now + self.queue.limits.queue_age)
    }
}

type Unpacked = (Vec<Event>, Vec<JobMeta>, Vec<oneshot::Sender<Outcome>>);

fn unpack(batch: Vec<Job>) -> Unpacked {
    let mut events = Vec::with_capacity(batch.len());
    let mut jobs = Vec::with_capacity(batch.len());
    let mut replies = Vec::with_capacity(batch.len());
    let is_debug = enabled!(Level::DEBUG);
    for Job { work, meta } in batch {
        // An atomic job is a batch of its own and never comes here.
        let Work::One(event, reply) = work else { continue };
        if is_debug {
            debug!(uuid = %event.uuid(), event_type = event.event_type(), "event claimed");
        }
        events.push(event);
        jobs.push(meta);
        replies.push(reply);
    }
    (events, jobs, replies)
}

fn atomic_answer(
    events: Vec<Event>,
    result: Result<Vec<Verdict>, BatchError>,
    meta: &JobMeta,
) -> Result<Vec<Receipt>, Problem> {
    match result {
        Ok(verdicts) if verdicts.contains(&Verdict::Locked) => Err(meta.refusal(too_old())),
        Ok(verdicts) => all_or_none(events, verdicts, &meta.unconfirmed_attempts),
        Err(BatchError::Unavailable(kind)) => Err(meta.refusal(unavailable(kind))),
        Err(BatchError::Unknown) => Err(outcome_unknown()),
        Err(BatchError::Refused(reason)) => {
            error!(reason, "the database refuses an atomic call");
            Err(meta.refusal(internal()))
        }
        Err(BatchError::Panicked) => {
            error!("an atomic call makes the writer panic");
            Err(panic_problem(meta))
        }
    }
}
