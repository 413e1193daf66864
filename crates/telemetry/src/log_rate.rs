//! A limit on log lines of one kind: what a client or a failure can repeat must not fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines of one kind in a second at most.
const MAX_LINES: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Lets ten lines a second pass and counts the others.
#[derive(Debug)]
pub struct LogRate(Mutex<State>);

#[derive(Debug)]
struct State {
    since: Option<Instant>,
    logged: u32,
    omitted: u64,
}

impl LogRate {
    /// A limit for one kind of lines.
    pub const fn new() -> Self {
        Self(Mutex::new(State { since: None, logged: 0, omitted: 0 }))
    }

    /// Whether a line may be logged now: then, how many were omitted since the last one, as the line's
    /// field `omitted` (`None` where none were).
    pub fn try_log(&self) -> Option<Option<u64>> {
        self.try_log_at(Instant::now())
    }

    fn try_log_at(&self, now: Instant) -> Option<Option<u64>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now - since >= SECOND) {
            state.since = Some(now);
            state.logged = 0;
        }
        if state.logged == MAX_LINES {
            state.omitted += 1;
            return None;
        }
        state.logged += 1;
        let omitted = std::mem::take(&mut state.omitted);
        Some((omitted > 0).then_some(omitted))
    }
}

impl Default for LogRate {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_and_the_next_has_the_number_of_omitted_ones() {
        let rate = LogRate::new();
        let start = Instant::now();
        let logged = (0..100).filter_map(|_| rate.try_log_at(start)).count();
        assert_eq!(logged, 10);
        assert_eq!(rate.try_log_at(start + SECOND), Some(Some(90)));
        assert_eq!(rate.try_log_at(start + SECOND), Some(None));
    }
}
