//! Jobs that the lock of another session stopped, until they are tried again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::job::Job;
use super::ready_queue::JobId;

/// The pause before a parked job is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Parked jobs. They keep their keys, as jobs under way do: nothing behind them overtakes them.
#[derive(Default)]
pub(super) struct Parked {
    /// Jobs of one event are tried again together: two of them may have a key in common.
    single: BTreeMap<JobId, Job>,
    single_retry: Option<Instant>,
    /// Atomic jobs are tried again one by one, each at its time.
    atomic: VecDeque<(Instant, Job)>,
}

impl Parked {
    pub(super) fn push(&mut self, job: Job) {
        let retry = Instant::now() + RETRY_PAUSE;
        if job.is_atomic() {
            self.atomic.push_back((retry, job));
        } else {
            self.single_retry.get_or_insert(retry);
            self.single.insert(job.meta.id, job);
        }
    }

    /// When the next of them is to be tried again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        let atomic_retry = self.atomic.front().map(|(retry, _)| *retry);
        self.single_retry.into_iter().chain(atomic_retry).min()
    }

    /// The jobs of the next batch, if their retry is due.
    pub(super) fn take_due(&mut self) -> Vec<Job> {
        let now = Instant::now();
        if self.single_retry.is_some_and(|retry| retry <= now) {
            self.single_retry = None;
            return std::mem::take(&mut self.single).into_values().collect();
        }
        let is_due = self.atomic.front().is_some_and(|(retry, _)| *retry <= now);
        let due = if is_due { self.atomic.pop_front() } else { None };
        due.into_iter().map(|(_, job)| job).collect()
    }

    /// Removes a job, unless an earlier attempt may have stored it.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        let may_go = |job: &Job| job.meta.id == id && !job.meta.maybe_stored();
        if self.single.get(&id).is_some_and(may_go) {
            let job = self.single.remove(&id);
            if self.single.is_empty() {
                self.single_retry = None;
            }
            return job;
        }
        let place = self.atomic.iter().position(|(_, job)| may_go(job))?;
        self.atomic.remove(place).map(|(_, job)| job)
    }

    /// The oldest one is among these.
    pub(super) fn oldest(&self) -> impl Iterator<Item = &Job> {
        let single = self.single.values().next();
        single.into_iter().chain(self.atomic.iter().map(|(_, job)| job))
    }
}
