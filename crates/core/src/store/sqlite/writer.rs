//! A writer: its turn, one transaction, the careful road.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Sqlite};
use uuid::Uuid;

use super::checkpoint::Checkpointer;
use super::read;
use super::rows::{self, Inserts};
use super::turns::Turns;
use crate::store::plan::{Change, Known, LogRow, Rules, Stored, Writes, compare, plan, plan_part};
use crate::store::slices::{Slice, parts, slices};
use crate::store::{ApplyError, ApplyMode, BoxFuture, LoggedEvent, Stamp, Verdict, Writer};
use crate::{Clock, EntityKey, EntityUpdate, Event, Timestamp};

// Every statement is a way to SQLite's thread and back, so each takes all its keys as one JSON
// array. CROSS JOIN keeps SQLite from scanning the table and searching the array.
const SIZES: &str = r"
SELECT e.entity_type, e.entity_id, e.size
FROM json_each(?1) AS k CROSS JOIN entities AS e
ON e.entity_type = k.value->>0 AND e.entity_id = k.value->>1";

const STATES: &str = r"
SELECT e.entity_type, e.entity_id, e.version, e.size, e.updated_at, e.data
FROM json_each(?1) AS k CROSS JOIN entities AS e
ON e.entity_type = k.value->>0 AND e.entity_id = k.value->>1";

static WRITE: LazyLock<Inserts> = LazyLock::new(|| {
    let into = r"
INSERT INTO entities (entity_type, entity_id, version, size, data, created_at, updated_at)
SELECT column1, column2, column3, column4, column5, column6, column6";
    let on_conflict = r"
ON CONFLICT (entity_type, entity_id) DO UPDATE SET
    version = excluded.version, size = excluded.size, data = excluded.data,
    updated_at = excluded.updated_at";
    Inserts::new(into, 6, on_conflict)
});

static LOG: LazyLock<Inserts> = LazyLock::new(|| {
    let into = r"
INSERT INTO event_log (event_uuid, ordinal, version, created_at, saved_at, committed_at,
                       entity_type, entity_id, event_name, event_type, patch, stamp)
SELECT *";
    Inserts::new(into, 12, "")
});

/// What a writer works with.
#[derive(Clone)]
pub(super) struct WriterSettings {
    pub(super) options: SqliteConnectOptions,
    pub(super) turns: Turns,
    pub(super) checkpointer: Arc<Checkpointer>,
    pub(super) max_entity_bytes: usize,
    pub(super) clock: Clock,
}

impl WriterSettings {
    fn rules(&self, stamp: Stamp) -> Rules {
        Rules { max_entity_bytes: self.max_entity_bytes, now: self.clock.now(), stamp }
    }
}

/// Applies batches over one connection.
pub(super) struct SqliteWriter {
    settings: WriterSettings,
    /// Taken out while a batch runs: after an error, or when the future is dropped, it is closed,
    /// which rolls back.
    connection: Option<SqliteConnection>,
}

impl SqliteWriter {
    pub(super) fn new(settings: WriterSettings) -> Self {
        Self { settings, connection: None }
    }

    async fn apply(
        &mut self,
        batch: &[Event],
        mode: ApplyMode,
    ) -> Result<Vec<Verdict>, ApplyError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let turn = self.settings.turns.take().await;
        let _turn = turn.map_err(|error| ApplyError::Unavailable(error.to_string()))?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.settings.options.connect().await.map_err(fault)?,
        };
        match transaction(&mut connection, &self.settings, batch, mode).await {
            Ok(verdicts) => {
                self.connection = Some(connection);
                self.settings.checkpointer.committed();
                Ok(verdicts)
            }
            Err(error) => {
                // closed before the turn ends: the next writer finds no lock of ours
                drop(sqlx::Connection::close_hard(connection).await);
                Err(error)
            }
        }
    }
}

impl Writer for SqliteWriter {
    fn apply<'a>(
        &'a mut self,
        batch: &'a [Event],
        mode: ApplyMode,
    ) -> BoxFuture<'a, Result<Vec<Verdict>, ApplyError>> {
        Box::pin(self.apply(batch, mode))
    }
}

