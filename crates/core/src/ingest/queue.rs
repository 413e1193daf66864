//! The bounded queue between senders and writers.
//!
//! It keeps one order: events that share an entity or a uuid are applied in the order in which they
//! were queued, also when two writers work at once. A writer therefore leaves in the queue what
//! shares a key with a batch under way, and everything behind that on the same keys.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::job::{Job, Keys, Load};
use super::limits::Limits;
use super::metrics::{Depth, IngestMetrics};
use super::problems::{draining, queue_full};
use super::queue_state::State;
use super::ready_queue::JobId;
use crate::model::{Event, Problem};

/// Jobs that a writer has taken. Dropping it releases their keys and their room, also when the
/// writer panics (then the senders see that their replies were dropped).
pub(super) struct Batch {
    pub(super) jobs: Vec<Job>,
    /// These jobs waited for a lock of another session: they must not wait for it again.
    pub(super) parked: bool,
    queue: Arc<Queue>,
    /// The keys of all jobs, with repetitions.
    keys: Vec<u64>,
    load: Load,
}

impl Batch {
    /// `None` if there are no jobs.
    fn new(queue: &Arc<Queue>, jobs: Vec<Job>, parked: bool) -> Option<Self> {
        if jobs.is_empty() {
            return None;
        }
        let mut keys = Vec::with_capacity(2 * jobs.len());
        let mut load = Load::default();
        for job in &jobs {
            keys.extend_from_slice(job.meta.keys());
            load.add(job.meta.load);
        }
        Some(Self { jobs, parked, queue: Arc::clone(queue), keys, load })
    }

    /// Whether the jobs are applied all or none.
    pub(super) fn is_atomic(&self) -> bool {
        self.jobs.first().is_some_and(Job::is_atomic)
    }

    /// Ends the batch: its `locked` jobs are parked, keeping their keys and their room; the others
    /// are done. `locked_keys` are those of all jobs that were found locked, also of jobs that are
    /// given up.
    pub(super) fn finish(mut self, locked: Vec<Job>, locked_keys: &[u64]) {
        let queue = Arc::clone(&self.queue);
        let mut state = queue.lock();
        state.note_locked(&self.keys, locked_keys);
        state.park(locked, &mut self.keys, &mut self.load);
        self.release(&queue, state);
    }

    /// Once: after that the batch has no keys and no room.
    fn release(&mut self, queue: &Queue, mut state: MutexGuard<'_, State>) {
        let keys = std::mem::take(&mut self.keys);
        state.release(&keys, std::mem::take(&mut self.load));
        queue.wake(state);
        queue.released.notify_waiters();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.load.events > 0 {
            let queue = Arc::clone(&self.queue);
            self.release(&queue, queue.lock());
        }
    }
}

/// Why a job of a call is not queued.
pub(super) enum PushError {
    /// There is no room now.
    Full(Box<Job>),
    /// The service has stopped.
    Closed,
}

/// What a writer finds in the queue.
enum Take {
    Batch(Batch),
    /// Nothing, until it is woken, until parked jobs are to be tried again, or until enough senders were waited for.
    Nothing {
        retry: Option<Instant>,
    },
    Closed,
}

/// How a writer is woken. Each has its own, so that a wake-up can't reach the wrong one.
#[derive(Default)]
struct WriterSlot {
    notify: Notify,
    /// Looked for a batch, found none, and was not woken since.
    is_idle: AtomicBool,
}

impl WriterSlot {
    fn wake(&self) {
        if self.is_idle.swap(false, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }
}

pub(super) struct Queue {
    pub(super) limits: Limits,
    pub(super) metrics: IngestMetrics,
    state: Mutex<State>,
    hash: RandomState,
    writers: Vec<WriterSlot>,
    /// Capacity was freed, or the last job is answered.
    released: Notify,
    /// Updates that this process has committed.
    persisted: AtomicU64,
    /// Notified of every commit.
    pub(super) commits: Arc<Notify>,
}

impl Queue {
    pub(super) fn new(limits: Limits, writers: usize) -> Self {
        Self {
            limits,
            metrics: IngestMetrics::new(),
            state: Mutex::default(),
            hash: RandomState::default(),
            writers: (0..writers).map(|_| WriterSlot::default()).collect(),
            released: Notify::new(),
            persisted: AtomicU64::new(0),
            commits: Arc::default(),
        }
    }

