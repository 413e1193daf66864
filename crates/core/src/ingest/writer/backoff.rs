//! Pauses of a writer after panics.

use std::time::Duration;

use crate::ingest::queue_state::BATCH_UPDATES;

/// Panics in a row without a pause: as many as it takes to isolate one event of the largest batch.
const WITHOUT_PAUSE: u32 = BATCH_UPDATES.ilog2() + 1;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Counts panics in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    panics: u32,
}

impl Backoff {
    /// One more; returns how long to pause.
    pub(super) fn note_panic(&mut self) -> Duration {
        self.panics = self.panics.saturating_add(1);
        match self.panics.checked_sub(WITHOUT_PAUSE + 1) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST_PAUSE * (1 << doublings.min(10))).min(MAX_PAUSE),
        }
    }

    /// Something was applied.
    pub(super) fn reset(&mut self) {
        self.panics = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_second() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..30).map(|_| backoff.note_panic().as_millis()).collect();
        assert_eq!(pauses[..10], [0; 10]);
        assert_eq!(pauses[10..18], [10, 20, 40, 80, 160, 320, 640, 1000]);
        assert!(pauses[18..].iter().all(|pause| *pause == 1000));
        backoff.reset();
        assert!(backoff.note_panic().is_zero());
    }
}
