//! Reading one entity's log.

use sqlx::Sqlite;

use super::error::unavailable;
use crate::model::{AsOf, EntityKey, LogEntry, LogPoint, LogRange, Timestamp};
use crate::query::ReadError;
use crate::store::chunks::Chunks;
use crate::store::entries::{
    ASCENDING, DESCENDING, EntryRow, POINT, PointRow, VERSION_AT, into_point,
};
use crate::store::numbers::to_bigint;
use crate::store::pool::MeasuredPool;

/// A part of an entity's log.
pub(in crate::store::sqlite) async fn log(
    pool: &MeasuredPool<Sqlite>,
    key: &EntityKey,
    range: LogRange,
) -> Result<Vec<LogEntry>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let statement = if range.descending { DESCENDING } else { ASCENDING };
    let (mut range, mut chunks, mut entries) = (range, Chunks::new(range.entries), Vec::new());
    while let Some(size) = chunks.next() {
        let rows = sqlx::query_as::<_, EntryRow<i64>>(statement)
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(to_bigint(range.after))
            .bind(to_bigint(range.up_to))
            .bind(i64::from(size))
            .fetch_all(&mut *connection)
            .await
            .map_err(unavailable)?;
        let chunk = rows.into_iter().map(|row| row.into_entry(Timestamp::from_micros));
        let chunk = chunk.collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
        chunks.note(size, &chunk);
        range = range.behind(&chunk);
        entries.extend(chunk);
    }
    Ok(entries)
}

/// The last entry up to a moment.
pub(in crate::store::sqlite) async fn log_point(
    pool: &MeasuredPool<Sqlite>,
    key: &EntityKey,
    as_of: AsOf,
    within: u64,
) -> Result<Option<LogPoint>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let version = match as_of {
        AsOf::Version(version) => Some(to_bigint(version)),
        AsOf::Time(time) => {
            let found = sqlx::query_scalar(VERSION_AT)
                .bind(key.entity_type())
                .bind(key.entity_id())
                .bind(time.micros())
                .fetch_optional(&mut *connection);
            found.await.map_err(unavailable)?
        }
    };
    let row: Option<PointRow<i64>> = sqlx::query_as(POINT)
        .bind(key.entity_type())
        .bind(key.entity_id())
        .bind(version.unwrap_or(0))
        .bind(to_bigint(within))
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(row.map(|row| into_point(row, Timestamp::from_micros)))
}
