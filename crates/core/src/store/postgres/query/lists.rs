//! Reading entities in the order of their keys.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::model::{Entity, EntityKey};
use crate::query::{
    CountedPart, CountedType, EntitiesPart, EntitiesQuery, Estimates, IndexPart, IndexQuery,
    KeyRange,
};
use crate::store::listed::{
    COUNT, CountRow, StateRow, bounds, into_counted, into_counted_type, into_even_index_part,
    into_even_part, into_ids, into_index_part, into_part,
};
use crate::store::numbers::to_bigint;
use crate::store::postgres::read_pool::ReadPool;
use crate::store::postgres::time::from_pg;
use crate::types::index_key::Range;

const STATES: &str = r"
SELECT version, created_at, updated_at, CASE WHEN NOT deleted THEN data::text END AS data
FROM (SELECT number, e.version, e.created_at, e.updated_at, e.deleted, e.data,
             sum(CASE WHEN NOT e.deleted THEN e.size ELSE 0 END) OVER (ORDER BY number) AS bytes
      FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS key (entity_type, entity_id, number)
      LEFT JOIN entities e
          ON e.entity_type = key.entity_type AND e.entity_id = key.entity_id) AS states
WHERE bytes <= $3 OR number = 1 ORDER BY number";

/// The least share of the bytes with which documents get an even share: most are smaller.
const EVEN_SHARE: usize = 4 << 10;

/// The entities of a range in an order, without the documents that are larger than a share of the bytes. Sums
/// over what was read before, as [`ASCENDING`] has them, take a quarter of a page's time.
macro_rules! even_entities {
    ($order:literal) => {
        concat!(
            "
SELECT entity_type, entity_id, version, created_at, updated_at, NOT deleted AND size > $6 AS is_large,
       CASE WHEN NOT deleted AND size <= $6 THEN data::text END AS data, false AS has_next
FROM entities
WHERE (entity_type, entity_id) >= ($1, $2) AND (entity_type, entity_id) < ($3, $4)
ORDER BY entity_type ",
            $order,
            ", entity_id ",
            $order,
            " LIMIT $5"
        )
    };
}

const EVEN_ASCENDING: &str = even_entities!("ASC");
const EVEN_DESCENDING: &str = even_entities!("DESC");

