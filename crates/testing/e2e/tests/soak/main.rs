//! Soak test: load of every kind with random faults, sessions that write to the log and stay open, readers of
//! the change feed in every form, and workers with sinks whose targets fail too; a check of the stored rows
//! and of what the readers and the targets got. `make soak`.
//!
//! Settings: `SOAK_MINUTES` (30, for all databases together), `SOAK_DATABASE` (`postgres`, `sqlite`
//! or `both`), `SOAK_SEED` (default: the clock). A seed repeats the plan of the faults and the events;
//! their timing depends on the machine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod calls;
mod checker;
mod environment;
mod faults;
mod holders;
mod outcomes;
mod random;
mod readers;
mod senders;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use environment::{Environment, Kind};
use faults::{Injection, Plan};
use holders::{HeldTotals, Holders};
use outcomes::{OutcomeLog, Totals};
use producer_e2e::{DEADLINE, Outcome, SentEvent};
use readers::{MARKER_ID, MARKER_TYPE, ReaderTotals, Readers};
use senders::{Peers, Senders};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use workers::Workers;

/// How long the load runs before it is paused for a check.
const ROUND: Duration = Duration::from_secs(75);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How many problems are printed.
const MAX_PRINTED: usize = 20;

fn main() -> ExitCode {
    let kinds = match &*setting("SOAK_DATABASE", "both") {
        "postgres" => vec![Kind::Postgres],
        "sqlite" => vec![Kind::Sqlite],
        "both" => vec![Kind::Postgres, Kind::Sqlite],
        other => panic!("SOAK_DATABASE: {other:?} must be postgres, sqlite or both"),
    };
    let minutes: f64 = setting("SOAK_MINUTES", "30").parse().expect("SOAK_MINUTES: a number");
    let seed = setting("SOAK_SEED", &clock_seed().to_string());
    let seed: u64 = seed.parse().expect("SOAK_SEED: a whole number");
    println!("SOAK_SEED={seed} repeats this plan of faults");
    let each = Duration::from_secs_f64(minutes * 60.0 / kinds.len() as f64);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut problems = Vec::new();
    for kind in kinds {
        problems.extend(runtime.block_on(soak(kind, seed, each)));
    }
    if problems.is_empty() {
        println!(
            "no event lost or applied twice, no gap in versions, every state is the fold of its log; \
             every reader got every change, in one order; every sink has everything"
        );
        return ExitCode::SUCCESS;
    }
    println!("SOAK_SEED={seed}: {} problems", problems.len());
    ExitCode::FAILURE
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.into())
}

#[expect(clippy::disallowed_methods, reason = "a new seed for each run")]
fn clock_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Tests the services on one database; returns the problems.
async fn soak(kind: Kind, seed: u64, duration: Duration) -> Vec<String> {
    println!("\n{kind}: {:.1} min", duration.as_secs_f64() / 60.0);
    let start = Instant::now();
    let totals = Arc::new(Totals::default());
    let progress = Progress::start(Arc::clone(&totals), start);
    let mut soak = Soak::new(kind, seed, totals).await;
    let mut problems = Vec::new();
    let mut round = 0;
    while problems.is_empty() && (round == 0 || start.elapsed() < duration) {
        let until = (start + duration).min(Instant::now() + ROUND);
        problems.extend(soak.run_round(round, until).await);
        round += 1;
    }
    let Soak { environment, mut workers, totals, held, read, .. } = soak;
    let sinks = workers.summary();
    workers.end().await;
    problems.extend(environment.end().await);
    drop(progress);
    println!("{kind}: {} after {}, {round} checks", totals.summary(), minutes(start));
    println!(
        "  slowest response {:.2?}, slowest recovery {:.2?}",
        totals.slowest_response(),
        totals.slowest_recovery()
    );
    println!("  sessions that stay open: {}", held.summary());
    println!("  readers: {}", read.summary());
    println!("  sinks: {sinks}");
    problems.iter().take(MAX_PRINTED).for_each(|problem| println!("  {problem}"));
    problems
}

/// The soak of one database.
struct Soak {
    kind: Kind,
    seed: u64,
    environment: Environment,
    workers: Workers,
    plan: Plan,
    readers: Readers,
    /// How many changes there were at the last check.
    log: usize,
    totals: Arc<Totals>,
    held: Arc<HeldTotals>,
    read: Arc<ReaderTotals>,
}

impl Soak {
    async fn new(kind: Kind, seed: u64, totals: Arc<Totals>) -> Self {
        let (held, read) = <(Arc<HeldTotals>, Arc<ReaderTotals>)>::default();
        let readers = Readers::new(seed, &read);
        let (environment, plan) = (Environment::new(kind).await, Plan::new(seed, kind));
        let workers = Workers::new(environment.through()).await;
        Self { kind, seed, environment, workers, plan, readers, log: 0, totals, held, read }
    }

    /// Runs load and faults on new entities, then checks.
    async fn run_round(&mut self, round: u64, until: Instant) -> Vec<String> {
        let entity_type = format!("Soak{round}");
        let outcomes = Arc::new(OutcomeLog::new(Arc::clone(&self.totals)));
        let (seed, peers) = (self.seed ^ round << 32, self.environment.peers());
        let senders = Senders::start(&peers, &entity_type, seed, &outcomes);
        let holders = Holders::start(self.kind, &self.environment.url(), seed, &self.held);
        let readers = self.readers.start(&self.environment.addresses(), &entity_type, self.log);
        outcomes.wait_for_recovery("the start").await;
        while Instant::now() < until {
            let injection = self.plan.next();
            sleep(injection.pause.min(until.saturating_duration_since(Instant::now()))).await;
            self.inject(&injection, &entity_type, &outcomes).await;
        }
        senders.stop().await;
        holders.stop().await;
        self.readers = readers.read_to(send_marker(&peers).await).await;
        let url = self.environment.url().get();
        let mut problems = checker::problems(&outcomes, &url, &entity_type).await;
        let committed = checker::committed(&url).await;
        self.log = committed.len();
        problems.extend(self.readers.check(&committed));
        problems.extend(self.workers.check(&committed, &peers.rest).await);
        problems
    }

    async fn inject(&mut self, injection: &Injection, entity_type: &str, outcomes: &OutcomeLog) {
        self.totals.faults.fetch_add(1, Ordering::Relaxed);
        println!("          {injection}");
        let environment = self.environment.inject(injection, entity_type);
        tokio::join!(environment, self.workers.inject(injection));
        outcomes.wait_for_recovery(&injection.to_string()).await;
    }
}

/// Sends the event that is the last of the round; returns its version.
async fn send_marker(peers: &Peers) -> u64 {
    let marker = SentEvent::new(MARKER_TYPE, MARKER_ID, json!({}));
    let start = Instant::now();
    loop {
        match peers.rest.send(&marker).await {
            Outcome::Done { versions, .. } => return versions[0],
            other => assert!(start.elapsed() < DEADLINE, "the last event: {other:?}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn minutes(start: Instant) -> String {
    let seconds = start.elapsed().as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Prints the totals every few seconds until it is dropped.
struct Progress(JoinHandle<()>);

impl Progress {
    fn start(totals: Arc<Totals>, start: Instant) -> Self {
        Self(tokio::spawn(async move {
            loop {
                sleep(PROGRESS_INTERVAL).await;
                println!("[{:>6}] {}", minutes(start), totals.summary());
            }
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}
