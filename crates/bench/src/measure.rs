//! Measures one cell once: prepare, warm up, measure, clean up.

use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::time::sleep;

use crate::baselines::copy::copy;
use crate::baselines::pgbench::{Pgbench, Script};
use crate::cells::{Cell, Interface, Requests, Store};
use crate::generator::Followers;
use crate::meter::Meter;
use crate::postgres::{Database, Postgres};
use crate::prepare::{self, CellDatabase};
use crate::results::{Cpu, Measurement};
use crate::service::{Api, Service};
use crate::slowdown::{Calibration, SLOW};
use crate::{Result, generator, procfs};

/// How long a measurement may last until its first response.
const FIRST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a cell is measured while the machine is slow.
const ATTEMPTS: usize = 3;

/// How long a cell takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Before counting.
    pub(crate) warm_up: Duration,
    /// While counting.
    pub(crate) measured: Duration,
}

/// Measures cells.
pub(crate) struct Bench {
    /// The PostgreSQL server, where a cell needs one.
    pub(crate) postgres: Option<Postgres>,
    /// How long each cell takes.
    pub(crate) times: Times,
    /// The database with ten million entities, once it is loaded.
    grown: Option<CellDatabase>,
    calibration: Calibration,
    /// Whether refusals are counted; else they are errors.
    counts_refusals: bool,
    /// Settings of the services that differ from the default.
    settings: Vec<(String, String)>,
}

/// CPU seconds used until a moment.
pub(crate) struct Usage {
    at: Instant,
    service: Option<f64>,
    database: Option<f64>,
    generator: f64,
}

impl Usage {
    /// The same before the service's start.
    pub(crate) fn before_start(self) -> Self {
        Self { service: Some(0.0), ..self }
    }
}

impl Bench {
    /// Starts a PostgreSQL server if one of the cells needs it.
    pub(crate) fn new(cells: &[Cell], times: Times) -> Result<Self> {
        let needed = cells.iter().any(|cell| cell.store == Store::Postgres);
        Ok(Self::on(needed.then(Postgres::start).transpose()?, times))
    }

    /// Measures with this server.
    pub(crate) fn on(postgres: Option<Postgres>, times: Times) -> Self {
        Self {
            postgres,
            times,
            grown: None,
            calibration: Calibration::default(),
            counts_refusals: false,
            settings: Vec::new(),
        }
    }

    /// For overload: counts refusals, and starts the services with these settings.
    pub(crate) fn counting_refusals(self, settings: Vec<(String, String)>) -> Self {
        Self { counts_refusals: true, settings, ..self }
    }

    /// Measures a cell, again if the machine was slow meanwhile. An error becomes part of the
    /// measurement.
    pub(crate) async fn measure(&mut self, cell: &Cell) -> Measurement {
        let mut best = self.measure_once(cell).await;
        for _ in 1..ATTEMPTS {
            if best.error.is_some() || best.slowdown.is_none_or(|slowdown| slowdown <= SLOW) {
                break;
            }
            let again = self.measure_once(cell).await;
            if again.slowdown < best.slowdown || again.error.is_some() {
                best = again;
            }
        }
        best
    }

    async fn measure_once(&mut self, cell: &Cell) -> Measurement {
        match self.try_measure(cell).await {
            Ok(measurement) => measurement,
            Err(error) => Measurement { error: Some(error.to_string()), ..Measurement::default() },
        }
    }

    async fn try_measure(&mut self, cell: &Cell) -> Result<Measurement> {
        let loaded = if cell.grown { self.grown.take() } else { None };
        let database = match loaded {
            Some(database) => database,
            None => prepare::database(cell, self.postgres.as_ref()).await?,
        };
        let before = database.logged_events().await?.unwrap_or(0);
        let meter = Meter::new()?;
        if self.counts_refusals {
            meter.count_refusals();
        }
        let slowdown_before = self.calibration.wait_for_full_speed().await;
        let mut measurement = match cell.interface {
            Interface::Pgbench => {
                let CellDatabase::Postgres(database) = &database else {
                    return Err("pgbench needs a server".into());
                };
                self.pgbench(database, &Script::events(cell), &meter).await?
            }
            Interface::Copy => self.copy(cell, &database, &meter).await?,
            _ => self.service(cell, &database, &meter).await?,
        };
        measurement.slowdown = Some(slowdown_before.max(self.calibration.slowdown().await));
        if cell.store != Store::Postgres {
            measurement.cpu_us.database = None;
        }
        measurement.error = meter.error().or_else(|| nothing_acknowledged(&measurement));
        if let (Some(after), true) =
            (database.logged_events().await?, cell.interface != Interface::Copy)
        {
            let (logged, acknowledged) = (after - before, meter.acknowledged());
            if logged < acknowledged {
                measurement.error =
                    Some(format!("{acknowledged} events acknowledged, {logged} in the log"));
            }
        }
        self.clean_up(cell, database).await?;
        Ok(measurement)
    }

    async fn clean_up(&mut self, cell: &Cell, database: CellDatabase) -> Result<()> {
        if cell.grown {
            self.grown = Some(database);
        } else if let (CellDatabase::Postgres(database), Some(postgres)) =
            (database, &self.postgres)
        {
            postgres.drop_database(database).await?;
        }
        Ok(())
    }

