//! Reading events from the log.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteExecutor, SqliteRow};
use sqlx::{FromRow, Sqlite};
use uuid::Uuid;

use super::error::unavailable;
use crate::model::{AttemptId, EntityKey, LoggedEvent, Operation, Timestamp};
use crate::query::ReadError;
use crate::store::logged::{EventAssembler, LogRecord};
use crate::store::numbers::from_bigint;
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
    LogRecord::try_from(LogRow::from_row(row)?)
}

#[derive(FromRow)]
struct LogRow {
    event_uuid: Uuid,
    version: i64,
    created_at: Option<i64>,
    saved_at: Option<i64>,
    committed_at: i64,
    attempt_id: i32,
    created: bool,
    operation: i16,
    entity_type: String,
    entity_id: String,
    event_name: String,
    event_type: Option<String>,
    event_source: Option<String>,
    event_actor: Option<String>,
    patch: String,
}

impl TryFrom<LogRow> for LogRecord {
    type Error = sqlx::Error;

    fn try_from(row: LogRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            uuid: row.event_uuid,
            name: row.event_name,
            event_type: row.event_type,
            created_date: row.created_at.map(Timestamp::from_micros),
            saved_date: row.saved_at.map(Timestamp::from_micros),
            source: row.event_source,
            actor: row.event_actor,
            committed: Timestamp::from_micros(row.committed_at),
            attempt: AttemptId(row.attempt_id),
            key: EntityKey::new_unchecked(row.entity_type, row.entity_id),
            version: from_bigint(row.version),
            created: row.created,
            operation: Operation::from_code(row.operation)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
            patch: row.patch,
        })
    }
}
