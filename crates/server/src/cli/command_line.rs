//! The command line of a binary over its environment, and its errors in one line each.

use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory, FromArgMatches};
use producer_core::store::DatabaseUrl;
use producer_maintenance::Database;
use producer_telemetry::log;

use super::environment::{Environment, Misspelt};
use super::error::ExitError;
use crate::settings::{CommonSettings, Secret};

/// The one setting that has no flag.
const RUST_LOG: &str = "RUST_LOG";

/// The whole command line of a binary, as clap derives it. Each argument with a variable is a setting: it
/// becomes a global flag.
pub trait Program: CommandFactory + FromArgMatches {
    /// The binary's name.
    const NAME: &'static str;

    /// The settings that every binary has.
    fn common(&mut self) -> &mut CommonSettings;

    /// Checks the settings that depend on each other.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed.
    fn check(&self) -> Result<(), String>;
}

/// A command line that was read, with its environment.
pub struct CommandLine<P> {
    /// What it says.
    pub program: P,
    /// The database that it names.
    pub database: Database,
    /// The variables of the environment and of `.env`.
    pub environment: Environment,
    /// Until the log is begun.
    filter: Option<log::Filter>,
    misspelt: Vec<Misspelt>,
}

impl<P: Program> CommandLine<P> {
    /// Reads the command line, the environment and `.env`.
    ///
    /// # Errors
    /// Help or version, or one line that says what is invalid.
    pub fn read() -> Result<Self, ExitError> {
        let environment = Environment::load().map_err(ExitError::invalid)?;
        let mut program: P = parse(&environment, std::env::args_os())?;
        let misspelt = environment.misspelt(&setting_names::<P>());
        program.common().read_url_file().map_err(ExitError::invalid)?;
        program.check().map_err(ExitError::invalid)?;
        let rust_log = environment.get(RUST_LOG).map_err(ExitError::invalid)?;
        let filter = log::Filter::new(program.common().log_level, rust_log)
            .map_err(|reason| ExitError::invalid(format!("RUST_LOG: {reason}")))?;
        let database = database(program.common())?;
        Ok(Self { program, database, environment, filter: Some(filter), misspelt })
    }

    /// Begins to write the log, with a warning of each misspelt name in `.env`.
    ///
    /// # Errors
    /// Another logger was installed before.
    pub fn start_log(&mut self) -> Result<(), ExitError> {
        let Some(filter) = self.filter.take() else { return Ok(()) };
        log::init(filter).map_err(ExitError::new)?;
        self.misspelt.iter().for_each(Misspelt::log);
        Ok(())
    }

    /// The same warnings on standard error, of a command without a log.
    pub fn print_warnings(&self) {
        self.misspelt.iter().for_each(|name| eprintln!("{name}"));
    }
}

fn database(settings: &CommonSettings) -> Result<Database, ExitError> {
    let url = DatabaseUrl::parse(settings.database_url.as_ref().map(Secret::expose));
    let database = url.map(Database::from).map_err(ExitError::invalid)?;
    Ok(database.through(settings.database_pooler))
}

/// Parses the command line over the environment.
fn parse<P: Program>(
    environment: &Environment,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<P, ExitError> {
    let version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("PRODUCER_COMMIT"), ")");
    let mut invalid = None;
    let command = P::command().name(P::NAME).version(version).mut_args(|arg| {
        let (arg, result) = setting(arg, environment);
        invalid = invalid.take().or(result.err());
        arg
    });
    if let Some(line) = invalid {
        return Err(ExitError::invalid(line));
    }
    let mut matches = command.try_get_matches_from(arguments).map_err(parse_error)?;
    P::from_arg_matches_mut(&mut matches).map_err(parse_error)
}

/// The names of all settings.
fn setting_names<P: Program>() -> Vec<String> {
    let command = P::command();
    let names = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    names.map(str::to_owned).chain([RUST_LOG.to_owned()]).collect()
}

/// Makes an argument with a variable a global setting, whose default is the variable's value. clap
/// would accept an empty variable as a value, and knows no `.env`.
fn setting(arg: Arg, environment: &Environment) -> (Arg, Result<(), String>) {
    let Some(name) = arg.get_env().and_then(|name| name.to_str()).map(str::to_owned) else {
        return (arg, Ok(()));
    };
    let help = help_text(&arg, &name);
    let arg = arg.env(Resettable::Reset).hide_default_value(true).help(help).global(true);
    // a command's own options come first, without a heading
    let arg = arg.help_heading("Settings");
    match environment.get(&name) {
        Ok(Some(value)) => (arg.default_value(value.to_owned()), Ok(())),
        Ok(None) => (arg, Ok(())),
        Err(line) => (arg, Err(line)),
    }
}

fn help_text(arg: &Arg, variable: &str) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match arg.get_default_values().first() {
        Some(default) => format!("{help} [{variable}, default {}]", default.display()),
        None => format!("{help} [{variable}]"),
    }
}

fn parse_error(error: clap::Error) -> ExitError {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitError::help(error.to_string()),
        _ => ExitError::invalid(one_line(&error)),
    }
}

fn one_line(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = text(ContextKind::InvalidArg).map(setting_name);
    match (error.kind(), flag, text(ContextKind::InvalidValue), error.source()) {
        (ErrorKind::ValueValidation, Some(name), Some(value), Some(reason)) => {
            format!("{name}: {value:?} is invalid: {}", reason.to_string().replace('\n', " "))
        }
        (ErrorKind::InvalidValue, Some(name), Some(""), _) => format!("{name}: a value is missing"),
        _ => first_line(error),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// `--server-port <PORT>` is the setting `SERVER_PORT`.
fn setting_name(argument: &str) -> String {
    let flag = argument.split([' ', '=']).next().unwrap_or(argument);
    flag.trim_start_matches('-').replace('-', "_").to_uppercase()
}
