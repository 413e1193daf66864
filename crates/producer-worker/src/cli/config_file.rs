//! The file of `WORKER_CONFIG`.

use producer_server::cli::{CommandLine, ExitError};

use super::args::Cli;
use crate::config::Config;

/// Reads it.
///
/// # Errors
/// A line for each thing that is wrong with it.
pub(super) fn read(line: &CommandLine<Cli>) -> Result<Config, ExitError> {
    let own = &line.program.own;
    let name = own.worker_config.display().to_string();
    let text = std::fs::read_to_string(&own.worker_config).map_err(|error| {
        ExitError::invalid(format!("WORKER_CONFIG: {name:?} is invalid: it can't be read: {error}"))
    })?;
    // a variable that is no UTF-8 counts as none: its error would show it
    let variable = |name: &str| line.environment.get(name).ok().flatten().map(str::to_owned);
    let config = Config::parse(&text, &name, &variable);
    let config = config.map_err(|errors| ExitError::invalid(errors.to_string()))?;
    Ok(config.with_cloudevents_source(&own.cloudevents_source))
}
