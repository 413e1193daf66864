//! Reading definitions of types.

use sqlx::Sqlite;
use sqlx::sqlite::SqliteConnection;

use super::error::unavailable;
use crate::model::Timestamp;
use crate::query::ReadError;
use crate::store::pool::MeasuredPool;
use crate::store::types::{KeptRow, TypeRow, into_kept, into_types};
use crate::types::{KeptParts, StoredType};

const ONE: &str = r"
SELECT d.entity_type, d.version, d.definition, d.created_at, d.updated_at,
       p.part_id, p.kind, p.spec, p.state, p.done, p.total
FROM type_definitions AS d
LEFT JOIN type_parts AS p ON p.entity_type = d.entity_type AND p.state <> 2
WHERE d.entity_type = $1";

const PAGE: &str = r"
SELECT d.entity_type, d.version, d.definition, d.created_at, d.updated_at,
       p.part_id, p.kind, p.spec, p.state, p.done, p.total
FROM (SELECT * FROM type_definitions WHERE entity_type > $1 ORDER BY entity_type LIMIT $2) AS d
LEFT JOIN type_parts AS p ON p.entity_type = d.entity_type AND p.state <> 2
ORDER BY d.entity_type";

/// All that writers keep up, and the generation.
const KEPT: &str = r"
SELECT generation, part_id, entity_type, kind, spec
FROM type_generation LEFT JOIN type_parts ON state <> 2
WHERE only_row = 1 ORDER BY part_id";

const COUNT: &str = "SELECT count(*) FROM entities WHERE entity_type = $1";

const UNFINISHED: &str = "SELECT EXISTS (SELECT 1 FROM type_parts WHERE state <> 1)";

/// A type's definition.
pub(in crate::store::sqlite) async fn type_definition(
    pool: &MeasuredPool<Sqlite>,
    entity_type: &str,
) -> Result<Option<StoredType>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let rows: Vec<TypeRow<i64>> = sqlx::query_as(ONE)
        .bind(entity_type)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(into_types(rows, Timestamp::from_micros).map_err(unavailable)?.pop())
}

/// Definitions in the order of their types.
pub(in crate::store::sqlite) async fn type_definitions(
    pool: &MeasuredPool<Sqlite>,
    after: &str,
    most: u32,
) -> Result<Vec<StoredType>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let rows: Vec<TypeRow<i64>> = sqlx::query_as(PAGE)
        .bind(after)
        .bind(i64::from(most))
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    into_types(rows, Timestamp::from_micros).map_err(unavailable)
}

/// How many rows a type has.
pub(in crate::store::sqlite) async fn count_entities(
    pool: &MeasuredPool<Sqlite>,
    entity_type: &str,
) -> Result<i64, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let count = sqlx::query_scalar(COUNT).bind(entity_type).fetch_one(&mut *connection);
    count.await.map_err(unavailable)
}

/// Whether there may be something to build or to drop.
pub(in crate::store::sqlite) async fn has_unfinished_parts(
    pool: &MeasuredPool<Sqlite>,
) -> Result<bool, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let unfinished = sqlx::query_scalar(UNFINISHED).fetch_one(&mut *connection);
    unfinished.await.map_err(unavailable)
}

/// What writers keep up.
pub(in crate::store::sqlite) async fn kept_parts(
    connection: &mut SqliteConnection,
) -> Result<KeptParts, sqlx::Error> {
    let rows: Vec<KeptRow> = sqlx::query_as(KEPT).fetch_all(connection).await?;
    into_kept(rows)
}
