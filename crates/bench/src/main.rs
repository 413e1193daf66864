//! The benchmark: the same durable work through `producer` and straight onto PostgreSQL, side by
//! side. `make bench` runs all of it, `make bench-quick` what is worth a look every day. And the
//! load test with k6, `load-test/run.sh`.

mod ceiling;
mod cells;
mod contenders;
mod events;
mod figures;
mod generator;
mod load;
mod machine;
mod measure;
mod meter;
mod overload;
mod pace;
mod postgres;
mod prepare;
mod report;
mod results;
mod run;
mod sample;
mod service;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// What can go wrong here ends the tool, or the cell, with its text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures producer beside PostgreSQL used directly
#[derive(Debug, Parser)]
#[command(name = "producer-bench")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and write a Markdown table, JSON and an HTML page
    Run(run::RunArgs),
    /// Ask for three times what the services carry, and see what is left of it
    Overload(overload::Args),
    /// Let k6 drive the services, check the database afterwards, and draw a report
    Load(load::Args),
    /// List the cells; those of the quick form are marked
    List,
    /// Draw the report of results anew
    Report {
        /// The JSON file
        #[arg(default_value = "bench/results/bench.json")]
        results: PathBuf,
    },
    /// Serve the real routes over a store that keeps nothing
    #[command(hide = true, subcommand)]
    Ceiling(Box<ceiling::Ceiling>),
}

fn main() -> ExitCode {
    match dispatch(Line::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        // one thread, so that the load takes as little as possible from what is measured
        Command::Run(args) => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(LocalSet::new().run_until(run::run(&args)))
        }
        Command::Overload(args) => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(LocalSet::new().run_until(overload::run(&args)))
        }
        Command::Load(args) => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let passed = runtime.block_on(load::run(&args))?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::List => {
            for cell in cells::all() {
                println!("{cell}{}", if cell.quick { "  (quick)" } else { "" });
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Report { results } => run::render(&results).map(|()| ExitCode::SUCCESS),
        // as the services do it
        Command::Ceiling(ceiling) => {
            let runtime = producer_server::connections_runtime()?;
            runtime.block_on(ceiling::serve(*ceiling)).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// No two generators of a process send the same events.
fn next_seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
