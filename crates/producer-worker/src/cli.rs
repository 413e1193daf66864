//! The worker's command line.

mod args;
mod check;
mod config_file;
mod health;
mod status;
mod table;
mod worker;

use std::process::ExitCode;

use args::{Cli, Command};
use producer_server::cli::{CommandLine, ExitError};

/// Runs the binary: reads the command line and runs its command.
pub fn main() -> ExitCode {
    producer_server::cli::exit(run())
}

fn run() -> Result<ExitCode, ExitError> {
    let mut line = CommandLine::<Cli>::read()?;
    let runtime = producer_server::connections_runtime().map_err(ExitError::new)?;
    let writers = producer_server::writers_runtime().map_err(ExitError::new)?;
    let command = line.program.command.take().unwrap_or(Command::Run);
    if !matches!(command, Command::Run) {
        line.print_warnings();
    }
    runtime.block_on(async {
        match command {
            Command::Run => worker::run(line, writers.handle()).await,
            Command::Check => check::check(&line).await,
            Command::Status { watch, json } => {
                status::status(&line.program.common, watch, json).await
            }
            Command::Healthcheck => health::healthcheck(&line.program).await,
        }
    })
}
