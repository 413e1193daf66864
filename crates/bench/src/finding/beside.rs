//! Reads of single entities and writes, beside scans and beside the building of an index.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::cars::{self, Cars};
use super::clients::{self, Asked};
use super::definition::{put, wait_until_ready};
use super::setup::Setup;
use super::steps::{Amount, Beside, Filled, Question};
use crate::Result;
use crate::generator::{Clients, Schedule, connect, send};
use crate::meter::Meter;
use crate::postgres::Database;
use crate::prepare::CellDatabase;
use crate::results::Measurement;
use crate::service::Service;

/// GETs per second: few enough that the machine is not full of them.
const GETS_PER_SECOND: f64 = 1000.0;
/// Connections of GETs.
const GETTERS: usize = 16;
/// Clients that scan.
const SCANNERS: usize = 20;
/// Connections that write.
const WRITERS: usize = 64;
/// For how long writes are counted while an index is being built, at most, and without.
const BUILDING_TIME: Duration = Duration::from_secs(60);

/// GETs at a constant rate.
pub(super) async fn gets(setup: &mut Setup, scans: bool) -> Result<Measurement> {
    let database = setup.filled(Filled::Plain).await?;
    let cars = setup.databases.cars(Amount::Base)?;
    let service = setup.service(&database.url).await?;
    let scans = if scans { Some(Scans::start(service.address(), cars).await?) } else { None };
    let meter = Meter::new()?;
    let schedule = Schedule::new(Some(GETS_PER_SECOND), &meter);
    let asked = (Asked::Entity, cars);
    let getters = clients::start(service.address(), GETTERS, asked, &schedule, &meter).await?;
    let measurement = setup.window(&meter, &service).await?;
    drop(getters);
    let error = scans.and_then(Scans::stop);
    service.stop().await?;
    Ok(Measurement {
        offered_per_second: Some(GETS_PER_SECOND),
        admission: Some(meter.admission()),
        error: measurement.error.or(error),
        ..measurement
    })
}

/// Events of new cars as fast as they are taken, on a copy of the database.
pub(super) async fn writes(setup: &mut Setup, beside: Beside) -> Result<Measurement> {
    let plain = setup.filled(Filled::Plain).await?;
    let database = setup.postgres()?.copy(&plain).await?;
    setup.postgres()?.checkpoint().await?;
    let measured = write(setup, &database, beside).await;
    setup.postgres()?.drop_database(database).await?;
    measured
}

async fn write(setup: &Setup, database: &Database, beside: Beside) -> Result<Measurement> {
    let cars = setup.databases.cars(Amount::Base)?;
    let service = setup.service(&database.url).await?;
    let scans = if beside == Beside::Scans {
        Some(Scans::start(service.address(), cars).await?)
    } else {
        None
    };
    let meter = Meter::new()?;
    let writers = writers(service.address(), WRITERS, &meter).await?;
    let mut measurement = match beside {
        Beside::Building => count_during(setup, &service, &meter, build(service.address())).await?,
        Beside::NothingForLong => {
            let time = async {
                sleep(BUILDING_TIME).await;
                Ok(())
            };
            count_during(setup, &service, &meter, time).await?
        }
        Beside::Nothing | Beside::Scans => setup.window(&meter, &service).await?,
    };
    drop(writers);
    let error = scans.and_then(Scans::stop);
    service.stop().await?;
    measurement.error = measurement.error.or(error);
    check_log(measurement, &CellDatabase::Postgres(database.clone()), &meter).await
}

/// Declares an index, and waits until it is ready, or [`BUILDING_TIME`] is over.
async fn build(address: SocketAddr) -> Result<()> {
    put(address, cars::DEALER).await?;
    timeout(BUILDING_TIME, wait_until_ready(address)).await.unwrap_or(Ok(()))
}

/// Counts while something else is done.
async fn count_during(
    setup: &Setup,
    service: &Service,
    meter: &Meter,
    work: impl Future<Output = Result<()>>,
) -> Result<Measurement> {
    sleep(setup.bench.times.warm_up).await;
    let before = setup.bench.usage(Some(service.process()?))?;
    meter.open();
    work.await?;
    meter.close();
    setup.since(&before, meter, service)
}

/// So many connections that write new cars as fast as they can. They stop when the value is dropped.
pub(super) async fn writers(address: SocketAddr, count: usize, meter: &Meter) -> Result<Clients> {
    let (mut clients, schedule) = (Clients::default(), Schedule::new(None, meter));
    for connection in connect(address, count).await? {
        clients.spawn(send(connection, cars::events(), meter.clone(), schedule.clone()));
    }
    Ok(clients)
}

/// The measurement, with an error where acknowledged events are not in the log, which was empty.
pub(super) async fn check_log(
    mut measurement: Measurement,
    database: &CellDatabase,
    meter: &Meter,
) -> Result<Measurement> {
    let (logged, acknowledged) =
        (database.logged_events().await?.unwrap_or(0), meter.acknowledged());
    if logged < acknowledged {
        measurement.error =
            Some(format!("{acknowledged} events acknowledged, {logged} in the log"));
    }
    Ok(measurement)
}

/// Clients that look at every car for one that is not there.
struct Scans {
    clients: Clients,
    meter: Meter,
}

impl Scans {
    async fn start(address: SocketAddr, cars: Cars) -> Result<Self> {
        let meter = Meter::new()?;
        // beyond what a process lets scan, it refuses
        meter.count_refusals();
        meter.open();
        let asked = (Asked::Question(Question::Unindexed), cars);
        let schedule = Schedule::new(None, &meter);
        let clients = clients::start(address, SCANNERS, asked, &schedule, &meter).await?;
        Ok(Self { clients, meter })
    }

    /// Ends them; returns an error where they have not scanned.
    fn stop(self) -> Option<String> {
        drop(self.clients);
        let nothing = || (self.meter.events() == 0).then(|| "no page of the scans".to_owned());
        self.meter.error().or_else(nothing)
    }
}
