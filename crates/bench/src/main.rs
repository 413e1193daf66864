//! The benchmark: the same durable work through `producer` and straight onto PostgreSQL, side by
//! side. `make bench` runs all of it, `make bench-quick` what is worth a look every day. And the
//! load test with k6, `load-test/run.sh`.

mod load;
mod postgres;
mod report;
mod sample;
mod service;

use std::process::ExitCode;

use clap::Parser;

/// What can go wrong here ends the tool, or the cell, with its text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures producer.
#[derive(Debug, Parser)]
enum Command {
    Load(load::Args),
}

fn main() -> ExitCode {
    match run(&Command::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// `false`: what was measured isn't as it should be.
fn run(command: &Command) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Load(args) => runtime.block_on(load::run(args)),
    }
}
