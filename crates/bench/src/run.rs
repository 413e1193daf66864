//! A run: rounds over the cells, each result written down at once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use producer_core::Clock;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::cells::{Cell, Selection, Store};
use crate::measure::{Bench, Times};
use crate::report::{Document, number, thousands};
use crate::results::{Measurement, Results, write_whole};
use crate::{Result, machine, summary};

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The quick form: fewer cells, two short rounds, below three minutes
    #[arg(long)]
    quick: bool,
    /// This cell alone (may be said again); its results take the place of the former ones
    #[arg(long, value_name = "CELL")]
    only: Vec<String>,
    /// How many times each cell is measured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds that each measurement takes, after its warm-up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// Cells on this database alone
    #[arg(long, value_name = "DATABASE")]
    database: Option<DatabaseArg>,
    /// Where results go
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    output: PathBuf,
}

/// One of the databases.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DatabaseArg {
    Postgres,
    Sqlite,
}

/// What a run is going to do.
struct Plan {
    cells: Vec<Cell>,
    rounds: u32,
    times: Times,
    /// It stops before a cell that wouldn't end in time.
    limit: Duration,
    /// Whether former results of other cells stay.
    adds: bool,
    /// Results without their ending.
    results: PathBuf,
}

impl RunArgs {
    fn plan(&self) -> Result<Plan> {
        let store = self.database.map(|database| match database {
            DatabaseArg::Postgres => Store::Postgres,
            DatabaseArg::Sqlite => Store::Sqlite,
        });
        let selection = Selection { quick: self.quick, only: self.only.clone(), store };
        let (rounds, warm_up, seconds, limit) =
            if self.quick { (2, 500, 2, 170) } else { (3, 1000, 5, 29 * 60) };
        let measured = Duration::from_secs(self.seconds.unwrap_or(seconds));
        Ok(Plan {
            cells: selection.cells()?,
            rounds: self.rounds.unwrap_or(rounds),
            times: Times { warm_up: Duration::from_millis(warm_up), measured },
            limit: Duration::from_secs(limit),
            adds: !self.only.is_empty(),
            results: self.output.join(if self.quick { "bench-quick" } else { "bench" }),
        })
    }
}

/// Runs until all is measured, or until the process is told to stop; what is finished stays.
pub(crate) async fn run(args: &RunArgs) -> Result<ExitCode> {
    let plan = args.plan()?;
    std::fs::create_dir_all(&args.output)?;
    until_stopped(measure_all(&plan)).await
}

/// Lets measurements go on until they end or the process is told to stop.
pub(crate) async fn until_stopped(
    measurements: impl Future<Output = Result<ExitCode>>,
) -> Result<ExitCode> {
    allow_many_connections();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = measurements => ended,
        _ = interrupt.recv() => Ok(stopped()),
        _ = terminate.recv() => Ok(stopped()),
    }
}

/// Thousands of connections are more files than many shells allow at first. Where the system allows no
/// more, the cell that needs them says so.
fn allow_many_connections() {
    let now = getrlimit(Resource::Nofile);
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, ..now });
}

fn stopped() -> ExitCode {
    println!("stopped; what is finished is written");
    ExitCode::from(130)
}

async fn measure_all(plan: &Plan) -> Result<ExitCode> {
    let run = Clock::system().now().to_string();
    let mut bench = Bench::new(&plan.cells, plan.times)?;
    let mut results = first_results(plan, &bench, &run).await?;
    let mut progress = Progress::new(plan);
    for round in 1..=plan.rounds {
        for cell in &plan.cells {
            if progress.is_too_late() {
                println!("no time is left for more; this was all");
                return finish(plan, &results);
            }
            let measurement = bench.measure(cell).await;
            progress.tell(round, cell, &measurement);
            let (cell, run) = (cell.to_string(), run.clone());
            results.measurements.push(Measurement { cell, run, round, ..measurement });
            write(plan, &results)?;
        }
    }
    finish(plan, &results)
}

