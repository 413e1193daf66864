//! A soak: load of every kind and faults at random, and the judge of what was heard. `make soak`.
//!
//! Settings: `SOAK_MINUTES` (30, for all databases together), `SOAK_DATABASE` (`postgres`, `sqlite`
//! or `both`), `SOAK_SEED` (the clock's). A seed repeats the plan of the faults and what the senders
//! make; what meets what is up to the machine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod calls;
mod faults;
mod judge;
mod ledger;
mod random;
mod scene;
mod senders;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use faults::{Blow, Plan};
use ledger::{Ledger, Totals};
use scene::{Kind, Scene};
use senders::Senders;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// After so long the load pauses, and what was heard since the last pause is held against what is
/// stored.
const CHAPTER: Duration = Duration::from_secs(75);
const PROGRESS: Duration = Duration::from_secs(5);
/// Findings that are printed.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    let kinds = match &*setting("SOAK_DATABASE", "both") {
        "postgres" => vec![Kind::Postgres],
        "sqlite" => vec![Kind::Sqlite],
        "both" => vec![Kind::Postgres, Kind::Sqlite],
        other => panic!("SOAK_DATABASE: {other:?} is none of postgres, sqlite, both"),
    };
    let minutes: f64 = setting("SOAK_MINUTES", "30").parse().expect("SOAK_MINUTES: a number");
    let seed = setting("SOAK_SEED", &clock_seed().to_string());
    let seed: u64 = seed.parse().expect("SOAK_SEED: a whole number");
    println!("SOAK_SEED={seed} repeats this plan of faults");
    let each = Duration::from_secs_f64(minutes * 60.0 / kinds.len() as f64);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut findings = Vec::new();
    for kind in kinds {
        findings.extend(runtime.block_on(soak(kind, seed, each)));
    }
    if findings.is_empty() {
        println!("nothing lost, nothing twice, no gap, every state the fold of its log");
        return ExitCode::SUCCESS;
    }
    println!("SOAK_SEED={seed}: {} findings", findings.len());
    findings.iter().take(SHOWN).for_each(|finding| println!("  {finding}"));
    ExitCode::FAILURE
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.into())
}

#[expect(clippy::disallowed_methods, reason = "a seed that no earlier run had")]
fn clock_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Soaks both services on one database, and returns what is wrong.
async fn soak(kind: Kind, seed: u64, lasts: Duration) -> Vec<String> {
    println!("\n{kind}: {:.1} min", lasts.as_secs_f64() / 60.0);
    let start = Instant::now();
    let totals = Arc::new(Totals::default());
    let progress = Progress::start(Arc::clone(&totals), start);
    let mut scene = Scene::new(kind).await;
    let mut plan = Plan::new(seed, kind);
    let mut findings = Vec::new();
    let mut chapter = 0;
    while findings.is_empty() && (chapter == 0 || start.elapsed() < lasts) {
        let until = (start + lasts).min(Instant::now() + CHAPTER);
        let found = one_chapter(&mut scene, &mut plan, &totals, (seed, chapter), until).await;
        findings.extend(found);
        chapter += 1;
    }
    findings.extend(scene.end().await);
    drop(progress);
    println!("{kind}: {} after {}, {chapter} checks", totals.line(), minutes(start));
    println!(
        "  longest answer {:.2?}, longest recovery {:.2?}",
        totals.longest(),
        totals.recovery()
    );
    findings
}

/// Load and faults for a while, on entities of its own; then the check.
async fn one_chapter(
    scene: &mut Scene,
    plan: &mut Plan,
    totals: &Arc<Totals>,
    (seed, chapter): (u64, u64),
    until: Instant,
) -> Vec<String> {
    let entity_type = format!("Soak{chapter}");
    let ledger = Arc::new(Ledger::new(Arc::clone(totals)));
    let senders = Senders::start(&scene.peers(), &entity_type, seed ^ chapter << 32, &ledger);
    ledger.recovered("the services serve").await;
    while Instant::now() < until {
        let blow = plan.next_blow();
        sleep(blow.pause.min(until.saturating_duration_since(Instant::now()))).await;
        strike(scene, &blow, &entity_type, &ledger).await;
    }
    senders.stop().await;
    judge::findings(&ledger, scene.url(), &entity_type).await
}

async fn strike(scene: &mut Scene, blow: &Blow, entity_type: &str, ledger: &Ledger) {
    ledger.totals.faults.fetch_add(1, Ordering::Relaxed);
    println!("          {blow}");
    scene.suffer(blow, entity_type).await;
    ledger.recovered(&blow.to_string()).await;
}

fn minutes(start: Instant) -> String {
    let seconds = start.elapsed().as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Tells every few seconds how it stands, until it is dropped.
struct Progress(JoinHandle<()>);

impl Progress {
    fn start(totals: Arc<Totals>, start: Instant) -> Self {
        Self(tokio::spawn(async move {
            loop {
                sleep(PROGRESS).await;
                println!("[{:>6}] {}", minutes(start), totals.line());
            }
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}
