//! The progress of a run on the terminal.

use std::time::{Duration, Instant};

/// Counts measurements, and guesses how long the others will take.
pub(crate) struct Progress {
    start: Instant,
    /// The time after which no further cell is started.
    limit: Duration,
    rounds: u32,
    done: usize,
    all: usize,
}

impl Progress {
    /// Of so many cells in each round.
    pub(crate) fn new(cells: usize, rounds: u32, limit: Duration) -> Self {
        Self { start: Instant::now(), limit, rounds, done: 0, all: cells * rounds as usize }
    }

    /// The average time per cell so far.
    fn time_per_cell(&self) -> Duration {
        self.start.elapsed() / u32::try_from(self.done.max(1)).unwrap_or(u32::MAX)
    }

    /// Whether another cell would end beyond the limit.
    pub(crate) fn is_out_of_time(&self) -> bool {
        self.done > 0 && self.start.elapsed() + self.time_per_cell() > self.limit
    }

    /// Prints a line about a cell that was measured.
    pub(crate) fn print(&mut self, round: u32, cell: &str, outcome: &str) {
        self.done += 1;
        let left = self.time_per_cell() * u32::try_from(self.all - self.done).unwrap_or(u32::MAX);
        let left = left.min(self.limit.saturating_sub(self.start.elapsed())).as_secs();
        println!(
            "[{:>3}/{}] round {round} of {}  {cell:<18} {outcome}  {}m {:02}s left",
            self.done,
            self.all,
            self.rounds,
            left / 60,
            left % 60
        );
    }
}

/// How often [`Occasionally`] prints.
const INTERVAL: Duration = Duration::from_secs(10);

/// Prints now and then how far a long work is.
pub(crate) struct Occasionally(Instant);

impl Occasionally {
    /// Not at once.
    pub(crate) fn from_now() -> Self {
        Self(Instant::now())
    }

    /// Prints this unless the last time is only some seconds ago.
    pub(crate) fn print(&mut self, text: impl FnOnce() -> String) {
        if self.0.elapsed() > INTERVAL {
            self.0 = Instant::now();
            println!("  {}", text());
        }
    }
}

/// The first words of an error, on one line.
pub(crate) fn failure(error: &str) -> String {
    format!("FAILED: {}", error.replace('\n', " ").chars().take(200).collect::<String>())
}
