//! The lowest cost of a log's rows in their order: COPY to the client.

use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection};

use super::logs::Log;
use super::setup::Setup;
use crate::Result;
use crate::results::Measurement;

/// The columns that a change has.
const ROWS: &str = "COPY (
    SELECT position, kind, event_uuid, ordinal, version, operation, created, entity_type, entity_id,
           event_name, event_type, event_source, event_actor, created_at, committed_at, patch
    FROM event_log ORDER BY position) TO STDOUT";

/// Reads the backlog.
pub(super) async fn measure(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.log(Log::Backlog).await?;
    let expected = setup.logs.rows(Log::Backlog);
    let mut connection = PgConnection::connect(&database.url).await?;
    let before = setup.bench.usage(None)?;
    let mut rows = 0;
    let mut stream = connection.copy_out_raw(ROWS).await?;
    // the server sends each row by itself
    while stream.try_next().await?.is_some() {
        rows += 1;
    }
    drop(stream);
    let measurement = setup.bench.since(&before, rows, None)?;
    connection.close().await?;
    if rows != expected {
        return Err(format!("{rows} of {expected} rows came").into());
    }
    Ok(measurement)
}
