//! What the queue's lock protects: the jobs, and the room that they take up.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::time::Duration;

use tokio::time::Instant;

use super::grouping::{Grouping, Next};
use super::job::{Job, Load};
use super::parked::Parked;
use super::ready_queue::{AlreadyHashed, JobId, ReadyQueue};

/// Updates that one batch holds at most; it grows to what is waiting, never waits to grow.
pub(super) const BATCH_UPDATES: usize = 512;
/// Bytes of events that one batch holds at most (a single event may be larger).
const BATCH_BYTES: usize = 4 << 20;
/// Jobs that must wait before another writer joins the first: one writer serves single posts best,
/// a second one helps when the first is behind.
const SECOND_WRITER_FROM: usize = 256;
/// A job that waits this long lets another writer in too: the first may be stuck.
const LONG_WAIT: Duration = Duration::from_millis(200);
/// Locked keys that are remembered. Above this the set is cleared, and the next batch waits for those
/// locks once more.
const LOCKED_KEYS: usize = 100_000;

type KeySet = HashSet<u64, BuildHasherDefault<AlreadyHashed>>;

#[derive(Default)]
pub(super) struct State {
    pub(super) waiting: ReadyQueue<Box<Job>>,
    pub(super) parked: Parked,
    /// Jobs were parked, which idle writers don't know yet.
    pub(super) has_new_parked: bool,
    /// Keys that another session held when they were last tried: a batch must not wait for its
    /// lock a second time.
    locked_keys: KeySet,
    /// How the first writer groups senders.
    pub(super) grouping: Grouping,
    /// The load of everything that is not answered yet.
    pub(super) load: Load,
    pub(super) draining: bool,
    pub(super) closed: bool,
}

impl State {
    pub(super) fn push(&mut self, mut job: Box<Job>) -> JobId {
        let id = self.waiting.next_id();
        job.meta.id = id;
        self.load.add(job.meta.load);
        self.waiting.push(job);
        id
    }

    /// Whether writers beside the first can help: jobs are ready, and many wait or one for long.
    pub(super) fn is_behind(&self) -> bool {
        let waits_long = || self.waiting.oldest().is_some_and(|job| age(job) > LONG_WAIT);
        self.waiting.has_ready() && (self.waiting.len() >= SECOND_WRITER_FROM || waits_long())
    }

    /// How long the job has waited that waits longest.
    pub(super) fn oldest_age(&self) -> Duration {
        let waiting = self.waiting.oldest().into_iter().map(|job| &**job);
        waiting.chain(self.parked.oldest()).map(age).max().unwrap_or_default()
    }

    /// Removes a job that no writer has. One that may be stored stays.
    pub(super) fn cancel(&mut self, id: JobId) -> Option<Job> {
        let job = if let Some(job) = self.waiting.remove(id) {
            *job
        } else {
            let job = self.parked.remove(id)?;
            self.waiting.release(job.meta.keys());
            job
        };
        // Before the jobs behind it can be taken: those of the same call must not be applied while it is not.
        job.meta.call.iter().for_each(|call| call.fail(job.meta.keys(), false));
        self.load.subtract(job.meta.load);
        Some(job)
    }

