//! The bounded queue between senders and writers.
//!
//! It keeps one order: events that share an entity or a uuid are applied in the order in which they
//! were queued, also when two writers work at once. A writer therefore leaves in the queue what
//! shares a key with a batch under way, and everything behind that on the same keys.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::job::Job;
use super::limits::Limits;
use super::metrics::{Depth, IngestMetrics};
use crate::model::{Event, Problem, ProblemKind};

/// Updates that one batch holds at most; it grows to what is waiting, never waits to grow.
const BATCH_UPDATES: usize = 512;
/// Bytes of events that one batch holds at most (a single event may be larger).
const BATCH_BYTES: usize = 4 << 20;
/// Jobs that must wait before another writer joins the first: one writer serves single posts best,
/// a second one helps when the first is behind.
const SECOND_WRITER_FROM: usize = 256;
/// A job that waits this long lets another writer in too: the first may be stuck.
const LONG_WAIT: Duration = Duration::from_millis(200);
/// How far a writer that has found something looks past jobs that it has to leave in the queue.
const SCAN_JOBS: usize = 4 * BATCH_UPDATES;
/// Keys found locked that are remembered; past that they are forgotten, and waited for once more.
const HELD_KEYS: usize = 100_000;
/// How often events whose entity a foreign session holds are tried again.
const PARKED_RETRY: Duration = Duration::from_millis(50);

/// Jobs that a writer has taken. Dropping it gives their keys and room free, also when the writer
/// panics (then the dropped replies tell the senders).
pub(super) struct Batch {
    pub(super) jobs: Vec<Job>,
    /// These waited for a foreign lock: they must not wait for it again.
    pub(super) parked: bool,
    queue: Arc<Queue>,
    keys: Vec<u64>,
    events: usize,
    weight: usize,
}

impl Batch {
    fn new(queue: &Arc<Queue>, jobs: Vec<Job>, parked: bool) -> Self {
        Self {
            keys: jobs.iter().flat_map(|job| job.meta.keys.iter().copied()).collect(),
            events: jobs.iter().map(|job| job.meta.events).sum(),
            weight: jobs.iter().map(|job| job.meta.weight).sum(),
            queue: Arc::clone(queue),
            jobs,
            parked,
        }
    }

    /// Whether the jobs are applied all or none.
    pub(super) fn is_atomic(&self) -> bool {
        self.jobs.first().is_some_and(Job::is_atomic)
    }

    /// Ends the batch: `locked` of its jobs are set aside until their locks are free, keeping their
    /// keys and their place in the count; the rest is done. `held` are the keys of all that were
    /// found locked, also of jobs that are given up.
    pub(super) fn finish(mut self, locked: Vec<Job>, held: Vec<u64>) {
        let queue = Arc::clone(&self.queue);
        let mut state = queue.state();
        if !state.held.is_empty() {
            for key in &self.keys {
                state.held.remove(key);
            }
        }
        if state.held.len() > HELD_KEYS {
            state.held.clear();
        }
        state.held.extend(held);
        if locked.is_empty() {
            return; // dropping the batch is all
        }
        for job in locked.iter().filter(|job| !job.meta.is_unconfirmed()) {
            job.meta.state.unclaim();
        }
        state.release(&mut self);
        state.hold(&locked);
        state.parked.extend(locked);
        state.parked_retry = Some(Instant::now() + PARKED_RETRY);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let queue = Arc::clone(&self.queue);
        queue.state().release(self);
        queue.notify_released();
    }
}

/// The hashes are keyed already.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type KeySet = HashSet<u64, BuildHasherDefault<AlreadyHashed>>;

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Taken once, locked by a foreign session; their keys stay busy.
    parked: Vec<Job>,
    parked_retry: Option<Instant>,
    /// Keys of the batches under way and of the parked jobs.
    busy: KeySet,
    /// Keys that a foreign session held when they were last tried: a batch must not wait for its
    /// lock a second time.
    held: KeySet,
    /// Of everything that is not answered yet.
    events: usize,
    bytes: usize,
    draining: bool,
    closed: bool,
}

impl State {
    fn hold(&mut self, jobs: &[Job]) {
        for job in jobs {
            self.busy.extend(&job.meta.keys);
            self.remember(job);
        }
    }

    /// Idempotent: what is released once is gone from the batch.
    fn release(&mut self, batch: &mut Batch) {
        for key in batch.keys.drain(..) {
            self.busy.remove(&key);
        }
        self.events -= std::mem::take(&mut batch.events);
        self.bytes -= std::mem::take(&mut batch.weight);
    }

    fn remember(&mut self, job: &Job) {
        self.events += job.meta.events;
        self.bytes += job.meta.weight;
    }

    fn forget(&mut self, job: &Job) {
        self.events -= job.meta.events;
        self.bytes -= job.meta.weight;
    }

