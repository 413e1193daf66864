//! What the thread that polls and the runner's task share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::progress::Progress;
use crate::sink::Failure;
use crate::source::{Body, Message, Place};

/// Messages in the buffer at most.
const BUFFER_MESSAGES: usize = 2_000;
/// Bytes of messages in the buffer at most; one message more may be in it.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Shared by the thread that polls and the runner's task.
pub(super) struct Shared {
    state: Mutex<State>,
    /// There is something to receive.
    readable: Notify,
    /// Something was received or settled, or it is to stop.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Those that are assigned.
    partitions: HashMap<i32, Progress>,
    buffer: VecDeque<Buffered>,
    bytes: usize,
    failure: Option<Failure>,
    commit_failure: Option<Failure>,
    stopping: bool,
}

struct Buffered {
    partition: i32,
    offset: i64,
    body: Vec<u8>,
}

/// A partition and a place in it.
pub(super) type At = (i32, i64);

impl Shared {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), readable: Notify::new(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    // ---- the runner's task ----

    /// The next messages, or the failure where there are none. Waits for one of both.
    pub(super) async fn receive(&self, most: usize, topic: &str) -> Result<Vec<Message>, Failure> {
        loop {
            if let Some(received) = self.try_receive(most, topic) {
                return received;
            }
            self.readable.notified().await;
        }
    }

    fn try_receive(&self, most: usize, topic: &str) -> Option<Result<Vec<Message>, Failure>> {
        let mut state = self.state();
        if state.buffer.is_empty() {
            return state.failure.take().map(Err);
        }
        let count = most.min(state.buffer.len());
        let mut messages = Vec::with_capacity(count);
        for buffered in state.take_buffered(count) {
            if let Some(progress) = state.partitions.get_mut(&buffered.partition) {
                progress.hand_out();
            }
            let place = Place {
                stream: format!("{topic}/{}", buffered.partition),
                id: buffered.offset.to_string(),
            };
            messages.push(Message { place, body: Body::Bytes(buffered.body), deliveries: 1 });
        }
        drop(state);
        self.changed.notify_all();
        Some(Ok(messages))
    }

    /// Notes what is settled.
    ///
    /// # Errors
    /// What was settled before can't be committed.
    pub(super) fn settle(&self, settled: impl Iterator<Item = At>) -> Result<(), Failure> {
        let mut state = self.state();
        for (partition, offset) in settled {
            if let Some(progress) = state.partitions.get_mut(&partition) {
                progress.settle(offset);
            }
        }
        let failure = state.commit_failure.take();
        drop(state);
        self.changed.notify_all();
        failure.map_or(Ok(()), Err)
    }

    /// Where the assigned partitions are, and when the oldest message that is not settled was sent.
    pub(super) fn positions(&self) -> (Vec<(i32, Option<i64>)>, Option<i64>) {
        let state = self.state();
        let position = |(id, progress): (&i32, &Progress)| (*id, progress.position());
        let positions = state.partitions.iter().map(position).collect();
        (positions, state.partitions.values().filter_map(Progress::oldest).min())
    }

    /// The thread is to commit what is settled, leave the group and end.
    pub(super) fn stop(&self) {
        self.state().stopping = true;
        self.changed.notify_all();
    }

    /// Why nothing is read, once.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.state().failure.take()
    }

    // ---- the thread that polls ----

    pub(super) fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    /// Puts a message into the buffer.
    pub(super) fn push(&self, (partition, offset): At, timestamp: Option<i64>, body: Vec<u8>) {
        let mut state = self.state();
        // one of a partition that was revoked meanwhile comes again where it is assigned
        let Some(progress) = state.partitions.get_mut(&partition) else { return };
        progress.read(offset, timestamp);
        state.bytes += body.len();
        state.buffer.push_back(Buffered { partition, offset, body });
        state.failure = None;
        drop(state);
        self.readable.notify_one();
    }

    pub(super) fn fail(&self, failure: Failure) {
        self.state().failure = Some(failure);
        self.readable.notify_one();
    }

    /// Waits until there is room in the buffer, at most for so long. Whether there is.
    pub(super) fn wait_for_room(&self, most: Duration) -> bool {
        self.wait_while(most, State::is_full)
    }

    /// Waits until half of the buffer is free, at most for so long. Whether it is.
    pub(super) fn wait_for_half(&self, most: Duration) -> bool {
        self.wait_while(most, State::is_more_than_half_full)
    }

    fn wait_while(&self, most: Duration, full: impl Fn(&State) -> bool) -> bool {
        let waits = |state: &mut State| full(state) && !state.stopping;
        let waited = self.changed.wait_timeout_while(self.state(), most, waits);
        let (state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        !full(&state)
    }

    /// Waits, and says whether the thread is to go on.
    pub(super) fn wait_unless_stopping(&self, time: Duration) -> bool {
        let going_on = |state: &mut State| !state.stopping;
        let waited = self.changed.wait_timeout_while(self.state(), time, going_on);
        let (state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        !state.stopping
    }

    /// Partitions are assigned, with what the group has committed of each.
    pub(super) fn assign(&self, partitions: impl Iterator<Item = (i32, Option<i64>)>) {
        let mut state = self.state();
        for (partition, committed) in partitions {
            state.partitions.insert(partition, Progress::new(committed));
        }
    }

    /// What can be committed now.
    pub(super) fn uncommitted(&self) -> Vec<At> {
        let state = self.state();
        let partitions = state.partitions.iter();
        partitions.filter_map(|(id, progress)| Some((*id, progress.uncommitted()?))).collect()
    }

    /// What the group has now.
    pub(super) fn committed(&self, committed: &[At]) {
        let mut state = self.state();
        for (partition, offset) in committed {
            if let Some(progress) = state.partitions.get_mut(partition) {
                progress.committed(*offset);
            }
        }
    }

    pub(super) fn commit_failed(&self, failure: Failure) {
        self.state().commit_failure = Some(failure);
    }

    /// Drops what is in the buffer of partitions that go to another member, and waits until the runner has
    /// settled what it has of them, at most for so long.
    pub(super) fn drain(&self, partitions: &[i32], most: Duration) {
        let mut state = self.state();
        state.buffer.retain(|buffered| !partitions.contains(&buffered.partition));
        state.bytes = state.buffer.iter().map(|buffered| buffered.body.len()).sum();
        for partition in partitions {
            if let Some(progress) = state.partitions.get_mut(partition) {
                progress.drop_buffered();
            }
        }
        let busy = |state: &mut State| {
            let idle = |id| state.partitions.get(id).is_none_or(Progress::is_idle);
            !state.stopping && !partitions.iter().all(idle)
        };
        let _ = self.changed.wait_timeout_while(state, most, busy);
    }

    /// Forgets partitions, and returns what is still to be committed of them. What is settled of them from
    /// now on is ignored: another member may have got further.
    pub(super) fn revoke(&self, partitions: &[i32]) -> Vec<At> {
        let mut state = self.state();
        let revoked = partitions.iter().filter_map(|id| Some((*id, state.partitions.remove(id)?)));
        revoked.filter_map(|(id, progress)| Some((id, progress.uncommitted()?))).collect()
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER_MESSAGES || self.bytes >= BUFFER_BYTES
    }

    fn is_more_than_half_full(&self) -> bool {
        self.buffer.len() > BUFFER_MESSAGES / 2 || self.bytes > BUFFER_BYTES / 2
    }

    fn take_buffered(&mut self, count: usize) -> Vec<Buffered> {
        let taken: Vec<_> = self.buffer.drain(..count).collect();
        self.bytes -= taken.iter().map(|buffered| buffered.body.len()).sum::<usize>();
        taken
    }
}
