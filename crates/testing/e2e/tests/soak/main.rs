//! Soak test: load of every kind with random faults, and a check of the stored rows. `make soak`.
//!
//! Settings: `SOAK_MINUTES` (30, for all databases together), `SOAK_DATABASE` (`postgres`, `sqlite`
//! or `both`), `SOAK_SEED` (default: the clock). A seed repeats the plan of the faults and the events;
//! their timing depends on the machine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod calls;
mod checker;
mod environment;
mod faults;
mod outcomes;
mod random;
mod senders;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use environment::{Environment, Kind};
use faults::{Injection, Plan};
use outcomes::{OutcomeLog, Totals};
use senders::Senders;
use tokio::task::JoinHandle;
use tokio::time::sleep;

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
            "no event lost or applied twice, no gap in versions, every state is the fold of its log"
        );
        return ExitCode::SUCCESS;
    }
    println!("SOAK_SEED={seed}: {} problems", problems.len());
    problems.iter().take(MAX_PRINTED).for_each(|problem| println!("  {problem}"));
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

/// Tests both services on one database; returns the problems.
async fn soak(kind: Kind, seed: u64, duration: Duration) -> Vec<String> {
    println!("\n{kind}: {:.1} min", duration.as_secs_f64() / 60.0);
    let start = Instant::now();
    let totals = Arc::new(Totals::default());
    let progress = Progress::start(Arc::clone(&totals), start);
    let mut environment = Environment::new(kind).await;
    let mut plan = Plan::new(seed, kind);
    let mut problems = Vec::new();
    let mut round = 0;
    while problems.is_empty() && (round == 0 || start.elapsed() < duration) {
        let until = (start + duration).min(Instant::now() + ROUND);
        let found = run_round(&mut environment, &mut plan, &totals, (seed, round), until).await;
        problems.extend(found);
        round += 1;
    }
    problems.extend(environment.end().await);
    drop(progress);
    println!("{kind}: {} after {}, {round} checks", totals.summary(), minutes(start));
    println!(
        "  slowest response {:.2?}, slowest recovery {:.2?}",
        totals.slowest_response(),
        totals.slowest_recovery()
    );
    problems
}

/// Runs load and faults on new entities, then checks.
async fn run_round(
    environment: &mut Environment,
    plan: &mut Plan,
    totals: &Arc<Totals>,
    (seed, round): (u64, u64),
    until: Instant,
) -> Vec<String> {
    let entity_type = format!("Soak{round}");
    let outcomes = Arc::new(OutcomeLog::new(Arc::clone(totals)));
    let senders = Senders::start(&environment.peers(), &entity_type, seed ^ round << 32, &outcomes);
    outcomes.wait_for_recovery("the start").await;
    while Instant::now() < until {
        let injection = plan.next();
        sleep(injection.pause.min(until.saturating_duration_since(Instant::now()))).await;
        inject(environment, &injection, &entity_type, &outcomes).await;
    }
    senders.stop().await;
    checker::problems(&outcomes, environment.url(), &entity_type).await
}

async fn inject(
    environment: &mut Environment,
    injection: &Injection,
    entity_type: &str,
    outcomes: &OutcomeLog,
) {
    outcomes.totals.faults.fetch_add(1, Ordering::Relaxed);
    println!("          {injection}");
    environment.inject(injection, entity_type).await;
    outcomes.wait_for_recovery(&injection.to_string()).await;
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
