//! `producer-bench changes`: measures the change feed in rounds, and writes the results after each cell.

mod backlog;
mod copy;
mod delivery;
mod history;
mod idle;
mod logs;
mod report;
mod setup;
mod steps;
mod targets;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use logs::{Log, Logs};
use producer_core::Clock;
use setup::Setup;
use steps::Step;
use tokio::time::timeout;

use crate::cells::{Interface, cell};
use crate::measure::{Bench, Times};
use crate::process::measure_into;
use crate::report::thousands;
use crate::results::{Measurement, Results};
use crate::rounds::Rounds;
use crate::{Result, begin, rounds};

const WARM_UP: Duration = Duration::from_secs(1);
/// The time after which no further cell is started.
const LIMIT: Duration = Duration::from_secs(11 * 60);
/// For one cell. A log is filled before.
const CELL_TIMEOUT: Duration = Duration::from_secs(180);

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this cell (repeatable); its results replace the previous ones
    #[arg(long, value_name = "CELL")]
    only: Vec<String>,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measured seconds per cell, after the warm-up
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rows of the large log; the backlog has a tenth of them, the small log a hundredth
    ///
    /// Fewer where the disk has no room for them; the report says how many there were.
    #[arg(long, value_name = "N", default_value = "10000000", value_parser = clap::value_parser!(u64).range(1000..))]
    rows: u64,
    /// The folder of the results
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    output: PathBuf,
}

/// Measures everything, or until SIGINT or SIGTERM; completed measurements are kept.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let steps = rounds::named(Step::all(), &args.only)?;
    measure_into(&args.output, measure_all(args, &steps)).await
}

/// The names of its cells.
pub(crate) fn cells() -> Vec<String> {
    rounds::names(&Step::all())
}

/// Renders the report of existing results again.
pub(crate) fn render(path: &Path) -> Result<()> {
    Results::render(path, report::document)
}

async fn measure_all(args: &Args, steps: &[Step]) -> Result<ExitCode> {
    let times = Times { warm_up: WARM_UP, measured: Duration::from_secs(args.seconds) };
    let bench = Bench::new(&[cell(Interface::Single, 1)], times)?;
    let mut setup = Setup { bench, logs: Logs::new(args.rows)? };
    let run = Clock::system().now().to_string();
    let what = format!(
        "{run}; {} rounds, each cell {} s; {} rows in the large log",
        args.rounds,
        args.seconds,
        thousands(setup.logs.rows(Log::Large) as f64)
    );
    let rounds = Rounds {
        output: &args.output,
        name: "changes",
        rounds: args.rounds,
        limit: LIMIT,
        report: report::document,
        targets: targets::to_text,
    };
    let names = rounds::names(steps);
    let only = !args.only.is_empty();
    let postgres = setup.bench.postgres.as_ref();
    let results = begin::results(&rounds.path(), &names, only, what, postgres).await?;
    rounds.measure(steps, &run, results, async |step| try_measure(&mut setup, step).await).await
}

async fn try_measure(setup: &mut Setup, step: Step) -> Result<Measurement> {
    if let Some(log) = step.log() {
        setup.log(log).await?;
    }
    setup.postgres()?.checkpoint().await?;
    let measured = async {
        match step {
            Step::Copy => copy::measure(setup).await,
            Step::Backlog(log) => backlog::measure(setup, log).await,
            Step::Delivery => delivery::at_half_load(setup).await,
            Step::DeliveryFrom(log) => delivery::behind(setup, log).await,
            Step::FanOut => delivery::fan_out(setup).await,
            Step::Writes(cell) => Ok(setup.bench.measure(&cell).await),
            Step::Idle(readers) => idle::measure(setup, readers).await,
            Step::History => history::measure(setup).await,
        }
    };
    timeout(CELL_TIMEOUT, measured).await.map_err(|_| "it took too long")?
}
