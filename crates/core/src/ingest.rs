//! The one use case: take events, apply them in batches that share a commit, tell each sender.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;
use crate::{Clock, Event, Problem, Receipt};

/// Limits of the queue, from the settings of the same names.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `INGEST_QUEUE_EVENTS`
    pub queue_events: usize,
    /// `INGEST_QUEUE_BYTES`
    pub queue_bytes: usize,
    /// `INGEST_QUEUE_AGE`
    pub queue_age: Duration,
    /// `REQUEST_TIMEOUT`
    pub request_timeout: Duration,
    /// `LOG_PROGRESS_EVERY`
    pub log_progress_every: u64,
}

/// What became of one event: stored (now or before), or why not.
pub type Outcome = Result<Receipt, Problem>;

/// The queue in front of the writers. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {}

impl Ingest {
    /// Starts the writers as tasks of their own.
    pub fn start(_store: &Arc<dyn Store>, _limits: Limits, _clock: &Clock) -> Self {
        Self {}
    }

    /// Applies one event. A caller that stops waiting cancels nothing that a writer has taken.
    ///
    /// # Errors
    /// `Conflict`, `Validation`, `Overloaded`, `Unavailable`, `OutcomeUnknown`, `Internal`.
    pub async fn submit(&self, event: Event) -> Outcome {
        drop(event);
        std::future::pending().await
    }

    /// Applies all events or none, in one transaction. The receipts are in the events' order.
    ///
    /// # Errors
    /// `Validation` or `Conflict` with pointers from the array's root, or why nothing was stored;
    /// `OutcomeUnknown` where that can't be known.
    pub async fn submit_atomic(&self, events: Vec<Event>) -> Result<Vec<Receipt>, Problem> {
        drop(events);
        std::future::pending().await
    }

    /// Opens a call of many events: its events are applied in their order for the same entity, and
    /// wait for room instead of being refused.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, `Unavailable` when draining: nothing was read yet.
    pub fn open_call(&self) -> Result<(CallSender, CallResults), Problem> {
        Ok((CallSender {}, CallResults {}))
    }

    /// From now on new events are refused; calls that are open may go on.
    pub fn drain(&self) {}

    /// Whether [`Ingest::drain`] was called.
    pub fn is_draining(&self) -> bool {
        false
    }

    /// Waits until everything that was taken in is answered, then stops the writers.
    pub async fn finished(&self) {}
}

/// The end of a call that takes events in.
pub struct CallSender {}

impl CallSender {
    /// Takes the call's next item: an event, or the problem that its text has. Waits while the call
    /// has its share of the queue (1,000 events) or the queue is full; this is what slows a sender
    /// down. Returns false once the call is broken (see [`CallSender::broken`]); the item
    /// is taken and answered all the same.
    pub async fn send(&mut self, item: Result<Event, Problem>) -> bool {
        drop(item);
        std::future::pending().await
    }

    /// Resolves when an item of the call came back unavailable or unknown: from then on no more
    /// should be read.
    pub async fn broken(&self) {
        std::future::pending().await
    }
}

/// The end of a call that gives the outcomes out.
pub struct CallResults {}

impl CallResults {
    /// The outcome of the next item in the order in which they were sent; `None` after the last,
    /// when the [`CallSender`] is gone.
    pub async fn next(&mut self) -> Option<Outcome> {
        std::future::pending().await
    }
}