    /// Whether the first writer needs help: much is waiting, or something for long.
    fn is_behind(&self) -> bool {
        let oldest = self.waiting.front().map(|job| job.meta.queued.elapsed());
        self.waiting.len() >= SECOND_WRITER_FROM || oldest.is_some_and(|age| age > LONG_WAIT)
    }

    /// As [`Job::try_claim`]; a job that isn't taken leaves the queue's count.
    fn try_claim(&mut self, job: Job) -> Option<Job> {
        self.forget(&job);
        job.try_claim().inspect(|job| self.remember(job))
    }

    fn is_empty(&self) -> bool {
        self.events == 0
    }
}

pub(super) struct Queue {
    pub(super) limits: Limits,
    pub(super) metrics: IngestMetrics,
    state: Mutex<State>,
    hash: RandomState,
    /// One for each writer, so that a wake-up can't reach the one that it isn't for.
    writers: Vec<Notify>,
    /// Room came free, or the last job is answered.
    released: Notify,
    /// Updates that this process has committed.
    persisted: AtomicU64,
}

impl Queue {
    pub(super) fn new(limits: Limits, writers: usize) -> Self {
        Self {
            limits,
            metrics: IngestMetrics::new(),
            state: Mutex::default(),
            hash: RandomState::new(),
            writers: (0..writers).map(|_| Notify::new()).collect(),
            released: Notify::new(),
            persisted: AtomicU64::new(0),
        }
    }

    /// The keys that decide the order of events: their uuids and their entities.
    pub(super) fn keys(&self, events: &[Event]) -> Vec<u64> {
        let of_event = |event: &Event| {
            let uuid = self.hash.hash_one::<Uuid>(event.uuid());
            let entities = event.updates().iter().map(|update| self.hash.hash_one(update.key()));
            std::iter::once(uuid).chain(entities).collect::<Vec<_>>()
        };
        events.iter().flat_map(of_event).collect()
    }

    /// Queues a job that is not part of a call.
    ///
    /// # Errors
    /// `Unavailable` when draining, `Overloaded` when the queue is full.
    pub(super) fn push(&self, job: Job) -> Result<(), Problem> {
        let state = self.state();
        if state.draining {
            return Err(draining());
        }
        if !self.has_room(&state, &job, self.limits.queue_events) {
            return Err(queue_full());
        }
        self.enqueue(state, job);
        Ok(())
    }

    /// Queues a job of a call; gives it back when there is no room. The last quarter of the queue
    /// is kept for single events, so that streams can't starve them.
    pub(super) fn try_push_of_call(&self, job: Box<Job>) -> Result<(), Box<Job>> {
        let state = self.state();
        if state.closed {
            drop(state);
            job.refuse(draining());
            return Ok(());
        }
        let limit = self.limits.queue_events - self.limits.queue_events / 4;
        if !self.has_room(&state, &job, limit) {
            return Err(job);
        }
        self.enqueue(state, *job);
        Ok(())
    }

    /// # Errors
    /// Why no call may begin now.
    pub(super) fn admits_calls(&self) -> Result<(), Problem> {
        let state = self.state();
        if state.draining {
            return Err(draining());
        }
        if state.events >= self.limits.queue_events || state.bytes >= self.limits.queue_bytes {
            return Err(queue_full());
        }
        Ok(())
    }