    async fn service(
        &self,
        cell: &Cell,
        database: &CellDatabase,
        meter: &Meter,
    ) -> Result<Measurement> {
        let api = cell.interface.api().ok_or("the cell has no service")?;
        let service = self.start(api, cell.store, database).await?;
        let readers = usize::from(cell.reader);
        let readers = Followers::start(service.address(), readers, meter, |_| {}).await?;
        let clients = generator::start(cell, service.address(), meter).await?;
        let process = service.process()?;
        let mut measurement = self.window(meter, Some(process)).await?;
        drop(clients);
        readers.catch_up(meter.acknowledged()).await?;
        drop(readers);
        if cell.interface == Interface::Entity(Requests::Match) {
            measurement.preconditions = Some(meter.preconditions());
        }
        measurement.peak_memory_bytes = Some(procfs::peak_memory(process)?);
        service.stop().await?;
        Ok(measurement)
    }

    async fn copy(
        &self,
        cell: &Cell,
        database: &CellDatabase,
        meter: &Meter,
    ) -> Result<Measurement> {
        let CellDatabase::Postgres(database) = database else {
            return Err("COPY needs a server".into());
        };
        tokio::select! {
            // a COPY of 10,000 rows is not comparable with a request
            measurement = self.window(meter, None) => {
                Ok(Measurement { latency_us: None, ..measurement? })
            }
            ended = copy(database, cell, meter.clone()) => match ended {
                Ok(()) => Err("COPY ended".into()),
                Err(error) => Err(error),
            },
        }
    }

    /// pgbench counts and times by itself, in whole seconds.
    pub(crate) async fn pgbench(
        &self,
        database: &Database,
        script: &Script,
        meter: &Meter,
    ) -> Result<Measurement> {
        let postgres = self.postgres.as_ref().ok_or("pgbench needs a server")?;
        let pgbench = Pgbench::new(postgres, database, script)?;
        pgbench.run(self.times.warm_up.as_secs().max(1), &Meter::new()?).await?;
        let before = self.usage(None)?;
        let generator = procfs::ended_children_cpu_seconds()?;
        let rate = pgbench.run(self.times.measured.as_secs().max(1), meter).await?;
        let mut measurement = self.since(&before, meter.events(), None)?;
        let generator = procfs::ended_children_cpu_seconds()? - generator;
        measurement.cpu_us.generator = per_event(generator, measurement.events);
        measurement.events_per_second = rate;
        measurement.seconds = measurement.events as f64 / rate;
        measurement.latency_us = meter.latency();
        Ok(measurement)
    }

    /// Lets the running load go on for the warm-up, then counts for the measured time.
    pub(crate) async fn window(&self, meter: &Meter, service: Option<u32>) -> Result<Measurement> {
        sleep(self.times.warm_up).await;
        let before = self.usage(service)?;
        meter.open();
        sleep(self.times.measured).await;
        // on a busy machine a large request may take longer
        while meter.events() == 0
            && meter.error().is_none()
            && before.at.elapsed() < FIRST_RESPONSE_TIMEOUT
        {
            sleep(Duration::from_millis(10)).await;
        }
        meter.close();
        let mut measurement = self.since(&before, meter.events(), service)?;
        measurement.latency_us = meter.latency();
        measurement.admission = self.counts_refusals.then(|| meter.admission());
        Ok(measurement)
    }

    /// Starts the real service, the one over a store that keeps nothing, or hyper alone.
    async fn start(&self, api: Api, store: Store, database: &CellDatabase) -> Result<Service> {
        let ceiling = match store {
            Store::Postgres | Store::Sqlite => {
                let settings = self.settings.iter().map(|(name, value)| (&**name, &**value));
                return Service::start(api, &database.url(), &settings.collect::<Vec<_>>()).await;
            }
            Store::Null => api.name(),
            Store::Hyper => "hyper",
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["ceiling", ceiling]);
        Service::start_command(api, command).await
    }

    /// What is used until now, by this service too where there is one.
    pub(crate) fn usage(&self, service: Option<u32>) -> Result<Usage> {
        let database = self.postgres.as_ref().map(Postgres::process);
        Ok(Usage {
            at: Instant::now(),
            service: service.map(procfs::cpu_seconds).transpose()?,
            database: database.map(procfs::cpu_seconds).transpose()?,
            generator: procfs::own_cpu_seconds()?,
        })
    }

    /// The rate and the CPU of so many events between an earlier moment and now.
    pub(crate) fn since(
        &self,
        before: &Usage,
        events: u64,
        service: Option<u32>,
    ) -> Result<Measurement> {
        let now = self.usage(service)?;
        let used = |now: Option<f64>, before: Option<f64>| per_event(now? - before?, events);
        let seconds = (now.at - before.at).as_secs_f64();
        Ok(Measurement {
            events,
            seconds,
            events_per_second: events as f64 / seconds,
            cpu_us: Cpu {
                service: used(now.service, before.service),
                database: used(now.database, before.database),
                generator: used(Some(now.generator), Some(before.generator)),
            },
            ..Measurement::default()
        })
    }
}

fn nothing_acknowledged(measurement: &Measurement) -> Option<String> {
    (measurement.events == 0).then(|| "no event was acknowledged in the measured time".to_owned())
}

fn per_event(seconds: f64, events: u64) -> Option<f64> {
    (events > 0).then(|| seconds * 1e6 / events as f64)
}
