//! Reading one entity's log.

use chrono::{DateTime, Utc};

use crate::model::{AsOf, EntityKey, LogEntry, LogPoint, LogRange};
use crate::store::chunks::Chunks;
use crate::store::entries::{
    ASCENDING, DESCENDING, EntryRow, POINT, PointRow, VERSION_AT, into_point,
};
use crate::store::numbers::to_bigint;
use crate::store::postgres::read_pool::ReadPool;
use crate::store::postgres::time::{from_pg, to_pg};

/// A part of an entity's log.
pub(in crate::store::postgres) async fn log(
    read_pool: &ReadPool,
    key: &EntityKey,
    range: LogRange,
) -> Result<Vec<LogEntry>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let statement = if range.descending { DESCENDING } else { ASCENDING };
    let (mut range, mut chunks, mut entries) = (range, Chunks::new(range.entries), Vec::new());
    while let Some(size) = chunks.next() {
        let rows = sqlx::query_as::<_, EntryRow<DateTime<Utc>>>(statement)
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(to_bigint(range.after))
            .bind(to_bigint(range.up_to))
            .bind(i64::from(size))
            .persistent(read_pool.caches_statements())
            .fetch_all(&mut *connection.connection)
            .await?;
        let chunk = rows.into_iter().map(|row| row.into_entry(from_pg));
        let chunk = chunk.collect::<Result<Vec<_>, _>>()?;
        chunks.note(size, &chunk);
        range = range.behind(&chunk);
        entries.extend(chunk);
    }
    connection.release().await?;
    Ok(entries)
}

/// The last entry up to a moment.
pub(in crate::store::postgres) async fn log_point(
    read_pool: &ReadPool,
    key: &EntityKey,
    as_of: AsOf,
    within: u64,
) -> Result<Option<LogPoint>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let version = match as_of {
        AsOf::Version(version) => Some(to_bigint(version)),
        AsOf::Time(time) => {
            sqlx::query_scalar(VERSION_AT)
                .bind(key.entity_type())
                .bind(key.entity_id())
                .bind(to_pg(time))
                .persistent(read_pool.caches_statements())
                .fetch_optional(&mut *connection.connection)
                .await?
        }
    };
    let row: Option<PointRow<DateTime<Utc>>> = sqlx::query_as(POINT)
        .bind(key.entity_type())
        .bind(key.entity_id())
        .bind(version.unwrap_or(0))
        .bind(to_bigint(within))
        .persistent(read_pool.caches_statements())
        .fetch_optional(&mut *connection.connection)
        .await?;
    connection.release().await?;
    Ok(row.map(|row| into_point(row, from_pg)))
}
