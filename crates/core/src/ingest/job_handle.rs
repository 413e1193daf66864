//! A sender's end of a job in the queue.

use std::sync::Arc;

use super::queue::Queue;
use super::ready_queue::JobId;

/// A sender's end of a job in the queue. Dropped before the answer came (the client is gone), it
/// takes the job out of the queue, unless a writer has it.
pub(super) struct JobHandle {
    queue: Arc<Queue>,
    id: JobId,
    events: usize,
    /// The sender has its answer.
    is_answered: bool,
}

impl JobHandle {
    /// The handle of the job with that id in the queue.
    pub(super) fn new(queue: Arc<Queue>, id: JobId, events: usize) -> Self {
        Self { queue, id, events, is_answered: false }
    }

    /// Takes the job out of the queue: it is not stored and will not be. False when a writer has it
    /// or had it.
    pub(super) fn cancel(&mut self) -> bool {
        let is_cancelled = self.queue.cancel(self.id);
        self.is_answered |= is_cancelled;
        is_cancelled
    }

    /// The answer came, or the sender knows that there will be none.
    pub(super) fn finish(mut self) {
        self.is_answered = true;
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        if !self.is_answered && self.queue.cancel(self.id) {
            self.queue.metrics.record_cancelled(self.events);
        }
    }
}