    /// Resolves when room came free after the future was made.
    pub(super) fn released(&self) -> tokio::sync::futures::Notified<'_> {
        self.released.notified()
    }

    pub(super) fn drain(&self) {
        self.state().draining = true;
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state().draining
    }

    pub(super) async fn close_when_empty(&self) {
        loop {
            let mut released = std::pin::pin!(self.released());
            released.as_mut().enable();
            {
                let mut state = self.state();
                if state.is_empty() {
                    state.closed = true;
                    break;
                }
            }
            released.await;
        }
        for writer in &self.writers {
            writer.notify_one();
        }
    }

    /// The next batch for one writer; `None` when the queue is closed.
    pub(super) async fn next_batch(self: &Arc<Self>, writer: usize) -> Option<Batch> {
        loop {
            let (batch, retry) = {
                let mut state = self.state();
                if state.closed {
                    return None;
                }
                let before = state.events;
                let batch = self.take(&mut state, writer);
                if state.events < before {
                    self.released.notify_waiters();
                }
                (batch, state.parked_retry)
            };
            if batch.is_some() {
                return batch;
            }
            let woken = self.writers[writer].notified();
            match retry {
                Some(at) => drop(tokio::time::timeout_at(at, woken).await),
                None => woken.await,
            }
        }
    }

    /// Counts committed updates and tells the log when the count passes a multiple.
    pub(super) fn log_progress(&self, updates: u64) {
        let every = self.limits.log_progress_every;
        self.metrics.updates.inc_by(updates);
        let before = self.persisted.fetch_add(updates, Ordering::Relaxed);
        let count = before + updates;
        if every > 0 && count / every > before / every {
            tracing::info!("Persisted events count: {count}");
        }
    }

    /// How much is not answered yet.
    pub(super) fn depth(&self) -> Depth {
        let state = self.state();
        let waiting = state.waiting.front().into_iter().chain(&state.parked);
        let oldest = waiting.map(|job| job.meta.queued.elapsed()).max();
        Depth { events: state.events, bytes: state.bytes, oldest_age: oldest.unwrap_or_default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned one is as good as new.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State, job: &Job, limit: usize) -> bool {
        // An empty queue takes anything, or an entry larger than the queue would never get in.
        state.is_empty()
            || state.events + job.meta.events <= limit
                && state.bytes + job.meta.weight <= self.limits.queue_bytes
    }

    fn enqueue(&self, mut state: MutexGuard<'_, State>, job: Job) {
        state.remember(&job);
        state.waiting.push_back(job);
        let behind = state.is_behind();
        drop(state);
        self.writers[0].notify_one();
        if behind {
            self.writers[1..].iter().for_each(Notify::notify_one);
        }
    }

    fn notify_released(&self) {
        self.released.notify_waiters();
        // What shared a key with the batch may be taken now, by whichever writer is idle.
        self.writers.iter().for_each(Notify::notify_one);
    }

    fn take(self: &Arc<Self>, state: &mut State, writer: usize) -> Option<Batch> {
        if state.parked_retry.is_some_and(|at| at <= Instant::now()) {
            let jobs = Self::take_parked(state);
            if !jobs.is_empty() {
                return Some(Batch::new(self, jobs, true));
            }
        }
        if writer > 0 && !state.is_behind() {
            return None;
        }
        let jobs = Self::take_waiting(state);
        (!jobs.is_empty()).then(|| Batch::new(self, jobs, false))
    }

    /// The parked jobs, an atomic one alone. Their keys stay busy all the while.
    fn take_parked(state: &mut State) -> Vec<Job> {
        let mut parked = std::mem::take(&mut state.parked);
        let alone = parked.iter().position(Job::is_atomic);
        state.parked = match alone {
            Some(0) => parked.split_off(1),
            Some(first_atomic) => parked.split_off(first_atomic),
            None => Vec::new(),
        };
        state.parked_retry = (!state.parked.is_empty()).then(|| Instant::now() + PARKED_RETRY);
        let mut taken = Vec::with_capacity(parked.len());
        for job in parked {
            let keys = job.meta.keys.clone();
            if let Some(job) = state.try_claim(job) {
                taken.push(job);
            } else {
                for key in &keys {
                    state.busy.remove(key);
                }
            }
        }
        // Keys that a job given up shared with another are still held.
        for job in taken.iter().chain(&state.parked) {
            state.busy.extend(&job.meta.keys);
        }
        taken
    }

    fn take_waiting(state: &mut State) -> Vec<Job> {
        let mut taken = Vec::new();
        let mut left = Vec::new();
        let mut left_keys = KeySet::default();
        let (mut updates, mut bytes) = (0, 0);
        while let Some(job) = state.waiting.pop_front() {
            let full = updates + job.update_count() > BATCH_UPDATES
                || bytes + job.meta.weight > BATCH_BYTES
                || left.len() > SCAN_JOBS
                || job.is_atomic();
            if full && !taken.is_empty() {
                state.waiting.push_front(job);
                break;
            }
            let held = |key| state.busy.contains(key) || left_keys.contains(key);
            if job.meta.keys.iter().any(held) {
                left_keys.extend(&job.meta.keys);
                left.push(job);
                continue;
            }
            if job.meta.keys.iter().any(|key| state.held.contains(key)) {
                // Beside a batch with one of its keys it can't be set aside: the batch's end would
                // let later events overtake it.
                if shares_a_key(&job, &taken) {
                    left_keys.extend(&job.meta.keys);
                    left.push(job);
                    continue;
                }
                state.busy.extend(&job.meta.keys);
                state.parked.push(job);
                state.parked_retry.get_or_insert_with(|| Instant::now() + PARKED_RETRY);
                continue;
            }
            let Some(job) = state.try_claim(job) else { continue };
            updates += job.update_count();
            bytes += job.meta.weight;
            let alone = job.is_atomic();
            taken.push(job);
            if alone {
                break;
            }
        }
        left.into_iter().rev().for_each(|job| state.waiting.push_front(job));
        for job in &taken {
            state.busy.extend(&job.meta.keys);
        }
        taken
    }
}

fn shares_a_key(job: &Job, others: &[Job]) -> bool {
    others.iter().any(|other| other.meta.keys.iter().any(|key| job.meta.keys.contains(key)))
}

fn draining() -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        "the service is shutting down; the event was not stored, send it again later",
    )
}

fn queue_full() -> Problem {
    Problem::new(
        ProblemKind::Overloaded,
        "the queue is full; the event was not stored, send it again later",
    )
}
