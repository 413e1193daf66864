//! Events of new entities on empty tables.

use tokio::process::Command;

use super::beside::{check_log, writers};
use super::cars;
use super::definition::define;
use super::setup::Setup;
use super::steps::Ingest;
use crate::Result;
use crate::meter::Meter;
use crate::prepare::{self, CellDatabase};
use crate::results::{Cpu, Measurement};
use crate::service::{Api, Service};

/// Connections that write.
const CONNECTIONS: usize = 256;

impl Ingest {
    const fn is_on_sqlite(self) -> bool {
        matches!(self, Self::Sqlite | Self::SqliteIndexes)
    }

    const fn has_indexes(self) -> bool {
        matches!(self, Self::Indexes | Self::SqliteIndexes)
    }
}

/// Events as fast as they are taken.
pub(super) async fn measure(setup: &Setup, ingest: Ingest) -> Result<Measurement> {
    let database = if ingest.is_on_sqlite() {
        CellDatabase::Sqlite(tempfile::tempdir()?)
    } else {
        CellDatabase::Postgres(setup.postgres()?.fresh_database().await?)
    };
    let measured = measure_on(setup, ingest, &database).await;
    if let CellDatabase::Postgres(database) = database {
        setup.postgres()?.drop_database(database).await?;
    }
    measured
}

async fn measure_on(setup: &Setup, ingest: Ingest, database: &CellDatabase) -> Result<Measurement> {
    prepare::migrate(command(setup, ingest)?, &database.url()).await?;
    setup.postgres()?.checkpoint().await?;
    let mut command = command(setup, ingest)?;
    command.env("DATABASE_URL", database.url());
    let service = Service::start_command(Api::Rest, command).await?;
    if ingest.has_indexes() {
        define(service.address(), cars::THREE_INDEXES).await?;
    }
    let meter = Meter::new()?;
    let writers = writers(service.address(), CONNECTIONS, &meter).await?;
    let measurement = setup.window(&meter, &service).await?;
    drop(writers);
    service.stop().await?;
    let mut measurement = check_log(measurement, database, &meter).await?;
    if ingest.is_on_sqlite() {
        measurement.cpu_us = Cpu { database: None, ..measurement.cpu_us };
    }
    Ok(measurement)
}

/// The binary that is measured.
fn command(setup: &Setup, ingest: Ingest) -> Result<Command> {
    if ingest != Ingest::Before {
        return Api::Rest.command();
    }
    let folder = setup.before.as_ref().ok_or("--before says where the earlier binary is")?;
    Ok(Command::new(folder.canonicalize()?.join("producer-rest")))
}