async fn first_results(plan: &Plan, bench: &Bench, run: &str) -> Result<Results> {
    let former = if plan.adds { Results::read(&json(plan)) } else { Results::default() };
    let mut results = former;
    let what = format!(
        "{run}; rounds: {}, each cell {} s after a warm-up of {} s",
        plan.rounds,
        plan.times.measured.as_secs_f64(),
        plan.times.warm_up.as_secs_f64()
    );
    if results.measurements.is_empty() {
        results.facts = machine::facts(bench.postgres.as_ref()).await?;
        results.facts.insert(0, ("run".to_owned(), what));
    } else {
        let names: Vec<_> = plan.cells.iter().map(ToString::to_string).collect();
        results.facts.push(("measured anew".to_owned(), format!("{}: {what}", names.join(" "))));
    }
    for cell in &plan.cells {
        results.forget(&cell.to_string());
    }
    Ok(results)
}

fn json(plan: &Plan) -> PathBuf {
    plan.results.with_extension("json")
}

fn write(plan: &Plan, results: &Results) -> Result<()> {
    write_files(&plan.results, results, &summary::document(results))
}

/// Writes results and their report beside each other.
pub(crate) fn write_files(path: &Path, results: &Results, report: &Document) -> Result<()> {
    results.write(&path.with_extension("json"))?;
    write_whole(&path.with_extension("md"), report.to_markdown().as_bytes())?;
    write_whole(&path.with_extension("html"), report.to_html().as_bytes())
}

fn finish(plan: &Plan, results: &Results) -> Result<ExitCode> {
    println!("\n{}", figures_text(results));
    println!("written: {}.{{html,md,json}}", plan.results.display());
    let failed = results.measurements.iter().any(|measurement| measurement.error.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The table of figures, for the terminal.
fn figures_text(results: &Results) -> String {
    let table = crate::figures::table(&results.summaries());
    let measured = table.rows.iter().filter(|row| row[4].text != "–");
    let lines = measured.map(|row| {
        let [name, against, asked, _, seen, verdict] = [0, 1, 2, 3, 4, 5].map(|at| &row[at].text);
        format!("{name:<40} {against:<30} {asked:>10} {seen:>10}  {verdict}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Renders the report of results that are on disk.
pub(crate) fn render(path: &Path) -> Result<()> {
    let results = Results::read(path);
    if results.measurements.is_empty() {
        return Err(format!("{} holds no results", path.display()).into());
    }
    write_files(path, &results, &summary::document(&results))
}

/// Tells how far a run has come.
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

    /// What a cell took up to now, on average.
    fn pace(&self) -> Duration {
        self.start.elapsed() / u32::try_from(self.done.max(1)).unwrap_or(u32::MAX)
    }

    fn is_too_late(&self) -> bool {
        self.done > 0 && self.start.elapsed() + self.pace() > self.limit
    }

    fn tell(&mut self, round: u32, cell: &Cell, measurement: &Measurement) {
        self.done += 1;
        let left = self.pace() * u32::try_from(self.all - self.done).unwrap_or(u32::MAX);
        let left = left.min(self.limit.saturating_sub(self.start.elapsed())).as_secs();
        let cell = cell.to_string();
        println!(
            "[{:>3}/{}] round {round} of {}  {cell:<18} {}  {}m {:02}s left",
            self.done,
            self.all,
            self.rounds,
            seen(measurement),
            left / 60,
            left % 60
        );
    }
}

fn seen(measurement: &Measurement) -> String {
    if let Some(error) = &measurement.error {
        let line = error.replace('\n', " ");
        return format!("FAILED: {}", line.chars().take(200).collect::<String>());
    }
    let rate = thousands(measurement.events_per_second);
    let latency = measurement.latency_us.map_or_else(String::new, |latency| {
        format!("p50 {:>6} ms  p99 {:>6} ms", number(latency.p50 / 1e3), number(latency.p99 / 1e3))
    });
    format!("{rate:>9} events/s  {latency}")
}
