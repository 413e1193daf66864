//! Whether the server answers and the tables exist.

use crate::store::postgres::read_pool::ReadPool;

/// The names are looked up without a lock on the tables: a session that holds one does not fail the probe.
const PING: &str = "SELECT ('entities'::regclass, 'event_log'::regclass) IS NOT NULL";

/// Whether the server answers and the tables exist.
pub(in crate::store::postgres) async fn ping(read_pool: &ReadPool) -> Result<(), sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let statement = sqlx::query(PING).persistent(read_pool.caches_statements());
    statement.execute(&mut *connection.connection).await?;
    connection.release().await
}
