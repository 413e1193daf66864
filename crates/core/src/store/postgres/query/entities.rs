//! Reading entities.

use chrono::{DateTime, Utc};

use crate::model::{Entity, EntityKey};
use crate::store::numbers::from_bigint;
use crate::store::postgres::read_pool::ReadPool;
use crate::store::postgres::time::from_pg;

const ENTITY: &str = r"
SELECT version, created_at, updated_at, data::text FROM entities
WHERE entity_type = $1 AND entity_id = $2 AND NOT deleted";

/// The current state of one entity.
pub(in crate::store::postgres) async fn entity(
    read_pool: &ReadPool,
    key: &EntityKey,
) -> Result<Option<Entity>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let row: Option<(i64, DateTime<Utc>, DateTime<Utc>, String)> = sqlx::query_as(ENTITY)
        .bind(key.entity_type())
        .bind(key.entity_id())
        .persistent(read_pool.caches_statements())
        .fetch_optional(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(row.map(|(version, created, updated, data)| Entity {
        key: key.clone(),
        version: from_bigint(version),
        created_at: from_pg(created),
        updated_at: from_pg(updated),
        data,
    }))
}
