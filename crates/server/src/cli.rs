//! The command line: what all binaries share, and that of the services.

mod address;
mod args;
mod command_line;
mod confirm;
mod environment;
mod error;
mod healthcheck;
mod maintain;
mod open_files;
mod serve;
mod start;
mod stop;
mod types;

use std::process::ExitCode;

pub use address::reachable;
use args::{Cli, Command, TypesCommand};
pub use command_line::{CommandLine, Program};
use confirm::Consent;
pub use environment::Environment;
pub use error::ExitError;
pub use healthcheck::ask_readyz;
use producer_maintenance::prune;
pub use start::{connect, listen_for_operators, migrate};
pub use stop::StopSignals;

use crate::Api;
use crate::traces::Traces;

/// Runs a service's binary: reads the command line and runs its command.
pub fn main<A: Api>() -> ExitCode {
    exit(run::<A>())
}

/// The exit status of what `main` did; prints why it ended early.
pub fn exit(ended: Result<ExitCode, ExitError>) -> ExitCode {
    ended.unwrap_or_else(ExitError::report)
}

fn run<A: Api>() -> Result<ExitCode, ExitError> {
    let mut line = CommandLine::<Cli<A>>::read()?;
    let runtime = crate::connections_runtime().map_err(ExitError::new)?;
    let writers = crate::writers_runtime().map_err(ExitError::new)?;
    runtime.block_on(async {
        match line.program.command {
            None | Some(Command::Serve) => line.start_log()?,
            Some(_) => line.print_warnings(),
        }
        let CommandLine { program: cli, database, .. } = line;
        match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => {
                let traces = Traces::start(&cli.traces, A::NAME).map_err(ExitError::invalid)?;
                let served = serve::serve::<A>(cli.settings, cli.args, database, writers.handle());
                let ended = served.await;
                if let Some(traces) = traces {
                    traces.stop().await;
                }
                ended
            }
            Command::Migrate { command } => {
                maintain::migrate(&database, command.unwrap_or_default(), &cli.settings).await
            }
            Command::Rebuild { write } => maintain::rebuild(&database, write).await,
            Command::Prune { older_than, past_sinks, dry_run, yes } => {
                let scope = prune::Scope { older_than, past_sinks };
                maintain::prune(&database, scope, Consent { dry_run, yes }).await
            }
            Command::Types { command: TypesCommand::Apply { file, dry_run } } => {
                types::apply(&database, &cli.settings, &file, dry_run).await
            }
            Command::Healthcheck => healthcheck::healthcheck::<A>(&cli.settings, &cli.args).await,
        }
    })
}
