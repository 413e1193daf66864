//! How many reads may go over many rows at the same time.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

use crate::model::{Problem, ProblemKind};

/// Reads that go over many rows at the same time, at most: each holds a connection while it works.
const MAX_SCANS: usize = 4;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(1);

/// Work that needs no rest yet.
const SHORT_STEP: Duration = Duration::from_millis(10);

/// The turns of reads that go over many rows: lists, counts, searches, folds of the history. They take half of
/// the read connections at most, and rest as long as they work, so that writers and reads of single entities
/// keep the database. With one connection alone they hold it for one statement at a time, and the others
/// come in between.
#[derive(Debug)]
pub struct Scans {
    turns: Semaphore,
}

impl Scans {
    /// For reads that share so many connections.
    pub fn new(connections: usize) -> Self {
        Self { turns: Semaphore::new((connections / 2).clamp(1, MAX_SCANS)) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// `Overloaded` where it does not come soon.
    pub async fn begin(&self) -> Result<Scan<'_>, Problem> {
        let turn = self.turn(Instant::now() + TURN).await?;
        let now = Instant::now();
        Ok(Scan {
            scans: self,
            turn: Some(turn),
            began: now,
            step_began: now,
            worked: Duration::ZERO,
        })
    }

    async fn turn(&self, until: Instant) -> Result<SemaphorePermit<'_>, Problem> {
        match timeout_at(until, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(overloaded()),
        }
    }
}

/// A read that goes over many rows, step by step; it is its turn.
#[derive(Debug)]
pub struct Scan<'s> {
    scans: &'s Scans,
    turn: Option<SemaphorePermit<'s>>,
    began: Instant,
    step_began: Instant,
    /// In the steps before this one.
    worked: Duration,
}

impl Scan<'_> {
    /// How long ago its first turn came.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long it has worked since, rests not counted.
    pub fn worked(&self) -> Duration {
        self.worked + self.step_began.elapsed()
    }

    /// Whether it is its turn; not after a rest that failed.
    pub fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Ends a step, unless it was too short to matter: rests as long as it took, then lets those go first
    /// that wait for their turn.
    ///
    /// # Errors
    /// `Overloaded` where its next turn does not come before it is `limit` old.
    pub async fn rest(&mut self, limit: Duration) -> Result<(), Problem> {
        let step = self.step_began.elapsed();
        if step < SHORT_STEP {
            return Ok(());
        }
        self.worked += step;
        sleep(step).await;
        // turns are given in the order in which they were asked for
        self.turn = None;
        self.turn = Some(self.scans.turn(self.began + limit).await?);
        self.step_began = Instant::now();
        Ok(())
    }
}

fn overloaded() -> Problem {
    let detail = "too many lists, searches and reads of the history at once; try again later";
    Problem::new(ProblemKind::Overloaded, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn half_of_the_connections_scan_and_at_most_four() {
        for (connections, most) in [(0, 1), (1, 1), (2, 1), (5, 2), (8, 4), (100, 4)] {
            let scans = Scans::new(connections);
            let mut under_way = Vec::new();
            for _ in 0..most {
                under_way.push(scans.begin().await.expect("a turn"));
            }
            let began = Instant::now();
            let refused = scans.begin().await.expect_err("no turn");
            assert_eq!(refused.kind, ProblemKind::Overloaded);
            assert_eq!(began.elapsed(), TURN);
            under_way.pop();
            assert!(scans.begin().await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_rests_as_long_as_it_works() {
        let scans = Scans::new(2);
        let mut scan = scans.begin().await.expect("a turn");
        sleep(Duration::from_millis(9)).await;
        scan.rest(LIMIT).await.expect("a turn");
        assert_eq!(scan.elapsed().as_millis(), 9, "a short step needs no rest");
        sleep(Duration::from_millis(31)).await;
        scan.rest(LIMIT).await.expect("a turn");
        assert_eq!((scan.elapsed().as_millis(), scan.worked().as_millis()), (80, 40));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_first_after_a_rest() {
        let scans = Scans::new(2);
        let mut scan = scans.begin().await.expect("a turn");
        sleep(Duration::from_millis(50)).await;
        let other = async {
            let _scan = scans.begin().await.expect("a turn");
            sleep(Duration::from_millis(300)).await;
        };
        let rest = async {
            scan.rest(LIMIT).await.expect("a turn");
            scan.elapsed().as_millis()
        };
        let (rested, ()) = tokio::join!(rest, other);
        assert_eq!(rested, 400, "after a rest of 50 ms and the other's turn");
        let other = async {
            let _scan = scans.begin().await.expect("a turn");
            sleep(Duration::from_secs(9)).await;
        };
        let rest = async {
            sleep(Duration::from_millis(50)).await;
            scan.rest(LIMIT).await.expect_err("its time is over").kind
        };
        let (refused, ()) = tokio::join!(rest, other);
        assert_eq!(refused, ProblemKind::Overloaded);
        assert!(!scan.has_turn());
    }
}
