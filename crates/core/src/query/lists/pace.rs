//! How many rows the next chunk has.

use std::time::Duration;

use crate::query::port::MAX_PAGE_SIZE;

/// Rows of the first chunk where it is not known how many of them are wanted.
const FIRST_ROWS: u32 = 256;
/// Rows of a chunk at most.
const MOST_ROWS: u32 = 8192;
/// How long a chunk should take: the database answers others in between.
const CHUNK_TIME: Duration = Duration::from_millis(25);

/// How many rows the next chunk has: about what is still wanted, but no more than are read in a short time.
#[derive(Debug)]
pub(super) struct Pace {
    /// As many as are read in [`CHUNK_TIME`], as far as that is known.
    rows: u32,
    /// How many rows have to be looked at for one that is wanted.
    rows_for_one: f64,
}

impl Pace {
    /// `finds_all` where most of what is looked at is wanted.
    pub(super) fn new(finds_all: bool) -> Self {
        let rows = if finds_all { MAX_PAGE_SIZE + 1 } else { FIRST_ROWS };
        Self { rows, rows_for_one: if finds_all { 1.0 } else { f64::INFINITY } }
    }

    /// How many rows to look at for `wanted` of them. One more shows whether others follow.
    pub(super) fn rows(&self, wanted: usize) -> u32 {
        let needed = wanted as f64 * self.rows_for_one + 1.0;
        // saturates
        (needed.ceil() as u32).clamp(1, self.rows)
    }

    /// Notes a chunk: what was looked at, what was found in it, and how long that took.
    pub(super) fn note(&mut self, looked_at: usize, found: usize, took: Duration) {
        let faster = CHUNK_TIME.as_secs_f64() / took.as_secs_f64().max(1e-6);
        let rows = (looked_at as f64 * faster.clamp(0.25, 4.0)) as u32;
        // a chunk that was short says nothing about how many rows could have been read
        let rows = if faster < 1.0 { rows } else { rows.max(self.rows) };
        self.rows = rows.clamp(FIRST_ROWS / 4, MOST_ROWS);
        self.rows_for_one = if found > 0 { looked_at as f64 / found as f64 } else { f64::INFINITY };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_what_is_wanted_within_its_time() {
        let mut pace = Pace::new(true);
        assert_eq!(pace.rows(100), 101);
        assert_eq!(pace.rows(usize::MAX), 1001);
        pace.note(101, 50, Duration::from_millis(25));
        assert_eq!(pace.rows(50), 102, "twice as many as are wanted");
        let mut pace = Pace::new(false);
        assert_eq!(pace.rows(1), FIRST_ROWS);
        pace.note(256, 0, Duration::from_millis(1));
        assert_eq!(pace.rows(1), 1024, "four times as many at most");
        pace.note(3, 0, Duration::from_millis(1));
        assert_eq!(pace.rows(1), 1024, "a short one says nothing");
        pace.note(1024, 0, Duration::from_millis(100));
        assert_eq!(pace.rows(1), 256, "a quarter at least");
        pace.note(0, 0, Duration::ZERO);
        assert_eq!(pace.rows(1), 256);
        pace.note(1, 0, Duration::from_secs(1));
        assert_eq!(pace.rows(1), 64);
    }
}
