//! What the steps measure with.

use std::time::Instant;

use producer_test_support::Kafka;

use super::backlog::{self, Backlog};
use crate::Result;
use crate::cells::{Interface, cell};
use crate::measure::Bench;
use crate::postgres::{Database, Postgres};
use crate::prepare::{self, CellDatabase};
use crate::report::thousands;

/// The servers that stay for the whole run, and the backlog. Each is made when it is first needed.
pub(super) struct Setup {
    pub(super) bench: Bench,
    /// Changes of the backlog, and messages of a source.
    pub(super) changes: u64,
    backlog: Option<Backlog>,
    kafka: Option<Kafka>,
}

impl Setup {
    /// Nothing is filled yet.
    pub(super) fn new(bench: Bench, changes: u64) -> Self {
        Self { bench, changes, backlog: None, kafka: None }
    }

    /// The server.
    pub(super) fn postgres(&self) -> Result<&Postgres> {
        Ok(self.bench.postgres.as_ref().ok_or("there is no PostgreSQL server")?)
    }

    /// The broker.
    pub(super) fn kafka(&mut self) -> &Kafka {
        self.kafka.get_or_insert_with(Kafka::start)
    }

    /// A database with the service's tables.
    pub(super) async fn empty_database(&self) -> Result<Database> {
        let cell = cell(Interface::Single, 1);
        match prepare::database(&cell, Some(self.postgres()?)).await? {
            CellDatabase::Postgres(database) => Ok(database),
            CellDatabase::Sqlite(_) | CellDatabase::Null => {
                Err("the database isn't PostgreSQL".into())
            }
        }
    }

    /// The database with the backlog, to which nothing else is written.
    pub(super) async fn backlog(&mut self) -> Result<Backlog> {
        if let Some(backlog) = &self.backlog {
            return Ok(backlog.clone());
        }
        let backlog = Backlog { database: self.empty_database().await? };
        backlog::insert_entities(&backlog.database, self.changes).await?;
        backlog.make_slot().await?;
        self.insert_changes(&backlog.database).await?;
        self.backlog = Some(backlog.clone());
        Ok(backlog)
    }

    /// Writes the changes of a backlog, behind its entities.
    pub(super) async fn insert_changes(&self, database: &Database) -> Result<()> {
        let start = Instant::now();
        println!("filling a log of {} changes", thousands(self.changes as f64));
        backlog::insert_changes(database, self.changes).await?;
        self.postgres()?.checkpoint().await?;
        println!("filled in {:.0} s", start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Drops a database that a step has made.
    pub(super) async fn drop_database(&self, database: Database) -> Result<()> {
        self.postgres()?.drop_database(database).await
    }
}
