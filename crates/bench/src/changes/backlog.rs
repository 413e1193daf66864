//! A reader that begins with the oldest change.

use super::logs::Log;
use super::setup::{Setup, service};
use crate::generator::Reader;
use crate::results::Measurement;
use crate::{Result, procfs};

/// Reads a log by NDJSON. Of the large one as many changes as the small one has: the two differ in
/// nothing but the rows behind them.
pub(super) async fn measure(setup: &mut Setup, log: Log) -> Result<Measurement> {
    let database = setup.log(log).await?;
    let changes = setup.logs.rows(if log == Log::Large { Log::Small } else { log });
    let service = service(&database).await?;
    let process = service.process()?;
    let before = setup.bench.usage(Some(process))?;
    let mut reader = Reader::of_log(service.address()).await?;
    let mut received = 0;
    while received < changes && reader.read(|_| received += 1).await? {}
    let measurement = setup.bench.since(&before, received, Some(process))?;
    if received < changes {
        return Err(format!("{received} of {changes} changes came").into());
    }
    let peak_memory_bytes = Some(procfs::peak_memory(process)?);
    drop(reader);
    service.stop().await?;
    Ok(Measurement { peak_memory_bytes, ..measurement })
}