/// No session can hold a row here, so that no event is ever locked and the modes but `Atomic` are
/// one.
async fn transaction(
    connection: &mut SqliteConnection,
    settings: &WriterSettings,
    batch: &[Event],
    mode: ApplyMode,
) -> Result<Vec<Verdict>, ApplyError> {
    let stamp = Stamp::random();
    run(connection, "BEGIN IMMEDIATE").await?;
    let sizes = sizes(connection, batch).await?;
    let mut verdicts = Vec::with_capacity(batch.len());
    for slice in slices(batch, &sizes) {
        match slice {
            Slice::Whole(events) => {
                verdicts.extend(apply_whole(connection, settings.rules(stamp), events).await?);
            }
            Slice::InParts(event, parts) => {
                verdicts
                    .push(apply_in_parts(connection, settings.rules(stamp), event, parts).await?);
            }
        }
    }
    let stays = mode != ApplyMode::Atomic || verdicts.iter().all(Verdict::is_stored);
    if stays {
        commit(connection, stamp).await?
    } else {
        run(connection, "ROLLBACK").await?
    }
    Ok(verdicts)
}

/// A COMMIT that SQLite refuses has stored nothing, but for an I/O error: then its last frame may
/// be in the log all the same, and a crash would replay it. Without a code of SQLite's it wasn't
/// even heard of.
async fn commit(connection: &mut SqliteConnection, stamp: Stamp) -> Result<(), ApplyError> {
    let committed = sqlx::query("COMMIT").execute(connection).await;
    committed.map(drop).map_err(|error| match primary_code(&error) {
        Some(IOERR) | None => ApplyError::Unknown { reason: error.to_string(), stamp },
        Some(_) => fault(error),
    })
}

async fn apply_whole(
    connection: &mut SqliteConnection,
    rules: Rules,
    events: &[Event],
) -> Result<Vec<Verdict>, ApplyError> {
    let logged = logged(connection, events).await?;
    let entities = entities(connection, events.iter().flat_map(Event::updates)).await?;
    let known = Known { logged, entities };
    let plan = plan(events, &known, &mut HashSet::new(), rules);
    let (verdicts, writes) = plan.map_err(ApplyError::Refused)?;
    write(connection, writes, rules.stamp).await?;
    Ok(verdicts)
}

/// An event whose documents don't fit in memory together; where a part is refused it goes back to
/// where the event began.
async fn apply_in_parts(
    connection: &mut SqliteConnection,
    rules: Rules,
    event: &Event,
    parts: Vec<Range<usize>>,
) -> Result<Verdict, ApplyError> {
    let logged = logged(connection, std::slice::from_ref(event)).await?;
    if let Some(logged) = logged.get(&event.uuid()) {
        return Ok(compare(event, logged));
    }
    run(connection, "SAVEPOINT event").await?;
    let mut versions = Vec::with_capacity(event.updates().len());
    for part in parts {
        let entities = entities(connection, &event.updates()[part.clone()]).await?;
        let known = Known { entities, ..Known::default() };
        let plan = plan_part(event, part, &known, rules);
        let (verdict, writes) = plan.map_err(ApplyError::Refused)?;
        let Verdict::Applied(made) = verdict else {
            run(connection, "ROLLBACK TO event").await?;
            return Ok(verdict);
        };
        versions.extend(made);
        write(connection, writes, rules.stamp).await?;
    }
    Ok(Verdict::Applied(versions))
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), ApplyError> {
    sqlx::query(sql).execute(connection).await.map(drop).map_err(fault)
}

async fn sizes(
    connection: &mut SqliteConnection,
    batch: &[Event],
) -> Result<HashMap<EntityKey, usize>, ApplyError> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(SIZES)
        .bind(json(&keys_of(batch.iter().flat_map(Event::updates)))?)
        .fetch_all(connection)
        .await
        .map_err(fault)?;
    let sized = rows.into_iter().map(|(entity_type, entity_id, size)| {
        (EntityKey { entity_type, entity_id }, usize::try_from(size).unwrap_or(0))
    });
    Ok(sized.collect())
}

/// Those of the events' uuids that are taken.
async fn logged(
    connection: &mut SqliteConnection,
    events: &[Event],
) -> Result<HashMap<Uuid, LoggedEvent>, ApplyError> {
    read::logged(connection, events.iter().map(Event::uuid)).await.map_err(fault)
}

