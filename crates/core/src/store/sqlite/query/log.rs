//! Reading one entity's log.

use sqlx::Sqlite;
use uuid::Uuid;

use super::error::unavailable;
use crate::model::{
    AsOf, EntityKey, EntryKind, LogEntry, LogPoint, LogRange, Operation, Timestamp,
};
use crate::query::ReadError;
use crate::store::chunks::Chunks;
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::pool::MeasuredPool;

const ASCENDING: &str = r"
SELECT kind, event_uuid, ordinal, version, operation, created, event_name, event_type, event_source,
       event_actor, created_at, committed_at, patch
FROM event_log WHERE entity_type = ?1 AND entity_id = ?2 AND version > ?3 AND version <= ?4
ORDER BY version LIMIT ?5";

const DESCENDING: &str = r"
SELECT kind, event_uuid, ordinal, version, operation, created, event_name, event_type, event_source,
       event_actor, created_at, committed_at, patch
FROM event_log WHERE entity_type = ?1 AND entity_id = ?2 AND version > ?3 AND version <= ?4
ORDER BY version DESC LIMIT ?5";

/// The newest entry up to a version; of the entries of a number before it the newest base; and when the
/// entity was made. That is in its row, unless it was made anew since; then it is looked for among these
/// entries too: a search through all of them could take long.
const POINT: &str = r"
SELECT at.version,
       (SELECT version FROM event_log
        WHERE entity_type = ?1 AND entity_id = ?2
            AND version <= at.version AND version > at.version - ?4
            AND (created OR kind = 2 OR operation <> 0)
        ORDER BY version DESC LIMIT 1),
       CASE WHEN e.created_at < at.committed_at THEN e.created_at ELSE
           (SELECT CASE WHEN kind IN (1, 2) THEN coalesce(created_at, committed_at)
                        ELSE committed_at END
            FROM event_log
            WHERE entity_type = ?1 AND entity_id = ?2
                AND version <= at.version AND version > at.version - ?4
                AND (created OR kind = 2)
            ORDER BY version DESC LIMIT 1) END
FROM (SELECT version, committed_at FROM event_log
      WHERE entity_type = ?1 AND entity_id = ?2 AND version <= ?3
      ORDER BY version DESC LIMIT 1) AS at
LEFT JOIN entities e ON e.entity_type = ?1 AND e.entity_id = ?2";

/// The newest version that was not committed after a time. Versions have no gaps and times never go back
/// within an entity, so it is found by halving.
const VERSION_AT: &str = r"
WITH RECURSIVE search (low, high) AS (
    SELECT (SELECT version FROM event_log WHERE entity_type = ?1 AND entity_id = ?2
            ORDER BY version LIMIT 1),
           (SELECT version FROM event_log WHERE entity_type = ?1 AND entity_id = ?2
            ORDER BY version DESC LIMIT 1)
    UNION ALL
    SELECT CASE WHEN (SELECT committed_at FROM event_log
                      WHERE entity_type = ?1 AND entity_id = ?2
                          AND version = (low + high + 1) / 2) <= ?3
           THEN (low + high + 1) / 2 ELSE low END,
           CASE WHEN (SELECT committed_at FROM event_log
                      WHERE entity_type = ?1 AND entity_id = ?2
                          AND version = (low + high + 1) / 2) <= ?3
           THEN high ELSE (low + high + 1) / 2 - 1 END
    FROM search WHERE low < high
)
SELECT version FROM event_log
WHERE entity_type = ?1 AND entity_id = ?2 AND committed_at <= ?3
    AND version = (SELECT low FROM search WHERE low = high)";

/// A part of an entity's log.
pub(in crate::store::sqlite) async fn log(
    pool: &MeasuredPool<Sqlite>,
    key: &EntityKey,
    range: LogRange,
) -> Result<Vec<LogEntry>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let statement = if range.descending { DESCENDING } else { ASCENDING };
    let (mut range, mut chunks, mut entries) = (range, Chunks::new(range.entries), Vec::new());
    while let Some(size) = chunks.next() {
        let rows = sqlx::query_as::<_, LogRow>(statement)
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(to_bigint(range.after))
            .bind(to_bigint(range.up_to))
            .bind(i64::from(size))
            .fetch_all(&mut *connection)
            .await
            .map_err(unavailable)?;
        let chunk = rows.into_iter().map(LogEntry::try_from);
        let chunk = chunk.collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
        chunks.note(size, &chunk);
        range = range.behind(&chunk);
        entries.extend(chunk);
    }
    Ok(entries)
}

/// The last entry up to a moment.
pub(in crate::store::sqlite) async fn log_point(
    pool: &MeasuredPool<Sqlite>,
    key: &EntityKey,
    as_of: AsOf,
    within: u64,
) -> Result<Option<LogPoint>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let version = match as_of {
        AsOf::Version(version) => Some(to_bigint(version)),
        AsOf::Time(time) => {
            let found = sqlx::query_scalar(VERSION_AT)
                .bind(key.entity_type())
                .bind(key.entity_id())
                .bind(time.micros())
                .fetch_optional(&mut *connection);
            found.await.map_err(unavailable)?
        }
    };
    let row: Option<(i64, Option<i64>, Option<i64>)> = sqlx::query_as(POINT)
        .bind(key.entity_type())
        .bind(key.entity_id())
        .bind(version.unwrap_or(0))
        .bind(to_bigint(within))
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(row.map(|(version, base, made_at)| LogPoint {
        version: from_bigint(version),
        base: base.map(from_bigint),
        made_at: made_at.map(Timestamp::from_micros),
    }))
}

#[derive(sqlx::FromRow)]
struct LogRow {
    kind: i16,
    event_uuid: Uuid,
    ordinal: i16,
    version: i64,
    operation: i16,
    created: bool,
    event_name: String,
    event_type: Option<String>,
    event_source: Option<String>,
    event_actor: Option<String>,
    created_at: Option<i64>,
    committed_at: i64,
    patch: String,
}

impl TryFrom<LogRow> for LogEntry {
    type Error = sqlx::Error;

    fn try_from(row: LogRow) -> Result<Self, sqlx::Error> {
        let unknown = |error: String| sqlx::Error::Decode(error.into());
        Ok(Self {
            kind: EntryKind::from_code(row.kind).map_err(unknown)?,
            uuid: row.event_uuid,
            ordinal: row.ordinal,
            version: from_bigint(row.version),
            operation: Operation::from_code(row.operation).map_err(unknown)?,
            created: row.created,
            event_name: row.event_name,
            event_type: row.event_type,
            source: row.event_source,
            actor: row.event_actor,
            created_date: row.created_at.map(Timestamp::from_micros),
            committed: Timestamp::from_micros(row.committed_at),
            patch: row.patch,
        })
    }
}
