//! Reading events from the log.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteExecutor, SqliteRow};
use sqlx::{FromRow, Sqlite};
use uuid::Uuid;

use super::error::unavailable;
use crate::model::{LoggedEvent, Timestamp};
use crate::query::ReadError;
use crate::store::logged::{EventAssembler, LogRecord, RecordRow};
use crate::store::pool::MeasuredPool;

// Ordinals below 0 are checkpoints and detached updates, which belong to no event.
pub(in crate::store::sqlite) const LOGGED: &str = r"
SELECT l.event_uuid, l.version, l.created_at, l.saved_at, l.committed_at, l.attempt_id, l.created,
       l.operation, l.entity_type, l.entity_id, l.event_name, l.event_type, l.event_source,
       l.event_actor, l.patch
FROM json_each(?) AS wanted CROSS JOIN event_log AS l ON l.event_uuid = unhex(wanted.value)
    AND l.ordinal >= 0
ORDER BY l.event_uuid, l.ordinal";

/// One event of the log.
pub(in crate::store::sqlite) async fn event(
    pool: &MeasuredPool<Sqlite>,
    uuid: Uuid,
) -> Result<Option<LoggedEvent>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let mut event = None;
    let found = |logged| event = Some(logged);
    logged(&mut *connection, [uuid].into_iter(), found).await.map_err(unavailable)?;
    Ok(event)
}

/// Calls `found` with each of `uuids` that is in the log, one at a time: together they may be large.
pub(in crate::store::sqlite) async fn logged(
    executor: impl SqliteExecutor<'_>,
    uuids: impl Iterator<Item = Uuid>,
    mut found: impl FnMut(LoggedEvent),
) -> Result<(), sqlx::Error> {
    let mut rows = sqlx::query(LOGGED).bind(wanted(uuids)).fetch(executor);
    let mut assembler = EventAssembler::default();
    while let Some(row) = rows.try_next().await? {
        assembler.add(record(&row)?).into_iter().for_each(&mut found);
    }
    assembler.finish().into_iter().for_each(found);
    Ok(())
}

/// The parameter of [`LOGGED`].
pub(in crate::store::sqlite) fn wanted(uuids: impl Iterator<Item = Uuid>) -> String {
    // each once: a duplicate uuid would join its rows twice
    let uuids: BTreeSet<Uuid> = uuids.collect();
    serde_json::Value::from_iter(uuids.iter().map(|uuid| uuid.simple().to_string())).to_string()
}

/// A row of [`LOGGED`].
pub(in crate::store::sqlite) fn record(row: &SqliteRow) -> Result<LogRecord, sqlx::Error> {
    RecordRow::<i64>::from_row(row)?.into_record(Timestamp::from_micros)
}
