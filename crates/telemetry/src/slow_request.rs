//! The log line of a slow request.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::stopwatch::{Part, Parts, RequestEnd, millis};

/// Lines in one second at most: when something fails, all requests are slow, and the log must not fail
/// next.
const MAX_LINES: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

static RATE: Mutex<RateLimit> = Mutex::new(RateLimit { since: None, logged: 0, omitted: 0 });

struct RateLimit {
    since: Option<Instant>,
    logged: u32,
    omitted: u64,
}

impl RateLimit {
    /// How many lines were omitted since the last one; `None` where this one is omitted, too.
    fn try_log(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now - since >= SECOND) {
            self.since = Some(now);
            self.logged = 0;
        }
        if self.logged == MAX_LINES {
            self.omitted += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.omitted))
    }
}

/// Logs a slow request and where its time went.
pub(crate) fn log(end: &RequestEnd<'_>, parts: &Parts) {
    let mut rate = RATE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(omitted) = rate.try_log(Instant::now()) else { return };
    drop(rate);
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
    fn ten_lines_a_second_and_the_next_has_the_number_of_omitted_ones() {
        let mut rate = RateLimit { since: None, logged: 0, omitted: 0 };
        let start = Instant::now();
        let logged = (0..100).filter_map(|_| rate.try_log(start)).count();
        assert_eq!(logged, 10);
        assert_eq!(rate.try_log(start + SECOND), Some(90));
        assert_eq!(rate.try_log(start + SECOND), Some(0));
    }
}
