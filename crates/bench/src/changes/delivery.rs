//! From an event to its change: events at a constant rate, and readers that get all of them.

use tokio::time::sleep;

use super::logs::Log;
use super::setup::{Setup, service};
use crate::cells::{Interface, cell};
use crate::generator::{Followers, Sent, Writers};
use crate::measure::Times;
use crate::meter::Meter;
use crate::postgres::Database;
use crate::results::Measurement;
use crate::{Result, procfs};

/// Connections that write.
const CONNECTIONS: usize = 64;
/// Events per second where the rate is fixed.
const FIXED_RATE: f64 = 1000.0;
/// The readers of [`fan_out`].
const MANY_READERS: usize = 200;

/// One reader, at half of the rate that saturates the service.
pub(super) async fn at_half_load(setup: &mut Setup) -> Result<Measurement> {
    let saturated = setup.bench.measure(&cell(Interface::Single, CONNECTIONS)).await;
    if let Some(error) = saturated.error {
        return Err(error.into());
    }
    let database = setup.empty_log().await?;
    let rate = saturated.events_per_second / 2.0;
    measure_and_drop(setup, database, Load { rate, readers: 1 }).await
}

/// One reader, at a fixed rate, behind the rows of a filled log.
pub(super) async fn behind(setup: &mut Setup, log: Log) -> Result<Measurement> {
    let database = setup.log(log).await?;
    measure(setup, &database, Load { rate: FIXED_RATE, readers: 1 }).await
}

/// Many readers, at a fixed rate.
pub(super) async fn fan_out(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.empty_log().await?;
    measure_and_drop(setup, database, Load { rate: FIXED_RATE, readers: MANY_READERS }).await
}

/// What the service has to do.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Events per second.
    rate: f64,
    /// Readers of all of them.
    readers: usize,
}

async fn measure_and_drop(setup: &Setup, database: Database, load: Load) -> Result<Measurement> {
    let measurement = measure(setup, &database, load).await?;
    setup.postgres()?.drop_database(database).await?;
    Ok(measurement)
}

/// Writes at the load's rate for the time of a cell, then waits until every reader has everything.
async fn measure(setup: &Setup, database: &Database, load: Load) -> Result<Measurement> {
    let service = service(database).await?;
    let (process, address) = (service.process()?, service.address());
    let (writes, deliveries, sent) = (Meter::new()?, Meter::new()?, Sent::default());
    let readers = {
        let (deliveries, sent) = (deliveries.clone(), sent.clone());
        let each = move |change: &[u8]| sent.note_delivery(change, &deliveries);
        Followers::start(address, load.readers, &writes, each).await?
    };
    let Times { warm_up, measured } = setup.bench.times;
    let mut writers = Writers::start(address, load.rate, &writes, &sent).await?;
    sleep(warm_up).await;
    writes.open();
    deliveries.open();
    let before = setup.bench.usage(Some(process))?;
    sleep(measured).await;
    writers.stop().await?;
    readers.catch_up(writes.acknowledged()).await?;
    let delivered = deliveries.events();
    let measurement = setup.bench.since(&before, delivered, Some(process))?;
    let peak_memory_bytes = Some(procfs::peak_memory(process)?);
    drop(readers);
    service.stop().await?;
    Ok(Measurement {
        latency_us: deliveries.latency(),
        offered_per_second: Some(load.rate),
        admission: Some(writes.admission()),
        peak_memory_bytes,
        error: writes.error(),
        ..measurement
    })
}
