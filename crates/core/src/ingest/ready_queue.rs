//! Jobs that wait for a writer. Jobs with a common key are taken in the order in which they came;
//! which ones can be taken now is known without a search.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// What a job needs to be queued.
pub(super) trait Keyed {
    /// The hashes that decide the order, each once.
    fn keys(&self) -> &[u64];
}

/// Names a job of one [`ReadyQueue`]; later jobs have greater ids.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobId(u64);

/// For keys that are hashes already.
#[derive(Default)]
pub(super) struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A queue for each key. A job is ready when it is the first of all its keys' queues and no earlier
/// job with one of these keys is taken and not released yet.
pub(super) struct ReadyQueue<J> {
    /// The waiting jobs by id. A job that leaves makes a gap; the first place is never one.
    jobs: VecDeque<Option<Waiting<J>>>,
    /// The id of the first place.
    first_id: u64,
    len: usize,
    lanes: HashMap<u64, Lane, BuildHasherDefault<AlreadyHashed>>,
    /// Ids of the ready jobs. Some may be gone (cancelled), but never the smallest.
    ready: IdHeap,
}

struct Waiting<J> {
    job: J,
    /// On how many of its keys it has to wait for an earlier job.
    blocked_on: usize,
}

/// The jobs of one key.
#[derive(Default)]
struct Lane {
    /// Jobs that are taken and not released.
    taken: usize,
    /// The first waiting job may follow the taken ones into the batch that is being picked.
    open: bool,
    /// The first waiting job. Most keys never have a second one, and so need no memory for `rest`.
    first: Option<JobId>,
    rest: VecDeque<JobId>,
}

impl Lane {
    /// Whether the job has to wait for another.
    fn push(&mut self, id: JobId) -> bool {
        if self.first.is_some() {
            self.rest.push_back(id);
            return true;
        }
        self.first = Some(id);
        self.taken > 0
    }

    /// The next job becomes the first one.
    fn pop(&mut self) {
        self.first = self.rest.pop_front();
    }

    /// Whether the first job left, not one behind it.
    fn remove(&mut self, id: JobId) -> bool {
        if self.first == Some(id) {
            self.pop();
            return true;
        }
        if let Ok(place) = self.rest.binary_search(&id) {
            self.rest.remove(place);
        }
        false
    }
}

impl<J> Default for ReadyQueue<J> {
    fn default() -> Self {
        Self {
            jobs: VecDeque::new(),
            first_id: 0,
            len: 0,
            lanes: HashMap::default(),
            ready: IdHeap::default(),
        }
    }
}

impl<J: Keyed> ReadyQueue<J> {
    /// How many jobs wait, ready or not.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The job that waits longest, ready or not.
    pub(super) fn oldest(&self) -> Option<&J> {
        self.jobs.front()?.as_ref().map(|waiting| &waiting.job)
    }

    /// Whether a job can be taken now.
    pub(super) fn has_ready(&self) -> bool {
        self.ready.min().is_some()
    }

    /// The id that the next job gets.
    pub(super) fn next_id(&self) -> JobId {
        JobId(self.first_id + self.jobs.len() as u64)
    }

    /// Puts a job behind all others.
    pub(super) fn push(&mut self, job: J) {
        let id = self.next_id();
        let mut blocked_on = 0;
        for key in job.keys() {
            blocked_on += usize::from(self.lanes.entry(*key).or_default().push(id));
        }
        if blocked_on == 0 {
            self.ready.push(id);
        }
        self.jobs.push_back(Some(Waiting { job, blocked_on }));
        self.len += 1;
    }

    /// Removes a job that still waits.
    pub(super) fn remove(&mut self, id: JobId) -> Option<J> {
        let job = self.leave(id)?;
        for key in job.keys() {
            let Some(lane) = self.lanes.get_mut(key) else { continue };
            if lane.remove(id) && lane.taken == 0 {
                self.unblock_first(*key);
            }
        }
        self.skip_gone();
        Some(job)
    }

    /// Begins to pick the jobs of one batch.
    pub(super) fn pick(&mut self) -> Picker<'_, J> {
        Picker { queue: self, followers: IdHeap::default(), open: Vec::new() }
    }

    /// Keeps the keys of a taken job busy once more: each is to be released as often as it was taken.
    pub(super) fn hold(&mut self, keys: &[u64]) {
        for key in keys {
            self.lanes.entry(*key).or_default().taken += 1;
        }
    }

    /// Releases the keys of taken jobs.
    pub(super) fn release(&mut self, keys: &[u64]) {
        for key in keys {
            let Some(lane) = self.lanes.get_mut(key) else { continue };
            lane.taken -= 1;
            if lane.taken == 0 {
                self.unblock_first(*key);
            }
        }
    }

    /// Nothing is before the first waiting job of this key any more.
    fn unblock_first(&mut self, key: u64) {
        match self.lanes.get(&key).and_then(|lane| lane.first) {
            Some(id) if self.unblock(id) => self.ready.push(id),
            Some(_) => {}
            None => drop(self.lanes.remove(&key)),
        }
    }

    /// One key less to wait for. Returns whether that was the last.
    fn unblock(&mut self, id: JobId) -> bool {
        let Some(waiting) = self.waiting_mut(id) else { return false };
        waiting.blocked_on -= 1;
        waiting.blocked_on == 0
    }

    fn waiting(&self, id: JobId) -> Option<&Waiting<J>> {
        self.jobs.get(self.place(id)?)?.as_ref()
    }

    fn waiting_mut(&mut self, id: JobId) -> Option<&mut Waiting<J>> {
        let place = self.place(id)?;
        self.jobs.get_mut(place)?.as_mut()
    }

    fn place(&self, id: JobId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first_id)?).ok()
    }

    /// Clears the job's slot; its lanes are left to the caller.
    fn leave(&mut self, id: JobId) -> Option<J> {
        let place = self.place(id)?;
        let waiting = self.jobs.get_mut(place)?.take()?;
        self.len -= 1;
        while let Some(None) = self.jobs.front() {
            self.jobs.pop_front();
            self.first_id += 1;
        }
        Some(waiting.job)
    }

    fn skip_gone(&mut self) {
        while self.ready.min().is_some_and(|id| self.waiting(id).is_none()) {
            self.ready.pop();
        }
    }
}

