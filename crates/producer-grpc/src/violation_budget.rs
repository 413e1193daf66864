//! A limit on the memory that violations of one stream take until the client has received them: one
//! invalid event may list a hundred locations of a kilobyte each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use producer_core::{Problem, Step, Violation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that the pending violations of one stream may take.
const MAX_BYTES: u32 = 2 << 20;

/// Shared by the task that reads a stream's events and the stream of its results.
#[derive(Debug, Clone)]
pub(crate) struct PendingViolations {
    bytes: Arc<Semaphore>,
    /// In the order of the events' indexes.
    permits: Arc<Mutex<VecDeque<(u64, OwnedSemaphorePermit)>>>,
}

impl PendingViolations {
    pub(crate) fn new() -> Self {
        Self { bytes: Arc::new(Semaphore::new(MAX_BYTES as usize)), permits: Arc::default() }
    }

    /// Waits until there is room for the violations of the event at `index`, or results are not
    /// sent any more.
    pub(crate) async fn reserve(&self, index: u64, problem: &Problem) {
        let bytes: usize = problem.violations.listed().iter().map(size).sum();
        let bytes = u32::try_from(bytes).unwrap_or(MAX_BYTES).min(MAX_BYTES);
        if let Ok(permit) = Arc::clone(&self.bytes).acquire_many_owned(bytes).await {
            self.permits.lock().unwrap_or_else(PoisonError::into_inner).push_back((index, permit));
        }
    }

    /// The result of the event at `index` is sent.
    pub(crate) fn release(&self, index: u64) {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        if permits.front().is_some_and(|(first, _)| *first == index) {
            permits.pop_front();
        }
    }

    /// Results are not sent any more.
    pub(crate) fn close(&self) {
        self.bytes.close();
    }
}

/// Bytes of memory that a violation takes, roughly.
fn size(violation: &Violation) -> usize {
    let key = |step: &Step| match step {
        Step::Key(key) => key.len(),
        Step::Index(_) => 0,
    };
    let steps = &violation.location.0;
    size_of::<Violation>()
        + size_of::<Step>() * steps.len()
        + steps.iter().map(key).sum::<usize>()
        + violation.detail.len()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use producer_core::{Location, ProblemKind, Violations};

    use super::*;

    fn problem(bytes: usize) -> Problem {
        let place = Location(vec![Step::Key("x".repeat(bytes).into())]);
        Problem::validation(Violations::one(place, "must not be"))
    }

    #[tokio::test]
    async fn violations_wait_until_earlier_ones_are_sent() {
        let pending = PendingViolations::new();
        let half = problem(MAX_BYTES as usize / 2);
        pending.reserve(0, &half).await;
        pending.reserve(1, &Problem::new(ProblemKind::Validation, "no violations")).await;
        assert!(pending.reserve(5, &half).now_or_never().is_none());
        pending.release(0);
        pending.reserve(5, &half).await;
        assert!(pending.reserve(6, &half).now_or_never().is_none());
        for index in 1..=5 {
            pending.release(index);
        }
        // over the limit, and still accepted when nothing else is pending
        pending.reserve(6, &problem(2 * MAX_BYTES as usize)).await;
        pending.close();
        pending.reserve(7, &half).await;
    }
}
