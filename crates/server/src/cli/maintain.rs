//! `migrate`, `rebuild` and `prune`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use producer_core::Clock;
use producer_maintenance::migrate::OtherSessions;
use producer_maintenance::{Database, Progress, adopt, epoch, migrate, prune, rebuild};

use super::args::Migrate;
use super::confirm::{Consent, ask};
use super::error::ExitError;
use crate::settings::Settings;

/// The exit status where differences were found and not repaired.
const DIFFERS: u8 = 1;

/// The exit status where something was skipped.
const SKIPPED: u8 = 3;

/// How often progress is reported where there is no terminal.
const REPORT_EVERY: Duration = Duration::from_secs(10);

pub(super) async fn migrate(
    database: &Database,
    command: Migrate,
    settings: &Settings,
) -> Result<ExitCode, ExitError> {
    match command {
        Migrate::Up => {
            migrate::up_reporting(database, &mut |line| eprintln!("{line}")).await?;
            println!("{database} is up to date");
        }
        Migrate::Down { to, dry_run, yes, force } => {
            let others = if force { OtherSessions::Ignore } else { OtherSessions::Refuse };
            down(database, to, others, Consent { dry_run, yes }).await?;
        }
        Migrate::NewEpoch { yes } => new_epoch(database, yes).await?,
        Migrate::Status => print_status(&migrate::status(database).await?),
        Migrate::Adopt => return adopt(database, settings.common.max_entity_bytes).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn down(
    database: &Database,
    to: i64,
    others: OtherSessions,
    consent: Consent,
) -> Result<(), ExitError> {
    let plan = migrate::plan_down(database, to).await?;
    if consent.dry_run {
        print_plan(&plan);
        return Ok(());
    }
    if !plan.steps.is_empty() {
        if others == OtherSessions::Refuse {
            plan.check_unused()?;
        }
        let tables: Vec<_> =
            plan.tables.iter().map(|table| format!("{} ({})", table.name, table.rows)).collect();
        consent.confirm(&format!(
            "reverts {} step(s) of {database} and deletes the tables {}",
            plan.steps.len(),
            tables.join(", ")
        ))?;
        migrate::down_reporting(database, to, others, &mut |line| eprintln!("{line}")).await?;
    }
    println!("{database} is at {to}");
    Ok(())
}

fn print_plan(plan: &migrate::DownPlan) {
    if plan.steps.is_empty() {
        println!("there is nothing to revert");
    }
    for step in &plan.steps {
        println!("would revert {} {}", step.version, step.description);
    }
    for table in &plan.tables {
        println!("would delete the table {} with {}", table.name, table.rows);
    }
    for session in &plan.sessions {
        println!("in use by: {session}");
    }
}

fn print_status(steps: &[migrate::Step]) {
    for step in steps {
        let state = match (step.applied, step.known) {
            (None, _) => "pending".to_owned(),
            (Some(when), true) => format!("applied {}", when.format("%Y-%m-%dT%H:%M:%SZ")),
            (Some(when), false) => {
                format!("applied {} by a newer release", when.format("%Y-%m-%dT%H:%M:%SZ"))
            }
        };
        println!("{} {} {state}", step.version, step.description);
    }
}

async fn new_epoch(database: &Database, yes: bool) -> Result<(), ExitError> {
    if !yes {
        ask(
            &format!("ends the tokens of all readers of changes of {database}"),
            "--yes to confirm",
        )?;
    }
    epoch::renew(database).await?;
    println!("the log of {database} has a new epoch: tokens from before are gone");
    Ok(())
}

async fn adopt(database: &Database, max_entity_bytes: usize) -> Result<ExitCode, ExitError> {
    let mut reporter = ProgressReporter::new();
    let report = &mut |progress| reporter.report(progress);
    let summary = adopt::adopt(database, max_entity_bytes, &Clock::system(), report).await?;
    reporter.finish();
    if !summary.found {
        println!("there is no table car_entities to adopt");
        return Ok(ExitCode::SUCCESS);
    }
    let adopt::Summary { adopted, skipped, .. } = summary;
    println!("{adopted} rows adopted, {skipped} skipped; the table is now car_entities_adopted");
    Ok(if skipped == 0 { ExitCode::SUCCESS } else { ExitCode::from(SKIPPED) })
}

pub(super) async fn rebuild(database: &Database, write: bool) -> Result<ExitCode, ExitError> {
    let mut reporter = ProgressReporter::new();
    let summary =
        rebuild::rebuild(database, write, &mut |progress| reporter.report(progress)).await?;
    reporter.finish();
    let rebuild::Summary { entities, differing, repaired, unexplained, rows } = summary;
    println!(
        "{entities} entities, {differing} differ, {repaired} repaired, {unexplained} unexplained; \
         {} rows of indexes and search differ, {} repaired",
        rows.differing, rows.repaired
    );
    Ok(match summary {
        _ if unexplained > 0 => ExitCode::from(SKIPPED),
        _ if differing > repaired || rows.differing > rows.repaired => ExitCode::from(DIFFERS),
        _ => ExitCode::SUCCESS,
    })
}

pub(super) async fn prune(
    database: &Database,
    scope: prune::Scope,
    consent: Consent,
) -> Result<ExitCode, ExitError> {
    let clock = Clock::system();
    if consent.dry_run || !consent.yes {
        let mut reporter = ProgressReporter::new();
        let report = &mut |progress| reporter.report(progress);
        let found = prune::survey(database, scope, &clock, report).await?;
        reporter.finish();
        let prune::Summary { deleted, checkpointed, removed, skipped } = found;
        if consent.dry_run {
            println!(
                "{deleted} log entries would be deleted, {checkpointed} entities would get a checkpoint, \
                 {removed} deleted entities would be removed, {skipped} skipped"
            );
            return Ok(unless_skipped(found));
        }
        if deleted + removed > 0 {
            let entities = checkpointed + removed;
            consent.confirm(&format!(
                "deletes {deleted} log entries of {entities} entities from {database}"
            ))?;
        }
    }
    let mut reporter = ProgressReporter::new();
    let report = &mut |progress| reporter.report(progress);
    let summary = prune::prune(database, scope, &clock, report).await?;
    reporter.finish();
    let prune::Summary { deleted, checkpointed, removed, skipped } = summary;
    println!(
        "{deleted} log entries deleted, {checkpointed} entities got a checkpoint, \
         {removed} deleted entities removed, {skipped} skipped"
    );
    Ok(unless_skipped(summary))
}

fn unless_skipped(summary: prune::Summary) -> ExitCode {
    if summary.skipped == 0 { ExitCode::SUCCESS } else { ExitCode::from(SKIPPED) }
}

/// A progress bar on a terminal, else a line now and then on standard error. Listed rows go to standard
/// output.
struct ProgressReporter {
    bar: Option<ProgressBar>,
    total: u64,
    reported_at: Instant,
}

impl ProgressReporter {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let on_terminal = std::io::stderr().is_terminal();
        let bar = on_terminal.then(|| ProgressBar::new(0).with_style(style));
        Self { bar, total: 0, reported_at: Instant::now() }
    }

    fn report(&mut self, progress: Progress) {
        match (progress, &self.bar) {
            (Progress::Line(line), Some(bar)) => bar.suspend(|| println!("{line}")),
            (Progress::Line(line), None) => println!("{line}"),
            (Progress::Warning(line), Some(bar)) => bar.suspend(|| eprintln!("warning: {line}")),
            (Progress::Warning(line), None) => eprintln!("warning: {line}"),
            (Progress::Total(total), Some(bar)) => bar.set_length(total),
            (Progress::Total(total), None) => self.total = total,
            (Progress::Done(done), Some(bar)) => bar.set_position(done),
            (Progress::Done(done), None) if self.reported_at.elapsed() >= REPORT_EVERY => {
                self.reported_at = Instant::now();
                eprintln!("{done} of {}", self.total);
            }
            (Progress::Done(_), None) => {}
        }
    }

    fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
