//! When something that failed is tried again.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Retry;
use crate::runner::retry::pause;

/// The longest pause: a source should go on soon after a database or a broker is back.
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses between attempts: they double, with full jitter.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// An attempt failed; the other side may have said how long it wants to be left alone.
    pub(super) fn failed(&mut self, at_least: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let retry = Retry { max: LONGEST, ..Retry::default() };
        let pause = pause(&retry, self.failures).max(at_least.unwrap_or_default());
        self.until = Some(Instant::now() + pause);
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether an attempt may be made now.
    pub(super) fn is_due(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }

    /// When the next attempt may be made, where that is later.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.filter(|until| *until > Instant::now())
    }
}
