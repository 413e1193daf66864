//! Whether the server answers and has the schema of this release.

use sqlx::error::Error;

use crate::store::postgres::error::connect_error;
use crate::store::postgres::read_pool::ReadPool;
use crate::store::schema::SCHEMA_VERSION;

/// The names are looked up without a lock on the tables: a session that holds one does not fail the probe.
const PING: &str = "SELECT ('entities'::regclass, 'event_log'::regclass) IS NOT NULL";

const IS_MIGRATED: &str =
    "SELECT EXISTS (SELECT FROM _producer_migrations WHERE version = $1 AND success)";

/// Whether the server answers and the tables exist; then, whether [`SCHEMA_VERSION`] is recorded as
/// applied, or in one line why that can't be read.
pub(in crate::store::postgres) async fn ping(
    read_pool: &ReadPool,
) -> Result<Result<bool, String>, Error> {
    let mut connection = read_pool.acquire().await?;
    let cached = read_pool.caches_statements();
    sqlx::query(PING).persistent(cached).execute(&mut *connection.connection).await?;
    let is_migrated = sqlx::query_scalar(IS_MIGRATED).bind(SCHEMA_VERSION).persistent(cached);
    let is_migrated = match is_migrated.fetch_one(&mut *connection.connection).await {
        Ok(is_migrated) => Ok(is_migrated),
        Err(refused @ Error::Database(_)) => Err(connect_error(&refused).1),
        Err(broken) => return Err(broken),
    };
    connection.release().await?;
    Ok(is_migrated)
}
