//! What the steps measure with.

use std::path::PathBuf;

use super::databases::Databases;
use super::steps::Filled;
use crate::measure::{Bench, Usage};
use crate::meter::Meter;
use crate::postgres::{Database, Postgres};
use crate::results::Measurement;
use crate::service::{Api, Service};
use crate::{Result, procfs};

/// The server, the filled databases, and how long a step takes.
pub(super) struct Setup {
    pub(super) bench: Bench,
    pub(super) databases: Databases,
    /// The folder of an earlier release's binaries.
    pub(super) before: Option<PathBuf>,
}

impl Setup {
    /// The server.
    pub(super) fn postgres(&self) -> Result<&Postgres> {
        Ok(self.bench.postgres.as_ref().ok_or("there is no PostgreSQL server")?)
    }

    /// A filled database.
    pub(super) async fn filled(&mut self, filled: Filled) -> Result<Database> {
        let postgres = self.bench.postgres.as_ref().ok_or("there is no PostgreSQL server")?;
        self.databases.get(filled, postgres).await
    }

    /// The REST service on a database, with its default settings.
    pub(super) async fn service(&self, url: &str) -> Result<Service> {
        Service::start(Api::Rest, url, &[]).await
    }

    /// What a service's clients did in the usual time.
    pub(super) async fn window(&self, meter: &Meter, service: &Service) -> Result<Measurement> {
        let process = service.process()?;
        let measured = self.bench.window(meter, Some(process)).await?;
        complete(measured, meter, process)
    }

    /// What they did since an earlier moment.
    pub(super) fn since(
        &self,
        before: &Usage,
        meter: &Meter,
        service: &Service,
    ) -> Result<Measurement> {
        let process = service.process()?;
        let measured = self.bench.since(before, meter.events(), Some(process))?;
        complete(Measurement { latency_us: meter.latency(), ..measured }, meter, process)
    }
}

fn complete(measured: Measurement, meter: &Meter, process: u32) -> Result<Measurement> {
    let nothing = || (meter.events() == 0).then(|| "no answer in the measured time".to_owned());
    Ok(Measurement {
        slowest_us: meter.slowest(),
        peak_memory_bytes: Some(procfs::peak_memory(process)?),
        error: meter.error().or_else(nothing),
        ..measured
    })
}
