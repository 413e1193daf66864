//! How fast the machine runs right now. On shared hardware neighbours may halve its speed from one
//! second to the next, and no counter of this machine shows it. So a fixed piece of work is timed
//! before and after each measurement, and a measurement on a slow machine is repeated.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// From this slowdown on the machine counts as slow.
pub(crate) const SLOW: f64 = 1.3;
/// How long a measurement waits for the machine to recover.
const TIMEOUT: Duration = Duration::from_secs(12);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Some tens of milliseconds on each core.
const ROUNDS: u32 = 20_000_000;

/// Times the fixed work and compares it with the best time so far.
#[derive(Debug, Default)]
pub(crate) struct Calibration {
    best: Option<Duration>,
}

impl Calibration {
    /// The work's time now, divided by its best time; 1 is full speed.
    pub(crate) async fn slowdown(&mut self) -> f64 {
        // it fails only when the runtime ends
        let took = spawn_blocking(work_on_all_cores).await.unwrap_or(Duration::MAX);
        let best = self.best.map_or(took, |best| best.min(took));
        self.best = Some(best);
        took.as_secs_f64() / best.as_secs_f64()
    }

    /// Waits up to [`TIMEOUT`] until the machine isn't slow; returns the slowdown then.
    pub(crate) async fn wait_for_full_speed(&mut self) -> f64 {
        let start = Instant::now();
        loop {
            let slowdown = self.slowdown().await;
            if slowdown <= SLOW || start.elapsed() > TIMEOUT {
                return slowdown;
            }
            sleep(POLL_INTERVAL).await;
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
    async fn a_slowdown_is_relative_to_the_best_time() {
        let mut calibration = Calibration::default();
        let first = calibration.slowdown().await;
        assert!((first - 1.0).abs() < f64::EPSILON, "the first is the best");
        assert!(calibration.slowdown().await >= 1.0);
        calibration.best = Some(Duration::from_nanos(1));
        assert!(calibration.slowdown().await > SLOW);
    }
}
