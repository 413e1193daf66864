//! `producer-bench run`: measures the cells in rounds, and writes the results after each cell.

mod report;
mod targets;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use producer_core::Clock;

use crate::Result;
use crate::cells::{Cell, Selection, Store};
use crate::machine::{self, LoadAverage};
use crate::measure::{Bench, Times};
use crate::process::{raise_open_files, until_stopped};
use crate::report::{number, thousands};
use crate::results::{Measurement, Results};

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
    /// The folder of the results
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    output: PathBuf,
}

/// What a run will do.
struct Plan {
    cells: Vec<Cell>,
    rounds: u32,
    times: Times,
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
            limit: Duration::from_secs(limit),
            keeps_others: !self.only.is_empty(),
            path: self.output.join(if self.quick { "bench-quick" } else { "bench" }),
        })
    }
}

/// Measures everything, or until SIGINT or SIGTERM; completed measurements are kept.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let plan = args.plan()?;
    raise_open_files()?;
    std::fs::create_dir_all(&args.output)?;
    until_stopped(measure_all(&plan)).await
}

async fn measure_all(plan: &Plan) -> Result<ExitCode> {
    let run = Clock::system().now().to_string();
    let mut bench = Bench::new(&plan.cells, plan.times)?;
    let mut results = initial_results(plan, &bench, &run).await?;
    let mut progress = Progress::new(plan);
    for round in 1..=plan.rounds {
        for cell in &plan.cells {
            if progress.is_out_of_time() {
                println!("the time limit is reached; the remaining cells are skipped");
                return Ok(finish(plan, &results));
            }
            let measurement = bench.measure(cell).await;
            progress.print(round, cell, &measurement);
            let (cell, run) = (cell.to_string(), run.clone());
            results.measurements.push(Measurement { cell, run, round, ..measurement });
            write(plan, &results)?;
        }
    }
    Ok(finish(plan, &results))
}

async fn initial_results(plan: &Plan, bench: &Bench, run: &str) -> Result<Results> {
    let mut results = if plan.keeps_others {
        Results::read(&plan.path.with_extension("json"))
    } else {
        Results::default()
    };
    let what = format!(
        "{run}; {} rounds, each cell {} s after a warm-up of {} s",
        plan.rounds,
        plan.times.measured.as_secs_f64(),
        plan.times.warm_up.as_secs_f64()
    );
    if results.measurements.is_empty() {
        results.facts = machine::facts(bench.postgres.as_ref(), LoadAverage::now()).await?;
        results.facts.insert(0, ("run".to_owned(), what));
    } else {
        let names: Vec<_> = plan.cells.iter().map(ToString::to_string).collect();
        results.facts.push(("measured again".to_owned(), format!("{}: {what}", names.join(" "))));
    }
    for cell in &plan.cells {
        results.remove(&cell.to_string());
    }
    Ok(results)
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

/// Prints the progress of a run.
struct Progress {
    start: Instant,
    limit: Duration,
    rounds: u32,
    done: usize,
    all: usize,
}

impl Progress {
    fn new(plan: &Plan) -> Self {
        let all = plan.cells.len() * plan.rounds as usize;
        Self { start: Instant::now(), limit: plan.limit, rounds: plan.rounds, done: 0, all }
    }

    /// The average time per cell so far.
    fn time_per_cell(&self) -> Duration {
        self.start.elapsed() / u32::try_from(self.done.max(1)).unwrap_or(u32::MAX)
    }

    fn is_out_of_time(&self) -> bool {
        self.done > 0 && self.start.elapsed() + self.time_per_cell() > self.limit
    }

    fn print(&mut self, round: u32, cell: &Cell, measurement: &Measurement) {
        self.done += 1;
        let left = self.time_per_cell() * u32::try_from(self.all - self.done).unwrap_or(u32::MAX);
        let left = left.min(self.limit.saturating_sub(self.start.elapsed())).as_secs();
        let cell = cell.to_string();
        println!(
            "[{:>3}/{}] round {round} of {}  {cell:<18} {}  {}m {:02}s left",
            self.done,
            self.all,
            self.rounds,
            outcome(measurement),
            left / 60,
            left % 60
        );
    }
}

fn outcome(measurement: &Measurement) -> String {
    if let Some(error) = &measurement.error {
        let line = error.replace('\n', " ");
        return format!("FAILED: {}", line.chars().take(200).collect::<String>());
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
