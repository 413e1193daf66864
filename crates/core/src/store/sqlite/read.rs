//! The reads, each one statement.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteExecutor, SqliteRow};
use sqlx::{FromRow, Sqlite};
use uuid::Uuid;

use crate::store::log::{Assembly, LogRecord};
use crate::store::numbers::count;
use crate::store::pool::MeasuredPool;
use crate::store::{Entity, LoggedEvent, ReadError, Stamp};
use crate::{EntityKey, Timestamp};

// Below 0 stands what pruning leaves, which is no event.
pub(super) const LOGGED: &str = r"
SELECT l.event_uuid, l.version, l.created_at, l.saved_at, l.committed_at, l.stamp, l.entity_type,
       l.entity_id, l.event_name, l.event_type, l.patch
FROM json_each(?) AS wanted CROSS JOIN event_log AS l ON l.event_uuid = unhex(wanted.value)
    AND l.ordinal >= 0
ORDER BY l.event_uuid, l.ordinal";

const ENTITY: &str = r"
SELECT version, created_at, updated_at, data FROM entities
WHERE entity_type = ?1 AND entity_id = ?2";

type Pool = MeasuredPool<Sqlite>;

/// The current state of one entity.
pub(super) async fn entity(pool: &Pool, key: &EntityKey) -> Result<Option<Entity>, ReadError> {
    let row: Option<(i64, i64, i64, String)> = sqlx::query_as(ENTITY)
        .bind(key.entity_type())
        .bind(key.entity_id())
        .fetch_optional(&mut *pool.acquire().await.map_err(unavailable)?)
        .await
        .map_err(unavailable)?;
    Ok(row.map(|(version, created, updated, data)| Entity {
        key: key.clone(),
        version: count(version),
        created_at: Timestamp::from_micros(created),
        updated_at: Timestamp::from_micros(updated),
        data,
    }))
}

/// One event of the log.
pub(super) async fn event(pool: &Pool, uuid: Uuid) -> Result<Option<LoggedEvent>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let mut event = None;
    let found = |logged| event = Some(logged);
    logged(&mut *connection, [uuid].into_iter(), found).await.map_err(unavailable)?;
    Ok(event)
}

/// Whether the file can be read.
pub(super) async fn ping(pool: &Pool) -> Result<(), ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let page =
        sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1").fetch_optional(&mut *connection).await;
    page.map(drop).map_err(unavailable)
}

fn unavailable(error: sqlx::Error) -> ReadError {
    ReadError(error.to_string())
}

/// Hands over those of `uuids` that are in the log, one by one: together they may be large.
pub(super) async fn logged(
    executor: impl SqliteExecutor<'_>,
    uuids: impl Iterator<Item = Uuid>,
    mut found: impl FnMut(LoggedEvent),
) -> Result<(), sqlx::Error> {
    let mut rows = sqlx::query(LOGGED).bind(wanted(uuids)).fetch(executor);
    let mut assembly = Assembly::default();
    while let Some(row) = rows.try_next().await? {
        assembly.add(record(&row)?).into_iter().for_each(&mut found);
    }
    assembly.finish().into_iter().for_each(found);
    Ok(())
}

/// What [`LOGGED`] asks for.
pub(super) fn wanted(uuids: impl Iterator<Item = Uuid>) -> String {
    // Each once: a uuid that stands twice here would join its rows twice.
    let uuids: BTreeSet<Uuid> = uuids.collect();
    serde_json::Value::from_iter(uuids.iter().map(|uuid| uuid.simple().to_string())).to_string()
}

/// A row of [`LOGGED`].
pub(super) fn record(row: &SqliteRow) -> Result<LogRecord, sqlx::Error> {
    LogRow::from_row(row).map(LogRecord::from)
}

#[derive(FromRow)]
struct LogRow {
    event_uuid: Uuid,
    version: i64,
    created_at: Option<i64>,
    saved_at: Option<i64>,
    committed_at: i64,
    stamp: i32,
    entity_type: String,
    entity_id: String,
    event_name: String,
    event_type: Option<String>,
    patch: String,
}

impl From<LogRow> for LogRecord {
    fn from(row: LogRow) -> Self {
        Self {
            uuid: row.event_uuid,
            name: row.event_name,
            event_type: row.event_type,
            created: row.created_at.map(Timestamp::from_micros),
            saved: row.saved_at.map(Timestamp::from_micros),
            committed: Timestamp::from_micros(row.committed_at),
            stamp: Stamp(row.stamp),
            key: EntityKey { entity_type: row.entity_type, entity_id: row.entity_id },
            version: count(row.version),
            patch: row.patch,
        }
    }
}
