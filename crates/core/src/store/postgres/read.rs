//! The reads, each one statement.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::fault::Fault;
use super::from_pg;
use super::lent::Lender;
use crate::EntityKey;
use crate::store::log::{Assembly, LogRecord};
use crate::store::numbers::count;
use crate::store::{Entity, LoggedEvent, ReadError, Stamp};

// Below 0 stands what pruning leaves, which is no event.
const LOGGED: &str = r"
SELECT event_uuid, version, created_at, saved_at, committed_at, stamp, entity_type, entity_id,
       event_name, event_type, patch::text
FROM event_log WHERE event_uuid = ANY($1) AND ordinal >= 0 ORDER BY event_uuid, ordinal";

const ENTITY: &str = r"
SELECT version, created_at, updated_at, data::text FROM entities
WHERE entity_type = $1 AND entity_id = $2";

/// Runs `read`, and again while the pooled connection turns out broken, up to `broken` times: the
/// pool doesn't look at a connection before it lends it, which would cost a round trip each time. A
/// server that restarted has broken every idle one.
pub(super) async fn with_retry<T, F>(
    deadline: Duration,
    broken: u32,
    read: impl Fn() -> F,
) -> Result<T, ReadError>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let tries = async {
        for _ in 0..broken {
            match read().await.map_err(Fault::from) {
                Err(Fault::Lost(_)) => {}
                other => return other,
            }
        }
        read().await.map_err(Fault::from)
    };
    match tokio::time::timeout(deadline, tries).await {
        Ok(result) => result.map_err(ReadError::from),
        Err(_) => Err(ReadError("the server doesn't answer".to_owned())),
    }
}

/// The current state of one entity.
pub(super) async fn entity(
    lender: &Lender,
    key: &EntityKey,
) -> Result<Option<Entity>, sqlx::Error> {
    let mut lent = lender.lend().await?;
    let row: Option<(i64, DateTime<Utc>, DateTime<Utc>, String)> = sqlx::query_as(ENTITY)
        .bind(key.entity_type())
        .bind(key.entity_id())
        .persistent(lender.keeps_statements())
        .fetch_optional(&mut *lent.connection)
        .await?;
    lent.give_back().await?;
    Ok(row.map(|(version, created, updated, data)| Entity {
        key: key.clone(),
        version: count(version),
        created_at: from_pg(created),
        updated_at: from_pg(updated),
        data,
    }))
}

/// One event of the log.
pub(super) async fn event(lender: &Lender, uuid: Uuid) -> Result<Option<LoggedEvent>, sqlx::Error> {
    let mut lent = lender.lend().await?;
    let mut event = None;
    let found = |logged| event = Some(logged);
    logged(&mut lent.connection, &[uuid], lender.keeps_statements(), found).await?;
    lent.give_back().await?;
    Ok(event)
}

/// Whether the server answers.
pub(super) async fn ping(lender: &Lender) -> Result<(), sqlx::Error> {
    let mut lent = lender.lend().await?;
    let statement = sqlx::query("SELECT 1").persistent(lender.keeps_statements());
    statement.execute(&mut *lent.connection).await?;
    lent.give_back().await
}

/// Hands over those of `uuids` that are in the log, one by one: together they may be large.
pub(super) async fn logged(
    connection: &mut PgConnection,
    uuids: &[Uuid],
    keep_statement: bool,
    mut found: impl FnMut(LoggedEvent),
) -> Result<(), sqlx::Error> {
    let query = sqlx::query_as::<_, LogRow>(LOGGED).bind(uuids).persistent(keep_statement);
    let mut rows = query.fetch(connection);
    let mut assembly = Assembly::default();
    while let Some(row) = rows.try_next().await? {
        assembly.add(LogRecord::from(row)).into_iter().for_each(&mut found);
    }
    assembly.finish().into_iter().for_each(found);
    Ok(())
}

#[derive(sqlx::FromRow)]
struct LogRow {
    event_uuid: Uuid,
    version: i64,
    created_at: Option<DateTime<Utc>>,
    saved_at: Option<DateTime<Utc>>,
    committed_at: DateTime<Utc>,
    stamp: i32,
    entity_type: String,
    entity_id: String,
    event_name: String,
    event_type: Option<String>,
    patch: String,
}

impl From<LogRow> for LogRecord {
    fn from(row: LogRow) -> Self {
        Self {
            uuid: row.event_uuid,
            name: row.event_name,
            event_type: row.event_type,
            created: row.created_at.map(from_pg),
            saved: row.saved_at.map(from_pg),
            committed: from_pg(row.committed_at),
            stamp: Stamp(row.stamp),
            key: EntityKey { entity_type: row.entity_type, entity_id: row.entity_id },
            version: count(row.version),
            patch: row.patch,
        }
    }
}