/// Picks the jobs of one batch, the earliest first. The jobs behind a taken one can be taken into
/// the same batch; when the picker is dropped they wait until the keys are released.
pub(super) struct Picker<'a, J: Keyed> {
    queue: &'a mut ReadyQueue<J>,
    /// Jobs that wait for taken ones of this batch alone.
    followers: IdHeap,
    /// Keys whose lane is `open`.
    open: Vec<u64>,
}

impl<J: Keyed> Picker<'_, J> {
    /// The earliest job that can be taken, and whether it has a key in common with a taken one.
    pub(super) fn next(&self) -> Option<(&J, bool)> {
        let (id, follows) = self.next_id()?;
        Some((&self.queue.waiting(id)?.job, follows))
    }

    /// Takes the job that [`Picker::next`] shows.
    pub(super) fn take(&mut self) -> Option<J> {
        let (id, job) = self.take_next()?;
        for key in job.keys() {
            let Some(lane) = self.queue.lanes.get_mut(key) else { continue };
            let Some(next) = take_first(lane, id) else { continue };
            if !std::mem::replace(&mut lane.open, true) {
                self.open.push(*key);
            }
            if self.queue.unblock(next) {
                self.followers.push(next);
            }
        }
        Some(job)
    }

    /// As [`Picker::take`], for no batch: the jobs behind it wait until its keys are released.
    pub(super) fn take_without_followers(&mut self) -> Option<J> {
        let (id, job) = self.take_next()?;
        for key in job.keys() {
            if let Some(lane) = self.queue.lanes.get_mut(key) {
                take_first(lane, id);
            }
        }
        Some(job)
    }

    /// Leaves the job that [`Picker::next`] shows, which follows a taken one, for a later batch.
    pub(super) fn skip_follower(&mut self) {
        self.followers.pop();
    }

    fn next_id(&self) -> Option<(JobId, bool)> {
        match (self.queue.ready.min(), self.followers.min()) {
            (Some(ready), Some(follower)) if follower < ready => Some((follower, true)),
            (Some(ready), _) => Some((ready, false)),
            (None, follower) => Some((follower?, true)),
        }
    }

    fn take_next(&mut self) -> Option<(JobId, J)> {
        let (id, follows) = self.next_id()?;
        let job = self.queue.leave(id)?;
        if follows {
            self.followers.pop();
        } else {
            self.queue.ready.pop();
            self.queue.skip_gone();
        }
        Some((id, job))
    }
}

/// Counts the lane's first job as taken; returns the one behind it.
fn take_first(lane: &mut Lane, id: JobId) -> Option<JobId> {
    debug_assert_eq!(lane.first, Some(id));
    lane.taken += 1;
    lane.pop();
    lane.first
}

impl<J: Keyed> Drop for Picker<'_, J> {
    fn drop(&mut self) {
        for key in self.open.drain(..) {
            let Some(lane) = self.queue.lanes.get_mut(&key) else { continue };
            lane.open = false;
            if let Some(first) = lane.first
                && let Some(waiting) = self.queue.waiting_mut(first)
            {
                waiting.blocked_on += 1;
            }
        }
    }
}

/// The smallest id first. Ids that come in their order, as nearly all do, are not sorted.
#[derive(Default)]
struct IdHeap {
    in_order: VecDeque<JobId>,
    others: BinaryHeap<Reverse<JobId>>,
}

impl IdHeap {
    fn push(&mut self, id: JobId) {
        if self.in_order.back().is_none_or(|last| *last < id) {
            self.in_order.push_back(id);
        } else {
            self.others.push(Reverse(id));
        }
    }

    fn min(&self) -> Option<JobId> {
        match (self.in_order.front(), self.others.peek()) {
            (Some(id), Some(Reverse(other))) => Some(*id.min(other)),
            (Some(id), None) | (None, Some(Reverse(id))) => Some(*id),
            (None, None) => None,
        }
    }

    fn pop(&mut self) {
        let min = self.min();
        if self.in_order.front() == min.as_ref() {
            self.in_order.pop_front();
        } else {
            self.others.pop();
        }
    }
}

#[cfg(test)]
mod tests;
