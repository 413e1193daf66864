//! What can be said on the command line, and how it is told apart from what can't.

use std::error::Error as _;
use std::ffi::OsString;
use std::time::Duration;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::environment::Environment;
use crate::Api;
use crate::settings::{Settings, age};
use crate::traces::TraceSettings;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(about = "Merges entity updates, exactly once, and tells the current state")]
pub(super) struct Cli<A: Args> {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) settings: Settings,
    #[command(flatten)]
    pub(super) traces: TraceSettings,
    #[command(flatten)]
    pub(super) args: A,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve (what happens without a command)
    Serve,
    /// Change the database's schema, or take the older services' table over
    Migrate {
        #[command(subcommand)]
        command: Option<Migrate>,
    },
    /// Ask the running service whether it is ready; exit status 0 if it is
    ///
    /// Over TLS where TLS_CERT_FILE is set; any certificate will do, since its names are those that
    /// clients know the service by, and not the address that is asked here.
    Healthcheck,
    /// Compare every entity with the fold of its log; exit status 1 where they differ
    ///
    /// What the log can't explain is listed and left alone, and the exit status is 3.
    Rebuild {
        /// Mend what the log can explain
        #[arg(long)]
        write: bool,
    },
    /// Delete older entries from the log, in small steps that leave room for running services
    ///
    /// An entity that loses entries keeps its state at that point as a base entry. The uuids of
    /// pruned events are new again. Exit status 3 where a log couldn't be explained: it is listed
    /// and kept. May be interrupted and run again.
    Prune {
        /// Age of the events that go, such as 90d
        #[arg(long, value_name = "DURATION", value_parser = age)]
        older_than: Duration,
    },
}

#[derive(Debug, Default, Subcommand)]
pub(super) enum Migrate {
    /// Apply every pending step (what happens without a word)
    #[default]
    Up,
    /// Revert every step above a version, the newest first; data goes with its tables
    Down {
        /// A version as `status` lists it; 0 reverts all
        #[arg(long, value_name = "VERSION", value_parser = version)]
        to: i64,
    },
    /// List the steps
    Status,
    /// Take over the older services' table `car_entities`
    ///
    /// Exit status 3 where rows were left; they are listed with the reason, and stay in
    /// car_entities_adopted. May be interrupted and run again.
    Adopt,
}

fn version(text: &str) -> Result<i64, String> {
    let version = text.parse().ok().filter(|&version| version >= 0);
    version.ok_or_else(|| "allowed is 0 or a version that `migrate status` lists".into())
}

/// Why there is nothing to do.
pub(super) enum Stop {
    /// Help or version, to be printed.
    Shown(String),
    /// One line that says what is wrong.
    Unusable(String),
}

/// Parses the command line over the environment.
pub(super) fn parse<A: Api>(
    environment: &Environment,
    line: impl IntoIterator<Item = OsString>,
) -> Result<Cli<A::Args>, Stop> {
    let version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("PRODUCER_COMMIT"), ")");
    let mut wrong = None;
    let command = Cli::<A::Args>::command().name(A::NAME).version(version).mut_args(|arg| {
        let (arg, result) = setting(arg, environment);
        wrong = wrong.take().or(result.err());
        arg
    });
    if let Some(wrong) = wrong {
        return Err(Stop::Unusable(wrong));
    }
    let mut matches = command.try_get_matches_from(line).map_err(stop)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(stop)
}

/// Makes an argument with a variable a global setting, whose default is the variable's value. clap
/// would take an empty variable for a value, and knows no `.env`.
fn setting(arg: Arg, environment: &Environment) -> (Arg, Result<(), String>) {
    let Some(name) = arg.get_env().and_then(|name| name.to_str()).map(str::to_owned) else {
        return (arg, Ok(()));
    };
    let help = help_text(&arg, &name);
    let arg = arg.env(Resettable::Reset).hide_default_value(true).help(help).global(true);
    match environment.get(&name) {
        Ok(Some(value)) => (arg.default_value(value.to_owned()), Ok(())),
        Ok(None) => (arg, Ok(())),
        Err(wrong) => (arg, Err(wrong)),
    }
}

fn help_text(arg: &Arg, variable: &str) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match arg.get_default_values().first() {
        Some(default) => format!("{help} [{variable}, default {}]", default.display()),
        None => format!("{help} [{variable}]"),
    }
}

fn stop(error: clap::Error) -> Stop {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Shown(error.to_string()),
        _ => Stop::Unusable(one_line(&error)),
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
