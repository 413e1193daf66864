//! Reading entities.

use sqlx::Sqlite;

use super::error::unavailable;
use crate::model::{Entity, EntityKey, Timestamp};
use crate::query::ReadError;
use crate::store::numbers::from_bigint;
use crate::store::pool::MeasuredPool;

const ENTITY: &str = r"
SELECT version, created_at, updated_at, data FROM entities
WHERE entity_type = ?1 AND entity_id = ?2 AND NOT deleted";

/// The current state of one entity.
pub(in crate::store::sqlite) async fn entity(
    pool: &MeasuredPool<Sqlite>,
    key: &EntityKey,
) -> Result<Option<Entity>, ReadError> {
    let row: Option<(i64, i64, i64, String)> = sqlx::query_as(ENTITY)
        .bind(key.entity_type())
        .bind(key.entity_id())
        .fetch_optional(&mut *pool.acquire().await.map_err(unavailable)?)
        .await
        .map_err(unavailable)?;
    Ok(row.map(|(version, created, updated, data)| Entity {
        key: key.clone(),
        version: from_bigint(version),
        created_at: Timestamp::from_micros(created),
        updated_at: Timestamp::from_micros(updated),
        data,
    }))
}
