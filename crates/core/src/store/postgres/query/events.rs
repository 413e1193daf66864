//! Reading events from the log.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::model::LoggedEvent;
use crate::store::logged::{EventAssembler, RecordRow};
use crate::store::postgres::read_pool::ReadPool;
use crate::store::postgres::time::from_pg;

// Ordinals below 0 are checkpoints and detached updates, which belong to no event.
const LOGGED: &str = r"
SELECT event_uuid, version, created_at, saved_at, committed_at, attempt_id, created, operation,
       entity_type, entity_id, event_name, event_type, event_source, event_actor, patch::text
FROM event_log WHERE event_uuid = ANY($1) AND ordinal >= 0 ORDER BY event_uuid, ordinal";

/// One event of the log.
pub(in crate::store::postgres) async fn event(
    read_pool: &ReadPool,
    uuid: Uuid,
) -> Result<Option<LoggedEvent>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let mut event = None;
    let found = |logged| event = Some(logged);
    logged(&mut connection.connection, &[uuid], read_pool.caches_statements(), found).await?;
    connection.release().await?;
    Ok(event)
}

/// Calls `found` with each of `uuids` that is in the log, one at a time: together they may be large.
pub(in crate::store::postgres) async fn logged(
    connection: &mut PgConnection,
    uuids: &[Uuid],
    cache_statement: bool,
    mut found: impl FnMut(LoggedEvent),
) -> Result<(), sqlx::Error> {
    let query = sqlx::query_as::<_, RecordRow<DateTime<Utc>>>(LOGGED)
        .bind(uuids)
        .persistent(cache_statement);
    let mut rows = query.fetch(connection);
    let mut assembler = EventAssembler::default();
    while let Some(row) = rows.try_next().await? {
        assembler.add(row.into_record(from_pg)?).into_iter().for_each(&mut found);
    }
    assembler.finish().into_iter().for_each(found);
    Ok(())
}
