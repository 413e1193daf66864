//! Whether the server answers.

use crate::store::postgres::read_pool::ReadPool;

/// Whether the server answers.
pub(in crate::store::postgres) async fn ping(read_pool: &ReadPool) -> Result<(), sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let statement = sqlx::query("SELECT 1").persistent(read_pool.keeps_statements());
    statement.execute(&mut *connection.connection).await?;
    connection.release().await
}
