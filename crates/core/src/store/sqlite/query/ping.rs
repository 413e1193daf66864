//! Whether the file can be read.

use sqlx::Sqlite;

use super::error::unavailable;
use crate::query::ReadError;
use crate::store::pool::MeasuredPool;

/// Whether the file can be read.
pub(in crate::store::sqlite) async fn ping(pool: &MeasuredPool<Sqlite>) -> Result<(), ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let page =
        sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1").fetch_optional(&mut *connection).await;
    page.map(drop).map_err(unavailable)
}
