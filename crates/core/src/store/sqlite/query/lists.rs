//! Reading entities in the order of their keys.

use sqlx::{Sqlite, SqliteConnection};

use super::error::unavailable;
use super::parameter::{hex, json};
use crate::model::{Entity, EntityKey, Timestamp};
use crate::query::{
    CountedPart, CountedType, EntitiesPart, EntitiesQuery, IndexPart, IndexQuery, KeyRange,
    ReadError,
};
use crate::store::listed::{
    COUNT, CountRow, EntityRow, IndexRow, StateRow, bounds, into_counted, into_ids,
    into_index_part, into_part,
};
use crate::store::numbers::to_bigint;
use crate::store::pool::MeasuredPool;
use crate::types::index_key::Range;

const STATES: &str = r"
SELECT e.version, e.created_at, e.updated_at, CASE WHEN NOT e.deleted THEN e.data END AS data
FROM (SELECT number, row, sum(CASE WHEN NOT deleted THEN size ELSE 0 END) OVER (ORDER BY number) AS bytes
      FROM (SELECT key.key AS number, e.rowid AS row, e.deleted, e.size
            FROM json_each($1) AS key LEFT JOIN entities AS e
                ON e.entity_type = key.value->>0 AND e.entity_id = key.value->>1)) AS states
LEFT JOIN entities AS e ON e.rowid = row
WHERE bytes <= $2 OR number = 0 ORDER BY number";

