//! Jobs that wait for a writer. Jobs with a common key are taken in the order in which they came;
//! which ones can be taken now is known without a search.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
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

/// A queue for each key. A job is in the queues of all its keys until they are released; it is ready
/// when it is the first in each of them.
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
    blocked_on: u32,
    /// Whether a later job has to wait for it, so that taking it needs a look at the lanes.
    has_follower: bool,
}

/// The queue of one key, in the order of arrival: the jobs that are taken, then those that wait.
struct Lane {
    first: JobId,
    /// Most keys never have a second job. Boxed, so that the map of all keys stays small.
    rest: Option<Box<Rest>>,
}

#[derive(Default)]
struct Rest(VecDeque<JobId>);

impl Lane {
    fn new(first: JobId) -> Self {
        Self { first, rest: None }
    }

    /// Returns the last job before.
    fn push(&mut self, id: JobId) -> JobId {
        let rest = &mut self.rest.get_or_insert_default().0;
        let before = *rest.back().unwrap_or(&self.first);
        rest.push_back(id);
        before
    }

    /// Removes the first job and returns the new first one.
    fn pop(&mut self) -> Option<JobId> {
        self.first = self.rest.as_mut()?.0.pop_front()?;
        Some(self.first)
    }

    /// The job behind this one.
    fn after(&self, id: JobId) -> Option<JobId> {
        let rest = &self.rest.as_ref()?.0;
        if id == self.first {
            return rest.front().copied();
        }
        let place = rest.binary_search(&id).ok()?;
        rest.get(place + 1).copied()
    }

    fn remove_behind_first(&mut self, id: JobId) {
        let Some(Rest(rest)) = self.rest.as_deref_mut() else { return };
        if let Ok(place) = rest.binary_search(&id) {
            rest.remove(place);
        }
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
            match self.lanes.entry(*key) {
                Entry::Vacant(lane) => {
                    lane.insert(Lane::new(id));
                }
                Entry::Occupied(lane) => {
                    let before = lane.into_mut().push(id);
                    blocked_on += 1;
                    if let Some(before) = waiting_mut(&mut self.jobs, self.first_id, before) {
                        before.has_follower = true;
                    }
                }
            }
        }
        if blocked_on == 0 {
            self.ready.push(id);
        }
        self.jobs.push_back(Some(Waiting { job, blocked_on, has_follower: false }));
        self.len += 1;
    }

    /// Removes a job that still waits.
    pub(super) fn remove(&mut self, id: JobId) -> Option<J> {
        let job = self.leave(id)?.job;
        for key in job.keys() {
            match self.lanes.get_mut(key) {
                Some(lane) if lane.first != id => lane.remove_behind_first(id),
                _ => self.release_one(*key),
            }
        }
        self.skip_gone();
        Some(job)
    }

    /// Begins to pick the jobs of one batch.
    pub(super) fn pick(&mut self) -> Picker<'_, J> {
        Picker { queue: self, followers: IdHeap::default(), unblocked: Vec::new() }
    }

    /// Releases the keys of taken jobs, each as often as it was taken.
    pub(super) fn release(&mut self, keys: &[u64]) {
        keys.iter().for_each(|key| self.release_one(*key));
    }

    /// The first job of this key is done. Which of the taken jobs that is doesn't matter.
    fn release_one(&mut self, key: u64) {
        let Entry::Occupied(mut lane) = self.lanes.entry(key) else { return };
        match lane.get_mut().pop() {
            None => drop(lane.remove()),
            Some(first) if self.unblock(first) => self.ready.push(first),
            Some(_) => {}
        }
    }

    /// One key less to wait for. Returns whether that was the last.
    fn unblock(&mut self, id: JobId) -> bool {
        let Some(waiting) = waiting_mut(&mut self.jobs, self.first_id, id) else { return false };
        waiting.blocked_on -= 1;
        waiting.blocked_on == 0
    }

    fn waiting(&self, id: JobId) -> Option<&Waiting<J>> {
        self.jobs.get(place(self.first_id, id)?)?.as_ref()
    }

    /// Clears the job's slot; its lanes are left to the caller.
    fn leave(&mut self, id: JobId) -> Option<Waiting<J>> {
        let waiting = self.jobs.get_mut(place(self.first_id, id)?)?.take()?;
        self.len -= 1;
        while let Some(None) = self.jobs.front() {
            self.jobs.pop_front();
            self.first_id += 1;
        }
        Some(waiting)
    }

    fn skip_gone(&mut self) {
        while self.ready.min().is_some_and(|id| self.waiting(id).is_none()) {
            self.ready.pop();
        }
    }
}

fn place(first_id: u64, id: JobId) -> Option<usize> {
    usize::try_from(id.0.checked_sub(first_id)?).ok()
}

fn waiting_mut<J>(
    jobs: &mut VecDeque<Option<Waiting<J>>>,
    first_id: u64,
    id: JobId,
) -> Option<&mut Waiting<J>> {
    jobs.get_mut(place(first_id, id)?)?.as_mut()
}

/// Picks the jobs of one batch, the earliest first. The jobs behind a taken one can be taken into
/// the same batch; when the picker is dropped they wait until the keys are released.
pub(super) struct Picker<'a, J: Keyed> {
    queue: &'a mut ReadyQueue<J>,
    /// Jobs that wait for taken ones of this batch alone.
    followers: IdHeap,
    /// Jobs behind a taken one, once for each key that they have in common.
    unblocked: Vec<JobId>,
}

impl<J: Keyed> Picker<'_, J> {
    /// The earliest job that can be taken, and whether it has a key in common with a taken one.
    pub(super) fn next(&self) -> Option<(&J, bool)> {
        let (id, follows) = self.next_id()?;
        Some((&self.queue.waiting(id)?.job, follows))
    }

    /// Takes the job that [`Picker::next`] shows.
    pub(super) fn take(&mut self) -> Option<J> {
        let (id, taken) = self.take_next()?;
        if taken.has_follower {
            self.unblock_behind(id, taken.job.keys());
        }
        Some(taken.job)
    }

    /// As [`Picker::take`], for no batch: the jobs behind it wait until its keys are released.
    pub(super) fn take_without_followers(&mut self) -> Option<J> {
        self.take_next().map(|(_, taken)| taken.job)
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

    fn take_next(&mut self) -> Option<(JobId, Waiting<J>)> {
        let (id, follows) = self.next_id()?;
        let taken = self.queue.leave(id)?;
        if follows {
            self.followers.pop();
        } else {
            self.queue.ready.pop();
            self.queue.skip_gone();
        }
        Some((id, taken))
    }

    fn unblock_behind(&mut self, id: JobId, keys: &[u64]) {
        for key in keys {
            let next = self.queue.lanes.get(key).and_then(|lane| lane.after(id));
            let Some(next) = next else { continue };
            self.unblocked.push(next);
            if self.queue.unblock(next) {
                self.followers.push(next);
            }
        }
    }
}

impl<J: Keyed> Drop for Picker<'_, J> {
    /// Blocks the jobs again that were not taken.
    fn drop(&mut self) {
        for id in self.unblocked.drain(..) {
            let queue = &mut *self.queue;
            if let Some(waiting) = waiting_mut(&mut queue.jobs, queue.first_id, id) {
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
