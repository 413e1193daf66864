//! How many reads may go over many rows at the same time, and how much of the machine they take.

use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::model::{Problem, ProblemKind};

/// Reads that go over many rows at the same time, at most: each holds a connection while it works.
const MAX_SCANS: usize = 4;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(1);
/// Work that needs no rest yet.
const SHORT_STEP: Duration = Duration::from_millis(10);
/// The share of the machine's cores that longer work takes.
const SHARE_OF_CORES: f64 = 0.25;
/// For so much longer work, of others, one that begins need not wait.
const MOST_AHEAD: Duration = Duration::from_secs(2);

/// The turns of reads that go over many rows: lists, counts, searches, folds of the history. They take half of
/// the read connections at most, and work step by step. After a long step each rests as long as it worked;
/// where several work, so much longer that all of them together take a quarter of the cores. So writers and
/// reads of single entities keep the database, and short reads, which need no rest, get their turn soon. With
/// one connection alone they hold it for one statement at a time, and the others come in between.
#[derive(Debug)]
pub struct Scans {
    turns: Semaphore,
    /// Cores.
    share: f64,
    /// When the long steps until now will have had their time, if they have their share and nothing else.
    due: Mutex<Instant>,
}

impl Scans {
    /// For reads that share so many connections.
    pub fn new(connections: usize) -> Self {
        let cores = available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        Self::with_share(connections, cores * SHARE_OF_CORES)
    }

    /// Where all scans together work on so many cores on average.
    fn with_share(connections: usize, share: f64) -> Self {
        let turns = Semaphore::new((connections / 2).clamp(1, MAX_SCANS));
        Self { turns, share, due: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// `Overloaded` where it does not come soon.
    pub async fn begin(&self) -> Result<Scan<'_>, Problem> {
        let until = Instant::now() + TURN;
        let too_far = self.due().saturating_duration_since(Instant::now() + MOST_AHEAD);
        sleep(too_far.min(TURN)).await;
        if too_far > TURN {
            return Err(overloaded());
        }
        let turn = self.turn(until).await?;
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

    fn due(&self) -> Instant {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a long step; returns when the steps noted before it are due.
    fn note(&self, step: Duration) -> Instant {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *due;
        *due = before.max(Instant::now()) + step.div_f64(self.share);
        before
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

    /// Ends a step. Unless it was too short to matter, rests as long as it took, and until the steps of others
    /// have had their share, then waits for its turn.
    ///
    /// # Errors
    /// `Overloaded` where the scan is `limit` old before it may go on.
    pub async fn rest(&mut self, limit: Duration) -> Result<(), Problem> {
        let (step, is_over) = (self.step_began.elapsed(), self.elapsed() >= limit);
        if step < SHORT_STEP {
            return if is_over { Err(overloaded()) } else { Ok(()) };
        }
        self.worked += step;
        // its connection is free meanwhile
        self.turn = None;
        let others = self.scans.note(step);
        let rested = if is_over { others } else { others.max(Instant::now() + step) };
        sleep_until(rested).await;
        let turn = if self.elapsed() < limit {
            self.scans.turn(self.began + limit).await
        } else {
            Err(overloaded())
        };
        self.step_began = Instant::now();
        self.turn = Some(turn?);
        Ok(())
    }
}

fn overloaded() -> Problem {
    let detail = "too many lists, searches and reads of the history at once; try again later";
    Problem::new(ProblemKind::Overloaded, detail)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

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
    async fn a_scan_alone_rests_as_long_as_it_works() {
        let scans = Scans::with_share(2, 0.5);
        let mut scan = scans.begin().await.expect("a turn");
        sleep(ms(9)).await;
        scan.rest(LIMIT).await.expect("a turn");
        assert_eq!(scan.elapsed(), ms(9), "a short step needs no rest");
        sleep(ms(31)).await;
        scan.rest(LIMIT).await.expect("a turn");
        assert_eq!((scan.elapsed(), scan.worked()), (ms(80), ms(40)));
        for _ in 0..10 {
            sleep(ms(40)).await;
            scan.rest(LIMIT).await.expect("a turn");
        }
        assert_eq!((scan.elapsed(), scan.worked()), (ms(880), ms(440)));
    }

    #[tokio::test(start_paused = true)]
    async fn all_scans_together_have_their_share() {
        let scans = Scans::with_share(8, 0.5);
        let scan = async || {
            let mut scan = scans.begin().await.expect("a turn");
            while scan.rest(ms(4000)).await.is_ok() {
                sleep(ms(20)).await;
            }
            scan.worked()
        };
        let many = [(); 12].map(|()| Box::pin(scan()));
        let began = Instant::now();
        let worked: Duration = futures_util::future::join_all(many).await.into_iter().sum();
        let share = worked.as_secs_f64() / began.elapsed().as_secs_f64();
        assert!((0.4..0.6).contains(&share), "{share}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_scan_need_not_wait_for_those_that_rest() {
        let scans = Scans::with_share(2, 0.5);
        let mut long = scans.begin().await.expect("a turn");
        sleep(ms(500)).await;
        let short = async {
            sleep(ms(1)).await;
            let began = Instant::now();
            scans.begin().await.expect("a turn").rest(LIMIT).await.expect("its turn");
            began.elapsed()
        };
        let rest = async {
            long.rest(LIMIT).await.expect("a turn");
            long.elapsed()
        };
        assert_eq!(tokio::join!(rest, short), (ms(1000), ms(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_scan_may_be_over_before_its_next_turn() {
        let scans = Scans::with_share(2, 0.5);
        let mut scan = scans.begin().await.expect("a turn");
        sleep(ms(300)).await;
        let refused = scan.rest(ms(500)).await.expect_err("its time is over");
        assert_eq!((refused.kind, scan.elapsed()), (ProblemKind::Overloaded, ms(600)));
        assert!(!scan.has_turn());
    }

    #[tokio::test(start_paused = true)]
    async fn what_scans_are_behind_is_limited() {
        let scans = Scans::with_share(2, 0.5);
        let mut scan = scans.begin().await.expect("a turn");
        sleep(ms(2000)).await;
        // due 4 s later; its client does not wait for it
        let _elapsed = timeout(ms(1), scan.rest(LIMIT)).await;
        let began = Instant::now();
        let refused = scans.begin().await.expect_err("others are due first");
        assert_eq!((refused.kind, began.elapsed()), (ProblemKind::Overloaded, TURN));
        sleep(TURN).await;
        assert!(scans.begin().await.is_ok());
    }
}
