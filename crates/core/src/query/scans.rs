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