    /// Parks jobs of a batch. They keep their keys and their room, which are no longer the batch's.
    pub(super) fn park(&mut self, jobs: Vec<Job>, keys: &mut Vec<u64>, load: &mut Load) {
        if jobs.is_empty() {
            return;
        }
        let mut kept: HashMap<u64, usize> = HashMap::new();
        for job in jobs {
            job.meta.keys().iter().for_each(|key| *kept.entry(*key).or_default() += 1);
            load.subtract(job.meta.load);
            self.parked.push(job);
        }
        keys.retain(|key| match kept.get_mut(key) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        });
        self.has_new_parked = true;
    }

    /// A batch is over: these are its keys and its load.
    pub(super) fn release(&mut self, keys: &[u64], load: Load) {
        self.waiting.release(keys);
        self.load.subtract(load);
    }

    /// Remembers which keys of a batch were found locked.
    pub(super) fn note_locked(&mut self, batch: &[u64], locked: &[u64]) {
        if !self.locked_keys.is_empty() {
            for key in batch {
                self.locked_keys.remove(key);
            }
        }
        if self.locked_keys.len() > LOCKED_KEYS {
            self.locked_keys.clear();
        }
        self.locked_keys.extend(locked);
    }

    /// A batch of parked jobs, if their retry is due.
    pub(super) fn take_parked(&mut self) -> Vec<Job> {
        let (forbidden, batch): (Vec<_>, _) =
            self.parked.take_due().into_iter().partition(Job::is_forbidden);
        forbidden.into_iter().for_each(|job| self.refuse(job));
        batch
    }

    /// Whether there is a batch for the first writer.
    pub(super) fn has_batch(&self) -> bool {
        self.waiting.has_ready() && self.waiting.len() >= self.grouping.wanted()
    }

    /// When to look for a batch again, woken or not.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.parked.retry_at().into_iter().chain(self.grouping.waits_until()).min()
    }

    /// The next batch of what waits.
    pub(super) fn take_waiting(&mut self, is_first_writer: bool) -> Vec<Job> {
        if !is_first_writer {
            return self.take_at_most(usize::MAX);
        }
        let now = Instant::now();
        let Next::Take(at_most) = self.grouping.next(self.waiting.len(), now) else {
            return Vec::new();
        };
        let batch = self.take_at_most(at_most);
        if !batch.is_empty() {
            self.grouping.begin(batch.len(), now);
        }
        batch
    }

    /// What follows a job of the batch may come along, in its order.
    fn take_at_most(&mut self, at_most: usize) -> Vec<Job> {
        let most = at_most.min(self.waiting.len()).min(BATCH_UPDATES);
        let mut batch = Vec::with_capacity(most);
        let mut forbidden = Vec::new();
        let mut size = BatchSize::default();
        let mut picker = self.waiting.pick();
        while let Some((job, follows)) = picker.next() {
            let is_full = batch.len() >= at_most || job.is_atomic() || !size.has_room(job);
            if !batch.is_empty() && is_full {
                break;
            }
            if is_any_locked(&self.locked_keys, job.meta.keys()) {
                // Beside a batch with one of its keys it can't be parked: later jobs with that key
                // may be in the batch already.
                if follows {
                    picker.skip_follower();
                } else if let Some(job) = picker.take_without_followers() {
                    self.parked.push(*job);
                    self.has_new_parked = true;
                }
                continue;
            }
            let Some(job) = picker.take().map(|job| *job) else { break };
            if job.is_forbidden() {
                forbidden.push(job);
                continue;
            }
            size.add(&job);
            let is_atomic = job.is_atomic();
            batch.push(job);
            if is_atomic {
                break;
            }
        }
        drop(picker);
        forbidden.into_iter().for_each(|job| self.refuse(job));
        batch
    }

    /// A job was taken that its call forbids.
    fn refuse(&mut self, job: Job) {
        self.release(job.meta.keys(), job.meta.load);
        job.refuse_after_failure();
    }
}

fn age(job: &Job) -> Duration {
    job.meta.times().queued_at().elapsed()
}

fn is_any_locked(locked: &KeySet, keys: &[u64]) -> bool {
    !locked.is_empty() && keys.iter().any(|key| locked.contains(key))
}

#[derive(Default)]
struct BatchSize {
    updates: usize,
    bytes: usize,
}

impl BatchSize {
    fn has_room(&self, job: &Job) -> bool {
        self.updates + job.meta.updates <= BATCH_UPDATES
            && self.bytes + job.meta.load.bytes <= BATCH_BYTES
    }

    fn add(&mut self, job: &Job) {
        self.updates += job.meta.updates;
        self.bytes += job.meta.load.bytes;
    }
}