    /// The keys that decide the order of events: their uuids and their entities, each once.
    pub(super) fn keys(&self, events: &[Event]) -> Keys {
        let count = events.iter().map(|event| 1 + event.updates().len()).sum();
        let mut keys = Keys::with_capacity(count);
        for event in events {
            keys.push(self.hash.hash_one::<Uuid>(event.uuid()));
            keys.extend(event.updates().iter().map(|update| self.hash.hash_one(update.key())));
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Queues a job that is not part of a call.
    ///
    /// # Errors
    /// `Unavailable` when draining, `Overloaded` when the queue is full.
    pub(super) fn push(&self, job: Box<Job>) -> Result<JobId, Problem> {
        let state = self.lock();
        if state.draining {
            return Err(draining());
        }
        if !self.has_room(&state, &job, self.limits.queue_events) {
            return Err(queue_full());
        }
        Ok(self.enqueue(state, job))
    }

    /// Queues a job of a call; gives it back when there is no room. The last quarter of the queue
    /// is kept for single events, so that streams can't starve them.
    ///
    /// # Errors
    /// Why the job is not queued.
    pub(super) fn try_push_of_call(&self, job: Box<Job>) -> Result<JobId, PushError> {
        let state = self.lock();
        if state.closed {
            return Err(PushError::Closed);
        }
        let limit = self.limits.queue_events - self.limits.queue_events / 4;
        if !self.has_room(&state, &job, limit) {
            return Err(PushError::Full(job));
        }
        Ok(self.enqueue(state, job))
    }

    /// # Errors
    /// Why no call may begin now.
    pub(super) fn check_admits_call(&self) -> Result<(), Problem> {
        let state = self.lock();
        if state.draining {
            return Err(draining());
        }
        let Load { events, bytes } = state.load;
        if events >= self.limits.queue_events || bytes >= self.limits.queue_bytes {
            return Err(queue_full());
        }
        Ok(())
    }

    /// Removes a job that no writer has. False when one has it or had it, or when an earlier attempt
    /// may have stored it.
    pub(super) fn cancel(&self, id: JobId) -> bool {
        let mut state = self.lock();
        let Some(job) = state.cancel(id) else { return false };
        self.wake(state);
        self.released.notify_waiters();
        drop(job); // outside of the lock
        true
    }

    /// Resolves when capacity is freed after the future was made.
    pub(super) fn released(&self) -> Notified<'_> {
        self.released.notified()
    }

    pub(super) fn drain(&self) {
        self.lock().draining = true;
    }

    pub(super) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    pub(super) async fn close_when_empty(&self) {
        loop {
            let mut released = std::pin::pin!(self.released());
            released.as_mut().enable();
            {
                let mut state = self.lock();
                if state.load.events == 0 {
                    state.closed = true;
                    break;
                }
            }
            released.await;
        }
        self.wake_all();
    }

    /// The next batch for one writer; `None` when the queue is closed.
    pub(super) async fn next_batch(self: &Arc<Self>, writer: usize) -> Option<Batch> {
        let slot = self.writers.get(writer)?;
        loop {
            let retry = match self.take(writer, slot) {
                Take::Batch(batch) => return Some(batch),
                Take::Closed => return None,
                Take::Nothing { retry } => retry,
            };
            let woken = slot.notify.notified();
            match retry {
                Some(at) => drop(timeout_at(at, woken).await),
                None => woken.await,
            }
        }
    }

    /// Counts committed updates, and logs when the count passes a multiple; the text is fixed by the
    /// contract.
    pub(super) fn note_committed(&self, updates: u64) {
        if updates > 0 {
            self.commits.notify_one();
        }
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
        let state = self.lock();
        Depth { load: state.load, oldest_age: state.oldest_age() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned one is as good as new.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State, job: &Job, limit: usize) -> bool {
        let Load { events, bytes } = state.load;
        // An empty queue takes anything, or an entry larger than the queue would never get in.
        events == 0
            || events + job.meta.load.events <= limit
                && bytes + job.meta.load.bytes <= self.limits.queue_bytes
    }

    fn enqueue(&self, mut state: MutexGuard<'_, State>, job: Box<Job>) -> JobId {
        let id = state.push(job);
        self.wake(state);
        id
    }

    /// Wakes the writers that have something to do: the first one when a job is ready, the others
    /// when the first is behind, each of them when jobs were parked. Jobs that have to wait for a
    /// batch under way wake nobody.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let Some((first, others)) = self.writers.split_first() else { return };
        if std::mem::take(&mut state.has_new_parked) {
            drop(state);
            return self.wake_all();
        }
        let has_batch = state.has_batch();
        let are_idle = others.iter().any(|writer| writer.is_idle.load(Ordering::Relaxed));
        let is_behind = are_idle && state.is_behind();
        drop(state);
        if has_batch {
            first.wake();
        }
        if is_behind {
            others.iter().for_each(WriterSlot::wake);
        }
    }

    fn wake_all(&self) {
        self.writers.iter().for_each(WriterSlot::wake);
    }

    fn take(self: &Arc<Self>, writer: usize, slot: &WriterSlot) -> Take {
        let mut state = self.lock();
        slot.is_idle.store(false, Ordering::Relaxed);
        if state.closed {
            return Take::Closed;
        }
        let events_before = state.load.events;
        let mut batch = Batch::new(self, state.take_parked(), true);
        if batch.is_none() && (writer == 0 || state.is_behind()) {
            batch = Batch::new(self, state.take_waiting(writer == 0), false);
        }
        if batch.is_none() {
            slot.is_idle.store(true, Ordering::Release);
        }
        let (retry, is_released) = (state.look_at(), state.load.events < events_before);
        self.wake(state);
        if is_released {
            self.released.notify_waiters();
        }
        batch.map_or(Take::Nothing { retry }, Take::Batch)
    }
}

#[cfg(test)]
mod tests;
