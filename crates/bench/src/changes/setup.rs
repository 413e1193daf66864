//! What the steps measure with.

use super::logs::{self, Log, Logs};
use crate::Result;
use crate::measure::Bench;
use crate::postgres::{Database, Postgres};
use crate::service::{Api, Service};

/// The server, the filled logs, and how long a step takes.
pub(super) struct Setup {
    pub(super) bench: Bench,
    pub(super) logs: Logs,
}

impl Setup {
    /// The server.
    pub(super) fn postgres(&self) -> Result<&Postgres> {
        Ok(self.bench.postgres.as_ref().ok_or("there is no PostgreSQL server")?)
    }

    /// The database of a filled log.
    pub(super) async fn log(&mut self, log: Log) -> Result<Database> {
        let postgres = self.bench.postgres.as_ref().ok_or("there is no PostgreSQL server")?;
        self.logs.get(log, postgres).await
    }

    /// A database with an empty log.
    pub(super) async fn empty_log(&self) -> Result<Database> {
        logs::empty(self.postgres()?).await
    }
}

/// The REST service on a database, with its default settings.
pub(super) async fn service(database: &Database) -> Result<Service> {
    Service::start(Api::Rest, &database.url, &[]).await
}
