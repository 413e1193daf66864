//! Reading definitions of types.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::feed::writers_of;
use crate::feed::OpenWriter;
use crate::store::postgres::read_pool::ReadPool;
use crate::store::postgres::time::from_pg;
use crate::store::types::{KeptRow, TypeRow, into_kept, into_types};
use crate::types::{KeptParts, StoredType};

const ONE: &str = r"
SELECT d.entity_type, d.version, d.definition, d.created_at, d.updated_at,
       p.part_id, p.kind, p.spec, p.state, p.done, p.total
FROM type_definitions d
LEFT JOIN type_parts p ON p.entity_type = d.entity_type AND p.state <> 2
WHERE d.entity_type = $1";

const PAGE: &str = r"
SELECT d.entity_type, d.version, d.definition, d.created_at, d.updated_at,
       p.part_id, p.kind, p.spec, p.state, p.done, p.total
FROM (SELECT * FROM type_definitions WHERE entity_type > $1 ORDER BY entity_type LIMIT $2) AS d
LEFT JOIN type_parts p ON p.entity_type = d.entity_type AND p.state <> 2
ORDER BY d.entity_type";

const LANGUAGE: &str = r"
SELECT EXISTS (SELECT FROM pg_ts_config WHERE cfgname = $1 AND pg_ts_config_is_visible(oid))";

/// All that writers keep up, and the generation of the same moment.
const KEPT: &str = r"
SELECT generation, part_id, entity_type, kind, spec
FROM type_generation LEFT JOIN type_parts ON state <> 2
WHERE only_row ORDER BY part_id";

const WRITERS: &str = writers_of!("entities");

/// A type's definition.
pub(in crate::store::postgres) async fn type_definition(
    read_pool: &ReadPool,
    entity_type: &str,
) -> Result<Option<StoredType>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let rows: Vec<TypeRow<DateTime<Utc>>> = sqlx::query_as(ONE)
        .bind(entity_type)
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(into_types(rows, from_pg)?.pop())
}

/// Definitions in the order of their types.
pub(in crate::store::postgres) async fn type_definitions(
    read_pool: &ReadPool,
    after: &str,
    most: u32,
) -> Result<Vec<StoredType>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let rows: Vec<TypeRow<DateTime<Utc>>> = sqlx::query_as(PAGE)
        .bind(after)
        .bind(i64::from(most))
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    into_types(rows, from_pg)
}

/// Whether the server has such a configuration of text search.
pub(in crate::store::postgres) async fn knows_language(
    read_pool: &ReadPool,
    language: &str,
) -> Result<bool, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let known: bool = sqlx::query_scalar(LANGUAGE)
        .bind(language)
        .persistent(read_pool.caches_statements())
        .fetch_one(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(known)
}

/// The transactions that may be writing entities.
pub(in crate::store::postgres) async fn writers_of_entities(
    read_pool: &ReadPool,
) -> Result<Vec<OpenWriter>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let writers: Vec<(String, Option<i32>)> = sqlx::query_as(WRITERS)
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    let writer = |(transaction, pid)| OpenWriter { transaction, pid };
    Ok(writers.into_iter().map(writer).collect())
}

/// What writers keep up.
pub(in crate::store::postgres) async fn kept_parts(
    connection: &mut PgConnection,
    caches_statements: bool,
) -> Result<KeptParts, sqlx::Error> {
    let rows: Vec<KeptRow> =
        sqlx::query_as(KEPT).persistent(caches_statements).fetch_all(connection).await?;
    into_kept(rows)
}
