//! Whether the file can be read and the tables exist.

use sqlx::Sqlite;

use super::error::unavailable;
use crate::query::ReadError;
use crate::store::pool::MeasuredPool;

/// Whether the file can be read and the tables exist.
pub(in crate::store::sqlite) async fn ping(pool: &MeasuredPool<Sqlite>) -> Result<(), ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let row = sqlx::query("SELECT 1 FROM entities, event_log LIMIT 1");
    row.fetch_optional(&mut *connection).await.map(drop).map_err(unavailable)
}
