//! A bound on the broken rules of a stream whose results its client hasn't taken yet: one bad event
//! may list a hundred places of a kilobyte each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use producer_core::{Problem, Step, Violation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that the broken rules of one stream may take.
const ROOM: u32 = 2 << 20;

/// Shared by a stream's two ends: the one that reads events, and the one that gives results out.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    room: Arc<Semaphore>,
    lease: Arc<Mutex<VecDeque<(u64, OwnedSemaphorePermit)>>>,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(ROOM as usize)), lease: Arc::default() }
    }

    /// Waits until there is room for the broken rules of the event at `index`, or nobody is there
    /// any more to take results.
    pub(crate) async fn take(&self, index: u64, problem: &Problem) {
        let bytes: usize = problem.violations.listed().iter().map(weight).sum();
        let bytes = u32::try_from(bytes).unwrap_or(ROOM).min(ROOM);
        if let Ok(permit) = Arc::clone(&self.room).acquire_many_owned(bytes).await {
            self.lease.lock().unwrap_or_else(PoisonError::into_inner).push_back((index, permit));
        }
    }

    /// The result at `index` is given out.
    pub(crate) fn give_back(&self, index: u64) {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if lease.front().is_some_and(|(first, _)| *first == index) {
            lease.pop_front();
        }
    }

    /// No results are given out any more.
    pub(crate) fn close(&self) {
        self.room.close();
    }
}

/// Bytes that a violation holds, roughly.
fn weight(violation: &Violation) -> usize {
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
    async fn a_place_waits_until_earlier_ones_are_given_out() {
        let pending = Pending::new();
        let half = problem(ROOM as usize / 2);
        pending.take(0, &half).await;
        pending.take(1, &Problem::new(ProblemKind::Validation, "no places")).await;
        assert!(pending.take(5, &half).now_or_never().is_none());
        pending.give_back(0);
        pending.take(5, &half).await;
        assert!(pending.take(6, &half).now_or_never().is_none());
        for index in 1..=5 {
            pending.give_back(index);
        }
        // larger than all of it, and still taken once it is alone
        pending.take(6, &problem(2 * ROOM as usize)).await;
        pending.close();
        pending.take(7, &half).await;
    }
}
