//! The arguments of `producer-bench load`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::Result;
use crate::cells::Store;
use crate::service::{Api, Apis};

/// k6 drives the services. The exit status is 1 if a threshold is crossed or the check of the
/// database fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The phases, as in load-test/config.js
    pub(super) mode: Mode,
    /// Which APIs
    #[arg(default_value = "both")]
    apis: Apis,
    /// The database of the services
    #[arg(default_value = "postgres")]
    pub(super) database: Store,
    /// What the users do, as in load-test/config.js
    #[arg(long, env, hide_env_values = true, default_value = "event")]
    pub(super) operation: Operation,
    /// Drive a running service with the database of --database-url instead of starting one
    #[arg(long, requires = "database_url", value_name = "ADDRESS:PORT")]
    pub(super) service: Option<SocketAddr>,
    /// The database of --service; it isn't cleared, only new rows are counted
    #[arg(long, requires = "service", value_name = "URL")]
    pub(super) database_url: Option<String>,
    /// The folder of the reports, with a subfolder for each mode, database and operation
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../load-test/results"))]
    results: PathBuf,
}

/// A mode of load-test/config.js.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// 10 users, 30 s
    Smoke,
    /// 10, 50 and 100 users
    Full,
    /// 10 to 2,000 users in seven phases
    Saturation,
    /// A constant rate of events
    Arrival,
    /// 50 users for 30 minutes
    Soak,
}

/// An operation of load-test/config.js. Those of single entities first create some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Operation {
    /// Events, as EVENT_MIX says
    Event,
    /// Create single entities
    Create,
    /// Read single entities
    Get,
    /// Merge into and replace single entities, half of the time with the expected version
    Update,
    /// Delete single entities
    Delete,
    /// Get, update, delete, and send events
    Mixed,
}

impl Args {
    /// The APIs to drive, one after the other.
    pub(super) fn apis(&self) -> Result<&'static [Api]> {
        if self.service.is_some() && self.apis == Apis::Both {
            return Err("--service needs rest or grpc".into());
        }
        Ok(self.apis.list())
    }

    /// The mode's name in `config.js`.
    pub(super) fn mode_name(&self) -> String {
        name(self.mode)
    }

    /// The operation's name in `config.js`.
    pub(super) fn operation_name(&self) -> String {
        name(self.operation)
    }

    /// The database's name in the report.
    pub(super) fn database_name(&self) -> &'static str {
        match self.database {
            _ if self.database_url.is_some() => "a given database",
            Store::Sqlite => "SQLite",
            _ => "PostgreSQL",
        }
    }

    /// The folder of this run; a new run of the same mode, database and operation replaces the files.
    pub(super) fn folder(&self) -> PathBuf {
        let database = match self.database {
            _ if self.database_url.is_some() => "given",
            Store::Sqlite => "sqlite",
            _ => "postgres",
        };
        let folder = format!("{}-{database}", self.mode_name());
        self.results.join(match self.operation {
            Operation::Event => folder,
            _ => format!("{folder}-{}", self.operation_name()),
        })
    }
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
