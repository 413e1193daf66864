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
use crate::process::{raise_open_files, until_stopped};
use crate::progress::{Progress, failure};
use crate::report::{number, thousands};
use crate::results::{Measurement, Results};
use crate::slowdown::Calibration;
use crate::targets::MIB;
use crate::{Result, begin};

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
    let steps = Step::named(&args.only)?;
    raise_open_files()?;
    std::fs::create_dir_all(&args.output)?;
    until_stopped(measure_all(args, &steps)).await
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
    let (path, names) = (args.output.join("changes"), names(steps));
    let only = !args.only.is_empty();
    let mut results =
        begin::results(&path, &names, only, what, setup.bench.postgres.as_ref()).await?;
    let mut calibration = Calibration::default();
    let mut progress = Progress::new(steps.len(), args.rounds, LIMIT);
    for round in 1..=args.rounds {
        for &step in steps {
            if progress.is_out_of_time() {
                println!("the time limit is reached; the remaining cells are skipped");
                return Ok(finish(&path, &results));
            }
            let measurement = measure(&mut setup, step, &mut calibration).await;
            let cell = step.to_string();
            progress.print(round, &cell, &outcome(&measurement));
            let run = run.clone();
            results.measurements.push(Measurement { cell, run, round, ..measurement });
            results.write(&path, &report::document(&results))?;
        }
    }
    Ok(finish(&path, &results))
}

fn names(steps: &[Step]) -> Vec<String> {
    steps.iter().map(Step::to_string).collect()
}

fn finish(path: &Path, results: &Results) -> ExitCode {
    println!("\n{}", targets::to_text(&results.summaries()));
    println!("written: {}.{{html,md,json}}", path.display());
    if results.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Measures a step once the machine runs at full speed. An error becomes part of the measurement.
async fn measure(setup: &mut Setup, step: Step, calibration: &mut Calibration) -> Measurement {
    let before = calibration.wait_for_full_speed().await;
    let measurement = match try_measure(setup, step).await {
        Ok(measurement) => measurement,
        Err(error) => Measurement { error: Some(error.to_string()), ..Measurement::default() },
    };
    Measurement { slowdown: Some(before.max(calibration.slowdown().await)), ..measurement }
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

fn outcome(measurement: &Measurement) -> String {
    if let Some(error) = &measurement.error {
        return failure(error);
    }
    let rate = thousands(measurement.events_per_second);
    let latency = measurement.latency_us.map_or_else(String::new, |latency| {
        format!(
            "  p50 {:>6} ms  p99 {:>6} ms",
            number(latency.p50 / 1e3),
            number(latency.p99 / 1e3)
        )
    });
    let peak = measurement
        .peak_memory_bytes
        .map_or_else(String::new, |bytes| format!("  peak {} MiB", number(bytes as f64 / MIB)));
    format!("{rate:>9}/s{latency}{peak}")
}
