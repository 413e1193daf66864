//! When a failed delivery is tried again: full jitter for a lane, a circuit breaker for the sink.

use std::time::Duration;

use producer_core::worker;
use tokio::time::Instant;

use crate::config::Retry;

/// The pause after so many failures in a row: anything up to twice the one before, up to the longest. Full
/// jitter: senders that failed together do not come again together.
pub(super) fn pause(retry: &Retry, failures: u32) -> Duration {
    let doubled = retry.initial.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(retry.max).mul_f64(fastrand::f64())
}

/// A circuit breaker: after failures in a row nothing is sent for a while, then one delivery is tried.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open(Instant),
    /// Whether the one delivery is under way.
    HalfOpen(bool),
}

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MaySend {
    Everything,
    /// One delivery.
    Probe,
    Nothing,
}

impl Breaker {
    pub(super) const fn new() -> Self {
        Self { failures: 0, state: State::Closed }
    }

    pub(super) fn may_send(&mut self, now: Instant) -> MaySend {
        match self.state {
            State::Closed => MaySend::Everything,
            State::Open(until) if now < until => MaySend::Nothing,
            State::Open(_) | State::HalfOpen(false) => {
                self.state = State::HalfOpen(false);
                MaySend::Probe
            }
            State::HalfOpen(true) => MaySend::Nothing,
        }
    }

    /// A delivery begins.
    pub(super) fn sent(&mut self) {
        if self.state == State::HalfOpen(false) {
            self.state = State::HalfOpen(true);
        }
    }

    /// The target has answered: it works.
    pub(super) fn succeeded(&mut self) {
        // one that was sent before the breaker opened says nothing about now
        if !matches!(self.state, State::Open(_)) {
            *self = Self::new();
        }
    }

    /// A delivery failed. Returns whether the breaker opened.
    pub(super) fn failed(&mut self, retry: &Retry, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state {
            State::Closed => self.failures >= retry.breaker_failures,
            State::HalfOpen(_) => true,
            State::Open(_) => false,
        };
        if opens {
            self.state = State::Open(now + retry.breaker_pause);
        }
        opens
    }

    /// When a probe may be sent, where it is open.
    pub(super) const fn next_at(&self) -> Option<Instant> {
        match self.state {
            State::Open(until) => Some(until),
            State::Closed | State::HalfOpen(_) => None,
        }
    }

    pub(super) fn reported(&self) -> worker::Breaker {
        match self.state {
            State::Closed => worker::Breaker::Closed,
            State::Open(_) => worker::Breaker::Open,
            State::HalfOpen(_) => worker::Breaker::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry::default();
        for (failures, longest) in
            [(1, 100), (2, 200), (5, 1600), (9, 25_600), (10, 30_000), (99, 30_000)]
        {
            for _ in 0..100 {
                assert!(pause(&retry, failures) <= Duration::from_millis(longest), "{failures}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_opens_and_lets_single_probes_through() {
        let retry = Retry { breaker_failures: 2, ..Retry::default() };
        let mut breaker = Breaker::new();
        let start = Instant::now();
        assert!(!breaker.failed(&retry, start));
        breaker.succeeded();
        assert!(!breaker.failed(&retry, start), "failures count in a row");
        assert!(breaker.failed(&retry, start));
        let until = start + retry.breaker_pause;
        assert_eq!(breaker.may_send(start), MaySend::Nothing);
        assert_eq!(breaker.next_at(), Some(until));
        breaker.succeeded(); // sent before it opened
        assert_eq!(breaker.reported(), worker::Breaker::Open);
        assert_eq!(breaker.may_send(until), MaySend::Probe);
        breaker.sent();
        assert_eq!(breaker.may_send(until), MaySend::Nothing);
        assert!(breaker.failed(&retry, until), "a failed probe opens it again");
        let again = until + retry.breaker_pause;
        assert_eq!(breaker.may_send(again), MaySend::Probe);
        breaker.sent();
        breaker.succeeded();
        assert_eq!(breaker.may_send(again), MaySend::Everything);
    }
}