/// The entities of a range in an order. Subqueries are materialized here with all that they select, so that
/// documents are read only at the end.
macro_rules! entities {
    ($order:literal) => {
        concat!(
            "
SELECT e.entity_type, e.entity_id, e.version, e.created_at, e.updated_at,
       CASE WHEN NOT e.deleted THEN e.data END AS data, has_next, false AS is_large
FROM (SELECT row, number, sum(size) OVER (ORDER BY number ROWS UNBOUNDED PRECEDING) AS bytes,
             lead(1) OVER (ORDER BY number) IS NOT NULL AS has_next
      FROM (SELECT rowid AS row, CASE WHEN NOT deleted THEN size ELSE 0 END AS size,
                   row_number() OVER (ORDER BY entity_type ",
            $order,
            ", entity_id ",
            $order,
            ") AS number
            FROM entities
            WHERE (entity_type, entity_id) >= ($1, $2) AND (entity_type, entity_id) < ($3, $4)
            ORDER BY entity_type ",
            $order,
            ", entity_id ",
            $order,
            " LIMIT $5)) AS range
JOIN entities AS e ON e.rowid = row
WHERE bytes <= $6 OR number = 1 ORDER BY number"
        )
    };
}

const ASCENDING: &str = entities!("ASC");
const DESCENDING: &str = entities!("DESC");

/// A part of an index in an order. There is a row, with nulls, also where it has no entity.
macro_rules! indexed {
    ($order:literal) => {
        concat!(
            "
SELECT p.state = 1 AS is_ready, i.key, i.entity_id, e.version, e.created_at, e.updated_at,
       CASE WHEN NOT e.deleted THEN e.data END AS data, i.has_next, false AS is_large
FROM type_parts AS p
LEFT JOIN (SELECT key, entity_id, row, number,
                  sum(size) OVER (ORDER BY number ROWS UNBOUNDED PRECEDING) AS bytes,
                  lead(1) OVER (ORDER BY number) IS NOT NULL AS has_next
           FROM (SELECT x.key, x.entity_id, x.number, e.rowid AS row,
                        CASE WHEN NOT e.deleted THEN e.size ELSE 0 END AS size
                 FROM (SELECT key, entity_id,
                              row_number() OVER (ORDER BY key ",
            $order,
            ", entity_id ",
            $order,
            ") AS number
                       FROM entity_index
                       WHERE index_id = $1 AND key IS NOT NULL
                           AND (key, entity_id) >= ($3, $4) AND (key, entity_id) < ($5, $6)
                       ORDER BY key ",
            $order,
            ", entity_id ",
            $order,
            " LIMIT $7) AS x
                 LEFT JOIN entities AS e ON e.entity_type = $2 AND e.entity_id = x.entity_id)) AS i
    ON p.state = 1 AND (i.bytes <= $8 OR i.number = 1)
LEFT JOIN entities AS e ON e.rowid = i.row
WHERE p.part_id = $1 ORDER BY i.number"
        )
    };
}

const INDEX_ASCENDING: &str = indexed!("ASC");
const INDEX_DESCENDING: &str = indexed!("DESC");

/// There is a row, with a null, also where there is no id.
const INDEXED_IDS: &str = r"
SELECT p.state = 1 AS is_ready, found.entity_id
FROM type_parts AS p
LEFT JOIN (SELECT i.entity_id
           FROM json_each($2) AS part
           CROSS JOIN entity_index AS i ON i.index_id = $1 AND i.key IS NOT NULL
               AND i.key >= unhex(part.value->>0) AND i.key < unhex(part.value->>1)
           LIMIT $3) AS found ON p.state = 1
WHERE p.part_id = $1";

/// From type to type, each found by the index.
const TYPES: &str = r"
WITH RECURSIVE types AS (
    SELECT $1 AS entity_type, 0 AS number
    UNION ALL
    SELECT (SELECT e.entity_type FROM entities AS e WHERE e.entity_type > types.entity_type
            ORDER BY e.entity_type LIMIT 1), number + 1
    FROM types WHERE entity_type IS NOT NULL AND number < $2)
SELECT entity_type FROM types WHERE number > 0 AND entity_type IS NOT NULL ORDER BY number";

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
) -> Result<EntitiesPart, ReadError> {
    let (from, to) = bounds(query.range);
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let statement = if query.descending { DESCENDING } else { ASCENDING };
    let rows: Vec<EntityRow<i64>> = sqlx::query_as(statement)
        .bind(from.0)
        .bind(from.1)
        .bind(to.0)
        .bind(to.1)
        .bind(i64::from(query.rows))
        .bind(to_bigint(query.bytes as u64))
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(into_part(rows, query.rows, Timestamp::from_micros))
}

/// Entities in the order of an index; `None` where it is not ready.
pub(in crate::store::sqlite) async fn indexed(
    pool: &MeasuredPool<Sqlite>,
    query: IndexQuery<'_>,
) -> Result<Option<IndexPart>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let statement = if query.descending { INDEX_DESCENDING } else { INDEX_ASCENDING };
    let rows: Vec<IndexRow<i64>> = sqlx::query_as(statement)
        .bind(query.index_id)
        .bind(query.entity_type)
        .bind(query.from.0)
        .bind(query.from.1)
        .bind(query.to.0)
        .bind(query.to.1)
        .bind(i64::from(query.rows))
        .bind(to_bigint(query.bytes as u64))
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(into_index_part(rows, query, Timestamp::from_micros))
}

/// The ids in ranges of an index; `None` where it is not ready.
pub(in crate::store::sqlite) async fn indexed_ids(
    pool: &MeasuredPool<Sqlite>,
    index_id: i32,
    ranges: &[Range],
    rows: u32,
) -> Result<Option<Vec<String>>, ReadError> {
    let ranges: Vec<_> = ranges.iter().map(|range| (hex(&range.from), hex(&range.to))).collect();
    let ranges = json(&ranges)?;
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let found: Vec<(bool, Option<String>)> = sqlx::query_as(INDEXED_IDS)
        .bind(index_id)
        .bind(ranges)
        .bind(i64::from(rows))
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(into_ids(found))
}

/// How many entities there are among the first rows of a range.
pub(in crate::store::sqlite) async fn count(
    pool: &MeasuredPool<Sqlite>,
    range: &KeyRange,
    rows: u32,
) -> Result<CountedPart, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    count_in(&mut connection, range, rows).await
}

async fn count_in(
    connection: &mut SqliteConnection,
    range: &KeyRange,
    rows: u32,
) -> Result<CountedPart, ReadError> {
    let (from, to) = bounds(range);
    let row: Option<CountRow> = sqlx::query_as(COUNT)
        .bind(from.0)
        .bind(from.1)
        .bind(to.0)
        .bind(to.1)
        .bind(i64::from(rows))
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?;
    Ok(into_counted(row, rows))
}

/// The first types behind one, with their first rows counted. A statement is cheap here, and none could
/// return several values of a subquery.
pub(in crate::store::sqlite) async fn types(
    pool: &MeasuredPool<Sqlite>,
    after: &str,
    types: u32,
    rows: u32,
) -> Result<Vec<CountedType>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let names = sqlx::query_scalar(TYPES).bind(after).bind(i64::from(types));
    let names: Vec<String> = names.fetch_all(&mut *connection).await.map_err(unavailable)?;
    let mut types = Vec::with_capacity(names.len());
    for name in names {
        let first = count_in(&mut connection, &KeyRange::of_type(&name), rows).await?;
        types.push(CountedType { name, first });
    }
    Ok(types)
}
