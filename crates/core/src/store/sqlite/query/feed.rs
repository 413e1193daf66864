//! Reading the log in the order of positions. There is one writer at a time, so all that is there is
//! decided.

use serde_json::to_string;
use sqlx::Sqlite;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::error::unavailable;
use crate::feed::{ChangesQuery, EntitiesQuery, LogBounds, LogHead, LogPage};
use crate::model::{Entity, EntityKey, Timestamp};
use crate::query::ReadError;
use crate::store::changes::{
    BOUNDS, BoundsRow, EntityRow, LAST_MARK, MARK_BEFORE, StateRow, behind_every_type, into_page,
};
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

const STATES: &str = r"
SELECT e.version, e.created_at, e.updated_at, CASE WHEN NOT e.deleted THEN e.data END AS data
FROM (SELECT number, row, sum(CASE WHEN NOT deleted THEN size ELSE 0 END) OVER (ORDER BY number) AS bytes
      FROM (SELECT key.key AS number, e.rowid AS row, e.deleted, e.size
            FROM json_each($1) AS key LEFT JOIN entities AS e
                ON e.entity_type = key.value->>0 AND e.entity_id = key.value->>1)) AS states
LEFT JOIN entities AS e ON e.rowid = row
WHERE bytes <= $2 OR number = 0 ORDER BY number";

const ENTITIES: &str = r"
SELECT e.entity_type, e.entity_id, e.version, e.created_at, e.updated_at, e.data
FROM (SELECT row, sum(size) OVER (ORDER BY number) AS bytes, number
      FROM (SELECT rowid AS row, size,
                   row_number() OVER (ORDER BY entity_type, entity_id) AS number
            FROM entities
            WHERE (entity_type, entity_id) > ($1, $2) AND entity_type <= $3 AND NOT deleted
            ORDER BY entity_type, entity_id LIMIT $4)) AS page
JOIN entities AS e ON e.rowid = row
WHERE bytes <= $5 OR number = 1 ORDER BY number";

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

/// The states of the first of these entities.
pub(in crate::store::sqlite) async fn states(
    pool: &MeasuredPool<Sqlite>,
    keys: &[&EntityKey],
    bytes: usize,
) -> Result<Vec<Option<Entity>>, ReadError> {
    let texts: Vec<_> = keys.iter().map(|key| (key.entity_type(), key.entity_id())).collect();
    let texts = json(&texts)?;
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let rows: Vec<StateRow<i64>> = sqlx::query_as(STATES)
        .bind(texts)
        .bind(to_bigint(bytes as u64))
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    let states = rows.into_iter().zip(keys);
    Ok(states.map(|(row, key)| row.into_entity(key, Timestamp::from_micros)).collect())
}

/// Entities in the order of their keys.
pub(in crate::store::sqlite) async fn entities(
    pool: &MeasuredPool<Sqlite>,
    query: EntitiesQuery<'_>,
) -> Result<Vec<Entity>, ReadError> {
    let last_type = query.entity_type.map_or_else(behind_every_type, str::to_owned);
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let rows: Vec<EntityRow<i64>> = sqlx::query_as(ENTITIES)
        .bind(query.after.0)
        .bind(query.after.1)
        .bind(last_type)
        .bind(i64::from(query.entities))
        .bind(to_bigint(query.bytes as u64))
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(rows.into_iter().map(|row| row.into_entity(Timestamp::from_micros)).collect())
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<String, ReadError> {
    to_string(value).map_err(|error| unavailable(sqlx::Error::Encode(error.into())))
}
