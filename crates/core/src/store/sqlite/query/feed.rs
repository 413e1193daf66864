//! Reading the log in the order of positions. There is one writer at a time, so all that is there is
//! decided.

use sqlx::Sqlite;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::error::unavailable;
use super::parameter::json;
use crate::feed::{ChangesQuery, LogBounds, LogHead, LogPage};
use crate::model::Timestamp;
use crate::query::ReadError;
use crate::store::changes::{BOUNDS, BoundsRow, LAST_MARK, MARK_BEFORE, into_page};
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::pool::MeasuredPool;

const HEAD: &str = r"
SELECT epoch, (SELECT position FROM event_log ORDER BY position DESC LIMIT 1)
FROM event_log_epoch";

/// As on PostgreSQL. Subqueries are materialized here with all that they select, so that patches are read
/// only at the end.
const CHANGES: &str = r"
WITH log AS (
    SELECT position, octet_length(patch) AS size,
           kind IN (0, 1)
               AND ($4 IS NULL OR entity_type IN (SELECT value FROM json_each($4))) AS wanted
    FROM event_log WHERE position > $1 AND position <= $2
    ORDER BY position LIMIT $3
), sized AS (
    SELECT position, wanted, CASE WHEN wanted THEN size ELSE 0 END AS size,
           row_number() OVER (ORDER BY position) AS number
    FROM log
), page AS (
    SELECT position, wanted, size, number,
           sum(size) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS bytes
    FROM sized
)
SELECT epoch, floor, page.position, kind, event_uuid, ordinal, version, operation, created,
       entity_type, entity_id, event_name, event_type, event_source, event_actor, created_at,
       committed_at, CASE WHEN wanted THEN patch ELSE '' END AS patch
FROM event_log_epoch
LEFT JOIN page ON (bytes <= $5 OR bytes = size) AND (wanted OR number = $3)
LEFT JOIN event_log ON event_log.position = page.position";

/// The last position. It is committed, and so is all before it.
pub(in crate::store::sqlite) async fn head(
    pool: &MeasuredPool<Sqlite>,
) -> Result<LogHead, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let head = sqlx::query_as(HEAD).fetch_one(&mut *connection);
    let (epoch, last): (Uuid, Option<i64>) = head.await.map_err(unavailable)?;
    let drawn = last.map_or(0, from_bigint);
    Ok(LogHead { epoch, drawn, writers: Vec::new(), generation: 0 })
}

/// What the log has.
pub(in crate::store::sqlite) async fn bounds(
    pool: &MeasuredPool<Sqlite>,
    up_to: u64,
) -> Result<LogBounds, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let bounds = sqlx::query_as::<_, BoundsRow>(BOUNDS).bind(to_bigint(up_to));
    Ok(bounds.fetch_one(&mut *connection).await.map_err(unavailable)?.into())
}

/// The last mark before a time, or of all.
pub(in crate::store::sqlite) async fn position_before(
    pool: &MeasuredPool<Sqlite>,
    time: Option<Timestamp>,
) -> Result<Option<u64>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let query = match time {
        Some(time) => sqlx::query_scalar(MARK_BEFORE).bind(time.micros()),
        None => sqlx::query_scalar(LAST_MARK),
    };
    let position: Option<i64> =
        query.fetch_optional(&mut *connection).await.map_err(unavailable)?;
    Ok(position.map(from_bigint))
}

/// A part of the log.
pub(in crate::store::sqlite) async fn changes(
    pool: &MeasuredPool<Sqlite>,
    query: ChangesQuery<'_>,
) -> Result<LogPage, ReadError> {
    let types = query.types.names().map(json).transpose()?;
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let rows: Vec<SqliteRow> = sqlx::query(CHANGES)
        .bind(to_bigint(query.after))
        .bind(to_bigint(query.up_to))
        .bind(i64::from(query.rows))
        .bind(types)
        .bind(to_bigint(query.bytes as u64))
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    into_page::<_, i64>(&rows, query, Timestamp::from_micros).map_err(unavailable)
}
