//! The command line of the services.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use super::command_line::Program;
use crate::Api;
use crate::settings::{CommonSettings, Settings, age};
use crate::traces::TraceSettings;

/// The whole command line of a service.
#[derive(Debug, Parser)]
#[command(about = "Merges entity updates, exactly once and durably, and serves the current state")]
pub(super) struct Cli<A: Api> {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) settings: Settings,
    #[command(flatten)]
    pub(super) traces: TraceSettings,
    #[command(flatten)]
    pub(super) args: A::Args,
}

impl<A: Api> Program for Cli<A> {
    const NAME: &'static str = A::NAME;

    fn common(&mut self) -> &mut CommonSettings {
        &mut self.settings.common
    }

    fn check(&self) -> Result<(), String> {
        self.settings.check()
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve (the default)
    Serve,
    /// Change the database's schema, or adopt the older services' table
    ///
    /// Waits up to 60 seconds for locks of other sessions, and names them on standard error.
    Migrate {
        #[command(subcommand)]
        command: Option<Migrate>,
    },
    /// Ask the running service whether it is ready; exit status 0 if it is
    ///
    /// Uses TLS where TLS_CERT_FILE is set, and accepts any certificate: its names are those that clients
    /// use, not the address that is asked here.
    Healthcheck,
    /// Compare every entity with the fold of its log, and indexes and search with the entities; exit status 1
    /// where they differ
    ///
    /// What the log can't explain is listed and not changed, and the exit status is 3. Rows of indexes and of
    /// search follow from the entities, so they can always be repaired. A part that is still being built may lack
    /// entities; that is no difference.
    Rebuild {
        /// Repair what the log can explain, and rows of indexes and of search
        #[arg(long)]
        write: bool,
    },
    /// Delete older entries from the log, in small steps between which running services work on
    ///
    /// Asks before it deletes. An entity whose entries are deleted keeps its state at that point as a checkpoint. The uuids of
    /// pruned events are new again. Exit status 3 where an entity's log doesn't explain its state: it
    /// is listed and kept. What sinks of the worker still need is kept too, with a warning: what a sink has not
    /// delivered, and its dead letters. May be interrupted and run again.
    Prune {
        /// Age from which events are deleted, such as 90d
        #[arg(long, value_name = "DURATION", value_parser = age)]
        older_than: Duration,
        /// Delete also what sinks still need: they miss changes then, or take a snapshot
        #[arg(long)]
        past_sinks: bool,
        /// Only count what would be deleted
        #[arg(long)]
        dry_run: bool,
        /// Don't ask; needed where standard input is no terminal
        #[arg(long)]
        yes: bool,
    },
    /// Declare what is indexed and searched of types of entities
    Types {
        #[command(subcommand)]
        command: TypesCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TypesCommand {
    /// Store the definitions of a file, and wait until all their indexes and searches are ready
    ///
    /// The file is a JSON object with a definition of each type, as `PUT /api/v1/types/{type}` takes it:
    /// {"Car": {"indexes": ["data.price"], "search": {"paths": {"data.model": 4}}}}. A definition replaces the one
    /// that is there; types that the file does not name stay as they are. Nothing is stored where one of them
    /// breaks a rule: the exit status is 2, and each broken rule has a line with its place. Services may run
    /// meanwhile; without any the command builds by itself. May be interrupted: services build on, and so does
    /// the command when it is run again. Exit status 0: all are ready.
    Apply {
        /// The file; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only check the file, and show what would change
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Default, Subcommand)]
pub(super) enum Migrate {
    /// Apply every pending step (the default)
    #[default]
    Up,
    /// Revert every step above a version, the newest first; data is deleted with its tables
    ///
    /// Asks before it deletes. Refuses while other sessions use the database.
    Down {
        /// A version as `status` lists it; 0 reverts all
        #[arg(long, value_name = "VERSION", value_parser = version)]
        to: i64,
        /// Only list what would be reverted and deleted
        #[arg(long)]
        dry_run: bool,
        /// Don't ask; needed where standard input is no terminal
        #[arg(long)]
        yes: bool,
        /// Revert even if other sessions use the database
        #[arg(long)]
        force: bool,
    },
    /// List the steps
    Status,
    /// Give the log of changes a new identity: tokens of readers from before are gone then
    ///
    /// Run it after the database was restored to an earlier time, and in a copy that goes its own way, such
    /// as a copied SQLite file: what readers have read there may not be what the log holds now. Each reader
    /// gets 410 and begins again. Services may run meanwhile. Asks before it changes anything.
    NewEpoch {
        /// Don't ask; needed where standard input is no terminal
        #[arg(long)]
        yes: bool,
    },
    /// Adopt the rows of the older services' table `car_entities`
    ///
    /// Exit status 3 where rows were skipped; they are listed with the reason, and stay in
    /// car_entities_adopted. May be interrupted and run again.
    Adopt,
}

fn version(text: &str) -> Result<i64, String> {
    let version = text.parse().ok().filter(|&version| version >= 0);
    version.ok_or_else(|| "allowed is 0 or a version that `migrate status` lists".into())
}
