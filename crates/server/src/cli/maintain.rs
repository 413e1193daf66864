//! `migrate`, `rebuild` and `prune`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use producer_core::Clock;
use producer_maintenance::{Database, MaintenanceError, News, adopt, migrate, prune, rebuild};

use super::Failure;
use super::line::Migrate;
use crate::settings::Settings;

/// The exit status where differences were found and not mended.
const DIFFERS: u8 = 1;

/// The exit status where something was left alone.
const LEFT: u8 = 3;

/// How often progress is told where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl From<MaintenanceError> for Failure {
    fn from(error: MaintenanceError) -> Self {
        Self::new(error)
    }
}

pub(super) async fn migrate(
    database: &Database,
    command: Migrate,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    match command {
        Migrate::Up => {
            migrate::up(database).await?;
            println!("{database} is up to date");
        }
        Migrate::Down { to } => {
            migrate::down(database, to).await?;
            println!("{database} is at {to}");
        }
        Migrate::Status => print_status(&migrate::status(database).await?),
        Migrate::Adopt => return adopt(database, settings.max_entity_bytes).await,
    }
    Ok(ExitCode::SUCCESS)
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

async fn adopt(database: &Database, max_entity_bytes: usize) -> Result<ExitCode, Failure> {
    let mut progress = Progress::new();
    let tell = &mut |news| progress.tell(news);
    let summary = adopt::adopt(database, max_entity_bytes, &Clock::system(), tell).await?;
    progress.finish();
    if !summary.found {
        println!("there is no table car_entities to adopt");
        return Ok(ExitCode::SUCCESS);
    }
    let adopt::Summary { adopted, left, .. } = summary;
    println!("{adopted} rows adopted, {left} left; the table is now car_entities_adopted");
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::from(LEFT) })
}

pub(super) async fn rebuild(database: &Database, write: bool) -> Result<ExitCode, Failure> {
    let mut progress = Progress::new();
    let summary = rebuild::rebuild(database, write, &mut |news| progress.tell(news)).await?;
    progress.finish();
    let rebuild::Summary { entities, differing, mended, unexplained } = summary;
    println!("{entities} entities, {differing} differ, {mended} mended, {unexplained} unexplained");
    Ok(match summary {
        _ if unexplained > 0 => ExitCode::from(LEFT),
        _ if differing > mended => ExitCode::from(DIFFERS),
        _ => ExitCode::SUCCESS,
    })
}

pub(super) async fn prune(database: &Database, older_than: Duration) -> Result<ExitCode, Failure> {
    let mut progress = Progress::new();
    let tell = &mut |news| progress.tell(news);
    let summary = prune::prune(database, older_than, &Clock::system(), tell).await?;
    progress.finish();
    let prune::Summary { deleted, rebased, left } = summary;
    println!("{deleted} log entries deleted, {rebased} entities got a base entry, {left} left");
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::from(LEFT) })
}

/// A bar on a terminal, else a line now and then on standard error. What is listed goes to standard
/// output.
struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    told: Instant,
}

impl Progress {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let on_terminal = std::io::stderr().is_terminal();
        let bar = on_terminal.then(|| ProgressBar::new(0).with_style(style));
        Self { bar, total: 0, told: Instant::now() }
    }

    fn tell(&mut self, news: News) {
        match (news, &self.bar) {
            (News::Line(line), Some(bar)) => bar.suspend(|| println!("{line}")),
            (News::Line(line), None) => println!("{line}"),
            (News::Total(total), Some(bar)) => bar.set_length(total),
            (News::Total(total), None) => self.total = total,
            (News::Done(done), Some(bar)) => bar.set_position(done),
            (News::Done(done), None) if self.told.elapsed() >= TELL_EVERY => {
                self.told = Instant::now();
                eprintln!("{done} of {}", self.total);
            }
            (News::Done(_), None) => {}
        }
    }

    fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
