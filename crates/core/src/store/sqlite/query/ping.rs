//! Whether the file can be read and has the schema of this release.

use sqlx::Sqlite;

use super::error::{describe, unavailable};
use crate::query::ReadError;
use crate::store::pool::MeasuredPool;
use crate::store::schema::SCHEMA_VERSION;

/// Whether the file can be read and the tables exist; then, whether [`SCHEMA_VERSION`] is recorded as
/// applied, or why that can't be read.
pub(in crate::store::sqlite) async fn ping(
    pool: &MeasuredPool<Sqlite>,
) -> Result<Result<bool, String>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let row = sqlx::query("SELECT 1 FROM entities, event_log LIMIT 1");
    row.fetch_optional(&mut *connection).await.map_err(unavailable)?;
    let is_migrated = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM _producer_migrations WHERE version = ? AND success)",
    );
    let is_migrated = is_migrated.bind(SCHEMA_VERSION).fetch_one(&mut *connection).await;
    Ok(is_migrated.map_err(|error| describe(&error)))
}
