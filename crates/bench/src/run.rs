//! `producer-bench run`: measures the cells in rounds, and writes the results after each cell.

mod report;
mod targets;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use producer_core::Clock;

use crate::cells::{Cell, Selection, Store};
use crate::measure::{Bench, Times};
use crate::overload::setting;
use crate::process::measure_into;
use crate::progress::{Progress, failure};
use crate::report::{number, thousands};
use crate::results::{Measurement, Results};
use crate::{Result, begin};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fewer cells in two short rounds, less than three minutes
    #[arg(long)]
    quick: bool,
    /// Only this cell (repeatable); its results replace the previous ones
    #[arg(long, value_name = "CELL")]
    only: Vec<String>,
    /// Number of rounds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Measured seconds per cell, after the warm-up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// Only cells on this database
    #[arg(long, value_name = "DATABASE")]
    database: Option<Store>,
    /// A setting of PostgreSQL (repeatable): `commit_delay=2000` with `commit_siblings=0` is a slow disk
    #[arg(long = "postgres-set", value_name = "NAME=VALUE", value_parser = setting)]
    postgres_settings: Vec<(String, String)>,
    /// The folder of the results
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    output: PathBuf,
}

/// What a run will do.
struct Plan {
    cells: Vec<Cell>,
    rounds: u32,
    times: Times,
    /// Settings of PostgreSQL that differ from every run's.
    postgres_settings: Vec<(String, String)>,
    /// The time after which no further cell is started.
    limit: Duration,
    /// Whether the previous results of other cells are kept.
    keeps_others: bool,
    /// The path of the results without an extension.
    path: PathBuf,
}

impl Args {
    fn plan(&self) -> Result<Plan> {
        let selection =
            Selection { quick: self.quick, only: self.only.clone(), store: self.database };
        let (rounds, warm_up, seconds, limit) =
            if self.quick { (2, 500, 2, 170) } else { (3, 1000, 5, 35 * 60) };
        let measured = Duration::from_secs(self.seconds.unwrap_or(seconds));
        Ok(Plan {
            cells: selection.cells()?,
            rounds: self.rounds.unwrap_or(rounds),
            times: Times { warm_up: Duration::from_millis(warm_up), measured },
            postgres_settings: self.postgres_settings.clone(),
            limit: Duration::from_secs(limit),
            keeps_others: !self.only.is_empty(),
            path: self.output.join(if self.quick { "bench-quick" } else { "bench" }),
        })
    }
}

/// Measures everything, or until SIGINT or SIGTERM; completed measurements are kept.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let plan = args.plan()?;
    measure_into(&args.output, measure_all(&plan)).await
}

async fn measure_all(plan: &Plan) -> Result<ExitCode> {
    let run = Clock::system().now().to_string();
    let mut bench = Bench::new(&plan.cells, plan.times)?;
    if let Some(postgres) = &mut bench.postgres {
        postgres.set(&plan.postgres_settings).await?;
    }
    let names: Vec<_> = plan.cells.iter().map(ToString::to_string).collect();
    let what = format!(
        "{run}; {} rounds, each cell {} s after a warm-up of {} s",
        plan.rounds,
        plan.times.measured.as_secs_f64(),
        plan.times.warm_up.as_secs_f64()
    );
    let postgres = bench.postgres.as_ref();
    let mut results = begin::results(&plan.path, &names, plan.keeps_others, what, postgres).await?;
    let mut progress = Progress::new(plan.cells.len(), plan.rounds, plan.limit);
    for round in 1..=plan.rounds {
        for cell in &plan.cells {
            if progress.is_out_of_time() {
                println!("the time limit is reached; the remaining cells are skipped");
                return Ok(finish(plan, &results));
            }
            let measurement = bench.measure(cell).await;
            let (cell, run) = (cell.to_string(), run.clone());
            progress.print(round, &cell, &outcome(&measurement));
            results.measurements.push(Measurement { cell, run, round, ..measurement });
            write(plan, &results)?;
        }
    }
    Ok(finish(plan, &results))
}

fn write(plan: &Plan, results: &Results) -> Result<()> {
    results.write(&plan.path, &report::document(results))
}

fn finish(plan: &Plan, results: &Results) -> ExitCode {
    println!("\n{}", targets::to_text(&results.summaries()));
    println!("written: {}.{{html,md,json}}", plan.path.display());
    if results.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Renders the report of existing results again.
pub(crate) fn render(path: &Path) -> Result<()> {
    Results::render(path, report::document)
}

fn outcome(measurement: &Measurement) -> String {
    if let Some(error) = &measurement.error {
        return failure(error);
    }
    let rate = thousands(measurement.events_per_second);
    let latency = measurement.latency_us.map_or_else(String::new, |latency| {
        format!("p50 {:>6} ms  p99 {:>6} ms", number(latency.p50 / 1e3), number(latency.p99 / 1e3))
    });
    let refused = measurement.preconditions.map_or_else(String::new, |conditional| {
        format!(
            "  {} of {} refused with 412",
            conditional.failed,
            conditional.failed + conditional.met
        )
    });
    format!("{rate:>9} events/s  {latency}{refused}")
}
