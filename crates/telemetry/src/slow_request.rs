//! The line that names a slow request.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::stopwatch::{Part, Parts, RequestEnd, millis};

/// Lines in one second at most: under a fault every request is slow, and the log must not be
/// what fails next.
const LINES: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

static BUDGET: Mutex<Budget> = Mutex::new(Budget { since: None, told: 0, omitted: 0 });

struct Budget {
    since: Option<Instant>,
    told: u32,
    omitted: u64,
}

impl Budget {
    /// How many were left out since the last line; `None` where this one is, too.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now - since >= SECOND) {
            self.since = Some(now);
            self.told = 0;
        }
        if self.told == LINES {
            self.omitted += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.omitted))
    }
}

/// Names a slow request and where its time went.
pub(crate) fn log(end: &RequestEnd<'_>, parts: &Parts) {
    let taken = BUDGET.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
    let Some(omitted) = taken else { return };
    tracing::warn!(
        method = end.method,
        route = end.route,
        status = end.status,
        duration_ms = millis(end.took),
        body_ms = parts.millis(Part::Body),
        queue_ms = parts.millis(Part::Queue),
        database_ms = parts.millis(Part::Database),
        rest_ms = parts.millis(Part::Rest),
        omitted = (omitted > 0).then_some(omitted),
        "slow request"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_and_the_next_counts_what_was_left_out() {
        let mut budget = Budget { since: None, told: 0, omitted: 0 };
        let start = Instant::now();
        let told = (0..100).filter_map(|_| budget.take(start)).count();
        assert_eq!(told, 10);
        assert_eq!(budget.take(start + SECOND), Some(90));
        assert_eq!(budget.take(start + SECOND), Some(0));
    }
}
