//! The benchmark: the same durable work through `producer` and on PostgreSQL directly, side by side.
//! `make bench` runs all of it, `make bench-quick` the part that is worth running every day.
//! `load-test/run.sh` runs the load test with k6.

mod baselines;
mod begin;
mod ceiling;
mod cells;
mod changes;
mod events;
mod finding;
mod generator;
mod load;
mod machine;
mod measure;
mod meter;
mod overload;
mod postgres;
mod prepare;
mod process;
mod procfs;
mod progress;
mod report;
mod results;
mod rounds;
mod run;
mod saved;
mod service;
mod slowdown;
mod statement;
mod targets;
mod worker;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// An error ends the command, or fails the cell, with its text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures producer beside PostgreSQL used directly
#[derive(Debug, Parser)]
#[command(name = "producer-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure cells, and write the results as a Markdown table, JSON and an HTML page
    Run(run::Args),
    /// Measure the change feed, beside COPY and beside services without readers
    Changes(changes::Args),
    /// Measure lists, indexes and search beside pgbench, and what they cost writers
    Finding(finding::Args),
    /// Measure the worker, beside Debezium, bulks and NDJSON
    Worker(worker::Args),
    /// Offer three times the load that saturates the services, and measure what they still do
    Overload(overload::Args),
    /// Drive the services with k6, check the database afterwards, and write a report
    Load(load::Args),
    /// Measure PostgreSQL's CPU per event, without HTTP: batches through the store's writer
    Statement(statement::Args),
    /// Keep a copy of the results of a run as a baseline
    ///
    /// It goes into the folder `baselines` beside the results. An older one with its name is replaced.
    Save(saved::SaveArgs),
    /// Compare the results of a run with a baseline, cell by cell
    ///
    /// Writes the report beside the results, as `compare-NAME.{html,md}`. The runs were measured at
    /// different times, and the machine may have been faster at one of them. So a cell counts as
    /// slower or faster only if every round of one run is beyond every round of the other, and beyond
    /// what pgbench and COPY, which run none of our code, changed meanwhile. The exit status doesn't
    /// depend on the outcome.
    Compare(saved::CompareArgs),
    /// List the cells of `run`, `changes`, `finding` and `worker`; those of `run --quick` are marked
    List,
    /// Render the report of existing results again
    Report {
        /// The JSON file: of `run`, changes.json, finding.json, worker.json, or overload.json
        #[arg(default_value = "bench/results/bench.json")]
        results: PathBuf,
    },
    /// Serve the real routes over a store that keeps nothing
    #[command(hide = true, subcommand)]
    Ceiling(Box<ceiling::Ceiling>),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    // as the services do it
    if let Command::Ceiling(ceiling) = command {
        let runtime = producer_server::connections_runtime()?;
        return runtime.block_on(ceiling::serve(*ceiling)).map(|()| ExitCode::SUCCESS);
    }
    // one thread, so that the load generator takes as little CPU as possible from what is measured
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(execute(command)))
}

async fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => return run::run(&args).await,
        Command::Changes(args) => return changes::run(&args).await,
        Command::Finding(args) => return finding::run(&args).await,
        Command::Worker(args) => return worker::run(&args).await,
        Command::Overload(args) => return overload::run(&args).await,
        Command::Load(args) => return load::run(&args).await,
        Command::Save(args) => saved::save(&args)?,
        Command::Compare(args) => saved::compare(&args)?,
        Command::Statement(args) => statement::run(&args).await?,
        Command::List => list(),
        Command::Report { results } => render(&results)?,
        Command::Ceiling(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the cells of each command.
fn list() {
    println!("run");
    for cell in cells::all() {
        println!("  {cell}{}", if cell.quick { "  (quick)" } else { "" });
    }
    let others =
        [("changes", changes::cells()), ("finding", finding::cells()), ("worker", worker::cells())];
    for (command, cells) in others {
        println!("{command}");
        for cell in cells {
            println!("  {cell}");
        }
    }
}

/// Renders the report of the command that a file of results is named after.
fn render(results: &Path) -> Result<()> {
    match results.file_stem().and_then(OsStr::to_str) {
        Some("overload") => overload::render(results),
        Some("changes") => changes::render(results),
        Some("finding") => finding::render(results),
        Some("worker") => worker::render(results),
        _ => run::render(results),
    }
}

/// A different seed for each generator of this process, so that no two send the same events.
fn next_seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