/// The entities of a range in an order: the first ones that have so many bytes together.
macro_rules! entities {
    ($order:literal) => {
        concat!(
            "
SELECT entity_type, entity_id, version, created_at, updated_at,
       CASE WHEN NOT deleted THEN data::text END AS data, has_next, false AS is_large
FROM (SELECT *, sum(CASE WHEN NOT deleted THEN size ELSE 0 END) OVER listed AS bytes,
             row_number() OVER listed AS number,
             lead(true) OVER listed IS NOT NULL AS has_next
      FROM (SELECT entity_type, entity_id, version, size, deleted, created_at, updated_at, data
            FROM entities
            WHERE (entity_type, entity_id) >= ($1, $2) AND (entity_type, entity_id) < ($3, $4)
            ORDER BY entity_type ",
            $order,
            ", entity_id ",
            $order,
            " LIMIT $5) AS range
      WINDOW listed AS (ORDER BY entity_type ",
            $order,
            ", entity_id ",
            $order,
            " ROWS UNBOUNDED PRECEDING)) AS entities
WHERE bytes <= $6 OR number = 1 ORDER BY entity_type ",
            $order,
            ", entity_id ",
            $order
        )
    };
}

const ASCENDING: &str = entities!("ASC");
const DESCENDING: &str = entities!("DESC");

/// A part of an index in an order, without the documents that are larger than a share of the bytes; nothing
/// where the index is not ready.
macro_rules! even_indexed {
    ($order:literal) => {
        concat!(
            "
SELECT i.key, i.entity_id, e.version, e.created_at, e.updated_at, NOT e.deleted AND e.size > $8 AS is_large,
       CASE WHEN NOT e.deleted AND e.size <= $8 THEN e.data::text END AS data, false AS has_next,
       true AS is_ready
FROM (SELECT key, entity_id FROM entity_index
      WHERE index_id = $1 AND key IS NOT NULL AND (SELECT state = 1 FROM type_parts WHERE part_id = $1)
          AND (key, entity_id) >= ($3, $4) AND (key, entity_id) < ($5, $6)
      ORDER BY key ",
            $order,
            ", entity_id ",
            $order,
            " LIMIT $7) AS i
LEFT JOIN entities AS e ON e.entity_type = $2 AND e.entity_id = i.entity_id
ORDER BY i.key ",
            $order,
            ", i.entity_id ",
            $order
        )
    };
}

const EVEN_INDEX_ASCENDING: &str = even_indexed!("ASC");
const EVEN_INDEX_DESCENDING: &str = even_indexed!("DESC");

/// A part of an index in an order. There is a row, with nulls, also where it has no entity.
macro_rules! indexed {
    ($order:literal) => {
        concat!(
            "
SELECT state = 1 AS is_ready, key, entity_id, version, created_at, updated_at,
       CASE WHEN NOT deleted THEN data::text END AS data, has_next, false AS is_large
FROM type_parts
LEFT JOIN (SELECT *, sum(CASE WHEN NOT deleted THEN size ELSE 0 END) OVER listed AS bytes,
                  row_number() OVER listed AS number,
                  lead(true) OVER listed IS NOT NULL AS has_next
           FROM (SELECT i.key, i.entity_id, e.version, e.size, e.deleted, e.created_at, e.updated_at,
                        e.data
                 FROM (SELECT key, entity_id FROM entity_index
                       WHERE index_id = $1 AND key IS NOT NULL
                           AND (key, entity_id) >= ($3, $4) AND (key, entity_id) < ($5, $6)
                       ORDER BY key ",
            $order,
            ", entity_id ",
            $order,
            " LIMIT $7) AS i
                 LEFT JOIN entities AS e ON e.entity_type = $2 AND e.entity_id = i.entity_id) AS range
           WINDOW listed AS (ORDER BY key ",
            $order,
            ", entity_id ",
            $order,
            " ROWS UNBOUNDED PRECEDING)) AS entities
    ON state = 1 AND (bytes <= $8 OR number = 1)
WHERE part_id = $1 ORDER BY number"
        )
    };
}

const INDEX_ASCENDING: &str = indexed!("ASC");
const INDEX_DESCENDING: &str = indexed!("DESC");

/// There is a row, with a null, also where there is no id.
const INDEXED_IDS: &str = r"
SELECT state = 1 AS is_ready, entity_id
FROM type_parts
LEFT JOIN (SELECT i.entity_id
           FROM unnest($2::bytea[], $3::bytea[]) AS part (first, behind)
           CROSS JOIN LATERAL (SELECT entity_id FROM entity_index
                               WHERE index_id = $1 AND key IS NOT NULL
                                   AND key >= part.first AND key < part.behind LIMIT $4) AS i
           LIMIT $4) AS found ON state = 1
WHERE part_id = $1";

/// From type to type, each found by the index, and the first $3 rows of each.
const TYPES: &str = r#"
WITH RECURSIVE types AS (
    SELECT $1::text COLLATE "C" AS entity_type, 0 AS number
    UNION ALL
    SELECT (SELECT e.entity_type FROM entities AS e WHERE e.entity_type > types.entity_type
            ORDER BY e.entity_type LIMIT 1), number + 1
    FROM types WHERE entity_type IS NOT NULL AND number < $2)
SELECT entity_type, last_id AS entity_id, entities, looked_at
FROM types
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE NOT deleted) AS entities, count(*) AS looked_at,
           max(entity_id) AS last_id
    FROM (SELECT e.entity_id, e.deleted FROM entities AS e WHERE e.entity_type = types.entity_type
          ORDER BY e.entity_id LIMIT $3) AS first) AS counted
WHERE number > 0 AND looked_at > 0 ORDER BY number"#;

/// What ANALYZE has found, for the pages that the table has now. Where n_distinct is negative, it is a share
/// of the rows.
const ESTIMATES: &str = r"
SELECT reltuples::float8 / relpages * (pg_relation_size(c.oid) / current_setting('block_size')::int)
           AS rows,
       of_type.most_common_vals::text::text[] AS types,
       of_type.most_common_freqs::float8[] AS shares,
       CASE WHEN of_type.n_distinct < 0 THEN -of_type.n_distinct * reltuples
            ELSE of_type.n_distinct END::float8 AS distinct_types,
       (SELECT share FROM unnest(of_deleted.most_common_vals::text::text[],
                                 of_deleted.most_common_freqs::float8[]) AS common (value, share)
        WHERE value = 't') AS deleted
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_stats AS of_type ON of_type.schemaname = n.nspname
    AND of_type.tablename = c.relname AND of_type.attname = 'entity_type'
LEFT JOIN pg_stats AS of_deleted ON of_deleted.schemaname = n.nspname
    AND of_deleted.tablename = c.relname AND of_deleted.attname = 'deleted'
WHERE c.oid = 'entities'::regclass AND reltuples > 0 AND relpages > 0";

/// The states of the first of these entities.
pub(in crate::store::postgres) async fn states(
    read_pool: &ReadPool,
    keys: &[&EntityKey],
    bytes: usize,
) -> Result<Vec<Option<Entity>>, sqlx::Error> {
    let types: Vec<&str> = keys.iter().map(|key| key.entity_type()).collect();
    let ids: Vec<&str> = keys.iter().map(|key| key.entity_id()).collect();
    let mut connection = read_pool.acquire().await?;
    let rows: Vec<StateRow<DateTime<Utc>>> = sqlx::query_as(STATES)
        .bind(types)
        .bind(ids)
        .bind(to_bigint(bytes as u64))
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(rows.into_iter().zip(keys).map(|(row, key)| row.into_entity(key, from_pg)).collect())
}

/// Entities in the order of their keys.
pub(in crate::store::postgres) async fn entities(
    read_pool: &ReadPool,
    query: EntitiesQuery<'_>,
) -> Result<EntitiesPart, sqlx::Error> {
    let (from, to) = bounds(query.range);
    let mut connection = read_pool.acquire().await?;
    let mut read = async |statement: &'static str, bytes: usize| {
        let rows = sqlx::query_as(statement)
            .bind(from.0)
            .bind(from.1)
            .bind(&*to.0)
            .bind(to.1)
            .bind(i64::from(query.rows))
            .bind(to_bigint(bytes as u64))
            .persistent(read_pool.caches_statements());
        rows.fetch_all(&mut *connection.connection).await
    };
    let mut part = None;
    if let Some(share) = even_share(query.bytes, query.rows) {
        let statement = if query.descending { EVEN_DESCENDING } else { EVEN_ASCENDING };
        part = into_even_part(read(statement, share).await?, query.rows, from_pg);
    }
    let part = match part {
        Some(part) => part,
        None => {
            let statement = if query.descending { DESCENDING } else { ASCENDING };
            into_part(read(statement, query.bytes).await?, query.rows, from_pg)
        }
    };
    connection.release().await?;
    Ok(part)
}

/// Entities in the order of an index; `None` where it is not ready.
pub(in crate::store::postgres) async fn indexed(
    read_pool: &ReadPool,
    query: IndexQuery<'_>,
) -> Result<Option<IndexPart>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let mut read = async |statement: &'static str, bytes: usize| {
        let rows = sqlx::query_as(statement)
            .bind(query.index_id)
            .bind(query.entity_type)
            .bind(query.from.0)
            .bind(query.from.1)
            .bind(query.to.0)
            .bind(query.to.1)
            .bind(i64::from(query.rows))
            .bind(to_bigint(bytes as u64))
            .persistent(read_pool.caches_statements());
        rows.fetch_all(&mut *connection.connection).await
    };
    let mut part = None;
    if let Some(share) = even_share(query.bytes, query.rows) {
        let statement = if query.descending { EVEN_INDEX_DESCENDING } else { EVEN_INDEX_ASCENDING };
        part = into_even_index_part(read(statement, share).await?, query, from_pg);
    }
    if part.is_none() {
        let statement = if query.descending { INDEX_DESCENDING } else { INDEX_ASCENDING };
        part = into_index_part(read(statement, query.bytes).await?, query, from_pg);
    }
    connection.release().await?;
    Ok(part)
}

/// The share of the bytes that each row may have, where that is enough for most documents.
fn even_share(bytes: usize, rows: u32) -> Option<usize> {
    let share = bytes / usize::try_from(rows).unwrap_or(usize::MAX).max(1);
    (share >= EVEN_SHARE).then_some(share)
}

/// The ids in ranges of an index; `None` where it is not ready.
pub(in crate::store::postgres) async fn indexed_ids(
    read_pool: &ReadPool,
    index_id: i32,
    ranges: &[Range],
    rows: u32,
) -> Result<Option<Vec<String>>, sqlx::Error> {
    let first: Vec<&[u8]> = ranges.iter().map(|range| &*range.from).collect();
    let behind: Vec<&[u8]> = ranges.iter().map(|range| &*range.to).collect();
    let mut connection = read_pool.acquire().await?;
    let found: Vec<(bool, Option<String>)> = sqlx::query_as(INDEXED_IDS)
        .bind(index_id)
        .bind(first)
        .bind(behind)
        .bind(i64::from(rows))
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(into_ids(found))
}

/// How many entities there are among the first rows of a range.
pub(in crate::store::postgres) async fn count(
    read_pool: &ReadPool,
    range: &KeyRange,
    rows: u32,
) -> Result<CountedPart, sqlx::Error> {
    let (from, to) = bounds(range);
    let mut connection = read_pool.acquire().await?;
    let row: Option<CountRow> = sqlx::query_as(COUNT)
        .bind(from.0)
        .bind(from.1)
        .bind(to.0)
        .bind(to.1)
        .bind(i64::from(rows))
        .persistent(read_pool.caches_statements())
        .fetch_optional(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(into_counted(row, rows))
}

/// The first types behind one, with their first rows counted.
pub(in crate::store::postgres) async fn types(
    read_pool: &ReadPool,
    after: &str,
    types: u32,
    rows: u32,
) -> Result<Vec<CountedType>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let types: Vec<CountRow> = sqlx::query_as(TYPES)
        .bind(after)
        .bind(i64::from(types))
        .bind(i64::from(rows))
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(types.into_iter().map(|row| into_counted_type(row, rows)).collect())
}

/// A row of [`ESTIMATES`].
#[derive(sqlx::FromRow)]
struct EstimatesRow {
    rows: f64,
    types: Option<Vec<String>>,
    shares: Option<Vec<f64>>,
    distinct_types: Option<f64>,
    deleted: Option<f64>,
}

/// What the statistics say.
pub(in crate::store::postgres) async fn estimates(
    read_pool: &ReadPool,
) -> Result<Estimates, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let row: Option<EstimatesRow> = sqlx::query_as(ESTIMATES)
        .persistent(read_pool.caches_statements())
        .fetch_optional(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(row.map(into_estimates).unwrap_or_default())
}

fn into_estimates(row: EstimatesRow) -> Estimates {
    // saturates
    let count = |share: f64| (row.rows * share) as u64;
    let (types, shares) = (row.types.unwrap_or_default(), row.shares.unwrap_or_default());
    let others =
        row.distinct_types.map(|all| all - types.len() as f64).filter(|others| *others >= 1.0);
    let share_of_others = 1.0 - shares.iter().sum::<f64>();
    let of_types = types.into_iter().zip(&shares).map(|(name, share)| (name, count(*share)));
    Estimates {
        all: Some(count(1.0 - row.deleted.unwrap_or(0.0))),
        of_types: of_types.collect::<HashMap<_, _>>(),
        of_another_type: others.map(|others| count(share_of_others.max(0.0) / others)),
    }
}
