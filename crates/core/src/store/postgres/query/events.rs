//! Reading events from the log.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::model::{AttemptId, EntityKey, LoggedEvent, Operation};
use crate::store::logged::{EventAssembler, LogRecord};
use crate::store::numbers::from_bigint;
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
    let query = sqlx::query_as::<_, LogRow>(LOGGED).bind(uuids).persistent(cache_statement);
    let mut rows = query.fetch(connection);
    let mut assembler = EventAssembler::default();
    while let Some(row) = rows.try_next().await? {
        assembler.add(LogRecord::try_from(row)?).into_iter().for_each(&mut found);
    }
    assembler.finish().into_iter().for_each(found);
    Ok(())
}

#[derive(sqlx::FromRow)]
struct LogRow {
    event_uuid: Uuid,
    version: i64,
    created_at: Option<DateTime<Utc>>,
    saved_at: Option<DateTime<Utc>>,
    committed_at: DateTime<Utc>,
    attempt_id: i32,
    created: bool,
    operation: i16,
    entity_type: String,
    entity_id: String,
    event_name: String,
    event_type: Option<String>,
    event_source: Option<String>,
    event_actor: Option<String>,
    patch: String,
}

impl TryFrom<LogRow> for LogRecord {
    type Error = sqlx::Error;

    fn try_from(row: LogRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            uuid: row.event_uuid,
            name: row.event_name,
            event_type: row.event_type,
            created_date: row.created_at.map(from_pg),
            saved_date: row.saved_at.map(from_pg),
            source: row.event_source,
            actor: row.event_actor,
            committed: from_pg(row.committed_at),
            attempt: AttemptId(row.attempt_id),
            key: EntityKey::new_unchecked(row.entity_type, row.entity_id),
            version: from_bigint(row.version),
            created: row.created,
            operation: Operation::from_code(row.operation)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
            patch: row.patch,
        })
    }
}
