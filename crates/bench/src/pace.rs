//! How fast the machine runs just now. On shared hardware neighbours may halve that from one second
//! to the next, and no clock of this machine tells. So a fixed piece of work is timed before and
//! after each measurement, and one that a slow machine spoilt is taken again.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// A machine that takes this many times as long as at its best is slow.
pub(crate) const SLOW: f64 = 1.3;
/// How long a measurement waits for a machine that isn't slow.
const PATIENCE: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(200);
/// Some tens of milliseconds on each core.
const ROUNDS: u32 = 20_000_000;

/// The machine's pace, from the best that was seen of it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    best: Option<Duration>,
}

impl Pace {
    /// How many times as long as at its best the work takes now; 1 is the best.
    pub(crate) async fn now(&mut self) -> f64 {
        // it fails where the runtime ends, and then nobody asks any more
        let took = spawn_blocking(work_on_all_cores).await.unwrap_or(Duration::MAX);
        let best = self.best.map_or(took, |best| best.min(took));
        self.best = Some(best);
        took.as_secs_f64() / best.as_secs_f64()
    }

    /// Waits until the machine isn't slow, though not for ever, and tells its pace then.
    pub(crate) async fn settle(&mut self) -> f64 {
        let start = Instant::now();
        loop {
            let pace = self.now().await;
            if pace <= SLOW || start.elapsed() > PATIENCE {
                return pace;
            }
            sleep(PAUSE).await;
        }
    }
}

/// The same work on every core at once; the slowest counts.
fn work_on_all_cores() -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let took = workers.into_iter().filter_map(|worker| worker.join().ok());
        took.max().unwrap_or(Duration::MAX)
    })
}

fn work() -> Duration {
    let start = Instant::now();
    let mut state = black_box(1_u64);
    for round in 0..ROUNDS {
        state = state.rotate_left(5).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(round);
    }
    black_box(state);
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pace_is_told_against_the_best() {
        let mut pace = Pace::default();
        assert!((pace.now().await - 1.0).abs() < f64::EPSILON, "the first is the best");
        assert!(pace.now().await >= 1.0);
        pace.best = Some(Duration::from_nanos(1));
        assert!(pace.now().await > SLOW);
    }
}