/// The entities of the updates, as far as they exist.
async fn entities<'u>(
    connection: &mut SqliteConnection,
    updates: impl IntoIterator<Item = &'u EntityUpdate>,
) -> Result<HashMap<EntityKey, Stored>, ApplyError> {
    let rows: Vec<(String, String, i64, i64, i64, String)> = sqlx::query_as(STATES)
        .bind(json(&keys_of(updates))?)
        .fetch_all(connection)
        .await
        .map_err(fault)?;
    let states = rows.into_iter().map(|(entity_type, entity_id, version, size, updated, data)| {
        let size = usize::try_from(size).unwrap_or(0);
        let updated = Timestamp::from_micros(updated);
        let stored = Stored { version: count(version), size, updated, data };
        (EntityKey { entity_type, entity_id }, stored)
    });
    Ok(states.collect())
}

async fn write(
    connection: &mut SqliteConnection,
    Writes { changes, log }: Writes<'_>,
    stamp: Stamp,
) -> Result<(), ApplyError> {
    for part in parts(&changes, |change| change.data.len()) {
        for rows in part.chunks(rows::MOST) {
            let insert = rows.iter().fold(sqlx::query(WRITE.taking(rows.len())), bind_state);
            insert.execute(&mut *connection).await.map_err(fault)?;
        }
    }
    drop(changes);
    for part in parts(&log, |row| row.update.patch().text().len()) {
        for rows in part.chunks(rows::MOST) {
            let insert = sqlx::query(LOG.taking(rows.len()));
            let insert = rows.iter().fold(insert, |insert, row| bind_log(insert, row, stamp));
            insert.execute(&mut *connection).await.map_err(fault)?;
        }
    }
    Ok(())
}

type Insert<'q> = Query<'q, Sqlite, SqliteArguments>;

/// The columns of a state, in the statement's order.
fn bind_state<'q>(insert: Insert<'q>, change: &'q Change<'_>) -> Insert<'q> {
    insert
        .bind(change.key.entity_type())
        .bind(change.key.entity_id())
        .bind(integer(change.version))
        .bind(integer(change.size as u64))
        .bind(change.data.as_str())
        .bind(change.updated.micros())
}

/// The columns of the log, in the statement's order.
fn bind_log<'q>(insert: Insert<'q>, row: &'q LogRow<'_>, stamp: Stamp) -> Insert<'q> {
    let (event, key) = (row.event, row.update.key());
    insert
        .bind(event.uuid())
        .bind(integer(row.ordinal as u64))
        .bind(integer(row.version))
        .bind(event.created().map(Timestamp::micros))
        .bind(event.saved().map(Timestamp::micros))
        .bind(row.committed.micros())
        .bind(key.entity_type())
        .bind(key.entity_id())
        .bind(event.name())
        .bind(event.event_type())
        .bind(row.update.patch().text())
        .bind(stamp.0)
}

/// A count for an integer column.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn keys_of<'u>(updates: impl IntoIterator<Item = &'u EntityUpdate>) -> Vec<(&'u str, &'u str)> {
    let keys: BTreeSet<_> = updates.into_iter().map(EntityUpdate::key).collect();
    keys.into_iter().map(|key| (key.entity_type(), key.entity_id())).collect()
}

fn json(rows: &impl Serialize) -> Result<String, ApplyError> {
    serde_json::to_string(rows).map_err(|error| ApplyError::Refused(error.to_string()))
}

/// A count out of a column that never holds a negative number.
pub(super) fn count(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

/// BUSY 5, LOCKED 6, NOMEM 7, READONLY 8, IOERR 10, CORRUPT 11, FULL 13, CANTOPEN 14, PROTOCOL 15,
/// SCHEMA 17, AUTH 23, NOTADB 26, and 1 for a table that isn't there (yet): the file can't be
/// written now. Others (TOOBIG 18, CONSTRAINT 19, MISMATCH 20) are the batch's own.
fn fault(error: sqlx::Error) -> ApplyError {
    match primary_code(&error) {
        Some(18..=20) => ApplyError::Refused(error.to_string()),
        _ => ApplyError::Unavailable(error.to_string()),
    }
}

const IOERR: u32 = 10;

/// SQLite's result code without its extension.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let extended = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(extended & 0xff)
}
