//! The command line of both binaries.

mod address;
mod args;
mod confirm;
mod environment;
mod error;
mod healthcheck;
mod maintain;
mod open_files;
mod serve;
mod types;

use std::process::ExitCode;

use args::{Cli, Command, RUST_LOG, TypesCommand};
use confirm::Consent;
use environment::{Environment, Misspelt};
use error::ExitError;
use producer_core::store::DatabaseUrl;
use producer_maintenance::{Database, prune};
use producer_telemetry::log;
use producer_telemetry::log::Filter;

use crate::Api;
use crate::settings::{Secret, Settings};
use crate::traces::Traces;

/// Runs the binary: parses the command line and runs its command.
pub fn main<A: Api>() -> ExitCode {
    match run::<A>() {
        Ok(code) => code,
        Err(ExitError { status, line }) => {
            eprintln!("{line}");
            ExitCode::from(status)
        }
    }
}

fn run<A: Api>() -> Result<ExitCode, ExitError> {
    let environment = Environment::load().map_err(ExitError::invalid)?;
    let mut cli: Cli<A::Args> = match args::parse::<A>(&environment, std::env::args_os()) {
        Ok(cli) => cli,
        Err(args::ParseError::Help(text)) => {
            print!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(args::ParseError::Invalid(line)) => return Err(ExitError::invalid(line)),
    };
    let misspelt = environment.misspelt(&args::setting_names::<A>());
    cli.settings.read_url_file().map_err(ExitError::invalid)?;
    cli.settings.check().map_err(ExitError::invalid)?;
    let rust_log = environment.get(RUST_LOG).map_err(ExitError::invalid)?;
    let filter = Filter::new(cli.settings.log_level, rust_log)
        .map_err(|reason| ExitError::invalid(format!("RUST_LOG: {reason}")))?;
    let database = database(&cli.settings)?;
    let runtime = crate::connections_runtime().map_err(ExitError::new)?;
    let writers = crate::writers_runtime().map_err(ExitError::new)?;
    runtime.block_on(async {
        let command = cli.command.unwrap_or(Command::Serve);
        if !matches!(command, Command::Serve) {
            misspelt.iter().for_each(|name| eprintln!("{name}"));
        }
        match command {
            Command::Serve => {
                log::init(filter).map_err(ExitError::new)?;
                misspelt.iter().for_each(Misspelt::log);
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

fn database(settings: &Settings) -> Result<Database, ExitError> {
    let url = DatabaseUrl::parse(settings.database_url.as_ref().map(Secret::expose));
    let database = url.map(Database::from).map_err(ExitError::invalid)?;
    Ok(database.through(settings.database_pooler))
}
