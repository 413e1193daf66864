//! The memory of the service while nothing is written.

use tokio::time::sleep;

use super::setup::{Setup, service};
use crate::generator::Followers;
use crate::meter::Meter;
use crate::results::Measurement;
use crate::{Result, procfs};

/// The peak memory with so many readers.
pub(super) async fn measure(setup: &Setup, readers: usize) -> Result<Measurement> {
    let database = setup.empty_log().await?;
    let service = service(&database).await?;
    let process = service.process()?;
    let meter = Meter::new()?;
    let before = setup.bench.usage(Some(process))?;
    let readers = Followers::start(service.address(), readers, &meter, |_| {}).await?;
    sleep(setup.bench.times.measured).await;
    let measurement = setup.bench.since(&before, 0, Some(process))?;
    let peak_memory_bytes = Some(procfs::peak_memory(process)?);
    drop(readers);
    service.stop().await?;
    setup.postgres()?.drop_database(database).await?;
    Ok(Measurement { peak_memory_bytes, error: meter.error(), ..measurement })
}
