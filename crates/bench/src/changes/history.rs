//! Pages of the history of one entity with many versions.

use std::time::Instant;

use super::logs::{self, Log};
use super::setup::{Setup, service};
use crate::generator::{Connection, to_text};
use crate::meter::Meter;
use crate::results::Measurement;
use crate::{Result, events, procfs};

/// Reads the first and the last 100 updates by turns, one request after the other.
pub(super) async fn measure(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.log(Log::OneEntity).await?;
    let service = service(&database).await?;
    let process = service.process()?;
    let mut connection = Connection::open(service.address()).await?;
    let requests = ["version", "version%20desc"].map(request);
    let meter = Meter::new()?;
    meter.open();
    let before = setup.bench.usage(Some(process))?;
    let start = Instant::now();
    while start.elapsed() < setup.bench.times.measured {
        for request in &requests {
            let sent = Instant::now();
            let response = connection.call(request.as_bytes()).await?;
            if response.status != 200 {
                return Err(to_text(&response).into());
            }
            meter.read(sent.into());
        }
    }
    let measurement = setup.bench.since(&before, meter.events(), Some(process))?;
    let peak_memory_bytes = Some(procfs::peak_memory(process)?);
    service.stop().await?;
    Ok(Measurement { latency_us: meter.latency(), peak_memory_bytes, ..measurement })
}

fn request(order: &str) -> String {
    let (entity_type, prefix, number) =
        (events::ENTITY_TYPE, events::KEY_PREFIX, logs::first_key());
    format!(
        "GET /api/v1/entities/{entity_type}/{prefix}{number}/history?pageSize=100&orderBy={order} \
         HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    )
}
