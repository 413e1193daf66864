//! A writer: takes the write lock, applies the batch in one transaction by the slow path's plan.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, FromRow, Row};

use super::indexes::write_index_rows;
use super::insert;
use super::search::write_search_rows;
use super::statements::{
    BEGIN, BOUND_OF_STATE, GENERATION_COLUMNS, LOG, STATE_COLUMNS, STATES, StateRow, WRITE,
    WRITE_ALL, bind_log, bind_state,
};
use crate::ingest::{ApplyError, ApplyMode, Verdict, Writer};
use crate::model::{AttemptId, Clock, EntityKey, EntityUpdate, Event, Timestamp, UnavailableKind};
use crate::store::kept_parts::KeptPartsCache;
use crate::store::logged::EventAssembler;
use crate::store::marks::{MARK, MARK_EVERY, has_passed, latest_before};
use crate::store::numbers::to_bigint;
use crate::store::sqlite::checkpoint::Checkpointer;
use crate::store::sqlite::query::{self, kind};
use crate::store::sqlite::write_lock::WriteLock;
use crate::store::write::indexes::{index_changes, search_changes};
use crate::store::write::plan::{Change, Known, Rules, Stored, Writes, plan, plan_part, seen};
use crate::store::write::slices::{Slice, parts, slices};
use crate::types::KeptParts;

/// Bytes of documents that are read together with the begin of a transaction.
const SMALL_BYTES: usize = 8 << 20;

/// What a writer works with.
#[derive(Clone)]
pub(in crate::store::sqlite) struct WriterSettings {
    pub(in crate::store::sqlite) options: SqliteConnectOptions,
    pub(in crate::store::sqlite) write_lock: WriteLock,
    pub(in crate::store::sqlite) checkpointer: Arc<Checkpointer>,
    pub(in crate::store::sqlite) max_entity_bytes: usize,
    pub(in crate::store::sqlite) clock: Clock,
    pub(in crate::store::sqlite) kept_parts: Arc<KeptPartsCache>,
}

impl WriterSettings {
    fn rules(&self, attempt: AttemptId, mode: ApplyMode) -> Rules {
        let atomic = mode == ApplyMode::Atomic;
        Rules { max_entity_bytes: self.max_entity_bytes, now: self.clock.now(), attempt, atomic }
    }
}

/// Applies batches over one connection.
pub(in crate::store::sqlite) struct SqliteWriter {
    settings: WriterSettings,
    /// Taken while a batch runs: after an error, or when the future is dropped, it is closed, which rolls
    /// back.
    connection: Option<SqliteConnection>,
    /// When the log was last marked with a time, or no mark was needed.
    marked_at: Option<Timestamp>,
}

impl SqliteWriter {
    pub(in crate::store::sqlite) fn new(settings: WriterSettings) -> Self {
        Self { settings, connection: None, marked_at: None }
    }

    async fn apply(
        &mut self,
        batch: &[Event],
        mode: ApplyMode,
    ) -> Result<Vec<Verdict>, ApplyError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let guard = self.settings.write_lock.acquire().await;
        let _guard = guard.map_err(|error| ApplyError::Unavailable {
            kind: UnavailableKind::Unreachable,
            reason: error.to_string(),
        })?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.settings.options.connect().await.map_err(classify)?,
        };
        let (settings, marked_at) = (&self.settings, &mut self.marked_at);
        match transaction(&mut connection, settings, marked_at, batch, mode).await {
            Ok(verdicts) => {
                self.connection = Some(connection);
                self.settings.checkpointer.committed();
                Ok(verdicts)
            }
            Err(error) => {
                // closed before the write lock is released: the next writer meets no lock of ours
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

/// Every statement is a round trip to SQLite's thread, so most transactions are two texts: the one that
/// begins also reads, the one that writes also commits. SQLite has no row locks, so no event is ever
/// locked, and `Normal` and `SkipLocked` are the same.
async fn transaction(
    connection: &mut SqliteConnection,
    settings: &WriterSettings,
    marked_at: &mut Option<Timestamp>,
    batch: &[Event],
    mode: ApplyMode,
) -> Result<Vec<Verdict>, ApplyError> {
    let attempt = AttemptId::random();
    let (generation, begun) = begin(connection, batch).await?;
    let kept = kept_parts(connection, settings, generation).await?;
    mark(connection, settings.clock.now(), marked_at).await?;
    match begun {
        Begun::Known(known) => {
            at_once(connection, settings.rules(attempt, mode), batch, mode, &known, &kept).await
        }
        Begun::Large(sizes) => {
            let mut verdicts = Vec::with_capacity(batch.len());
            for slice in slices(batch, &sizes) {
                let rules = settings.rules(attempt, mode);
                verdicts.extend(apply_slice(connection, rules, slice, &kept).await?);
            }
            if all_stay(&verdicts, mode) {
                commit(connection, attempt).await?;
            } else {
                run(connection, "ROLLBACK").await?;
            }
            Ok(verdicts)
        }
    }
}

/// Now and then marks what is there with a time: this transaction's own rows come later. An error is the
/// batch's: SQLite may have ended the transaction with it.
async fn mark(
    connection: &mut SqliteConnection,
    now: Timestamp,
    marked_at: &mut Option<Timestamp>,
) -> Result<(), ApplyError> {
    if !has_passed(MARK_EVERY, *marked_at, now) {
        return Ok(());
    }
    *marked_at = Some(now);
    let mark = sqlx::query(MARK)
        .bind(i64::MAX)
        .bind(now.micros())
        .bind(latest_before(now).micros())
        .execute(connection);
    mark.await.map(drop).map_err(classify)
}

fn all_stay(verdicts: &[Verdict], mode: ApplyMode) -> bool {
    mode != ApplyMode::Atomic || verdicts.iter().all(Verdict::is_stored)
}

/// A transaction that began.
enum Begun {
    /// All that it needs is read.
    Known(Known),
    /// Its documents are too large for that: their sizes.
    Large(HashMap<EntityKey, usize>),
}

/// What this transaction has to keep up: what is known, if the definitions of types have that generation.
async fn kept_parts(
    connection: &mut SqliteConnection,
    settings: &WriterSettings,
    generation: i64,
) -> Result<Arc<KeptParts>, ApplyError> {
    let known = settings.kept_parts.get().filter(|known| known.generation() == generation);
    match known {
        Some(known) => Ok(known),
        None => {
            let read = query::kept_parts(connection).await.map_err(classify)?;
            Ok(settings.kept_parts.put(read))
        }
    }
}

/// Also returns the generation of the definitions of types.
async fn begin(
    connection: &mut SqliteConnection,
    batch: &[Event],
) -> Result<(i64, Begun), ApplyError> {
    let keys = keys_of(batch.iter().flat_map(Event::updates));
    let small = SMALL_BYTES / keys.len().max(1);
    let mut rows = sqlx::query(BEGIN.as_str())
        .bind(to_bigint(small as u64))
        .bind(json(&keys)?)
        .bind(query::wanted(batch.iter().map(Event::uuid)))
        .fetch(connection);
    let mut generation = 0;
    let mut states = Vec::new();
    let mut verdicts = HashMap::new();
    let mut log = EventAssembler::default();
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        if row.len() == GENERATION_COLUMNS {
            generation = row.try_get(0).map_err(classify)?;
        } else if row.len() == STATE_COLUMNS {
            states.push(StateRow::from_row(&row).map_err(classify)?);
        } else if let Some(logged) = log.add(query::record(&row).map_err(classify)?) {
            verdicts.extend(seen(batch, &logged));
        }
    }
    verdicts.extend(log.finish().iter().flat_map(|logged| seen(batch, logged)));
    let is_known = states.iter().all(|state| state.data.is_some());
    let states = states.into_iter().map(StateRow::into_key_and_state);
    let begun = if is_known {
        Begun::Known(Known { seen: verdicts, entities: states.collect() })
    } else {
        Begun::Large(states.map(|(key, stored)| (key, stored.size)).collect())
    };
    Ok((generation, begun))
}

/// Plans and writes the batch, and commits.
async fn at_once(
    connection: &mut SqliteConnection,
    rules: Rules,
    batch: &[Event],
    mode: ApplyMode,
    known: &Known,
    kept: &KeptParts,
) -> Result<Vec<Verdict>, ApplyError> {
    let plan = plan(batch, known, &mut HashSet::new(), rules);
    let (verdicts, writes) = plan.map_err(ApplyError::Refused)?;
    if !all_stay(&verdicts, mode) {
        run(connection, "ROLLBACK").await?;
        return Ok(verdicts);
    }
    match writes.log.len() {
        0 => commit(connection, rules.attempt).await?,
        1..=insert::MOST => {
            write_parts(connection, &writes.changes, known, kept).await?;
            write_and_commit(connection, &writes, rules.attempt).await?;
        }
        _ => {
            write(connection, writes, rules.attempt, known, kept).await?;
            commit(connection, rules.attempt).await?;
        }
    }
    Ok(verdicts)
}

/// A COMMIT that SQLite refuses has stored nothing, except after an I/O error: then its last frame may
/// be in the write-ahead log, and a crash would replay it. An error without SQLite's code is no answer
/// of SQLite at all.
async fn commit(connection: &mut SqliteConnection, attempt: AttemptId) -> Result<(), ApplyError> {
    let committed = sqlx::query("COMMIT").execute(connection).await;
    committed.map(drop).map_err(|error| at_commit(error, attempt))
}

fn at_commit(error: sqlx::Error, attempt: AttemptId) -> ApplyError {
    match primary_code(&error) {
        Some(IOERR) | None => ApplyError::Unknown { reason: error.to_string(), attempt },
        Some(_) => classify(error),
    }
}

async fn apply_slice(
    connection: &mut SqliteConnection,
    rules: Rules,
    slice: Slice<'_>,
    kept: &KeptParts,
) -> Result<Vec<Verdict>, ApplyError> {
    match slice {
        Slice::Whole(events) => apply_whole(connection, rules, events, kept).await,
        Slice::InParts(event, parts) => {
            Ok(vec![apply_in_parts(connection, rules, event, parts, kept).await?])
        }
    }
}

async fn apply_whole(
    connection: &mut SqliteConnection,
    rules: Rules,
    events: &[Event],
    kept: &KeptParts,
) -> Result<Vec<Verdict>, ApplyError> {
    let seen = already_logged(connection, events).await?;
    let entities = entities(connection, events.iter().flat_map(Event::updates)).await?;
    let known = Known { seen, entities };
    let plan = plan(events, &known, &mut HashSet::new(), rules);
    let (verdicts, writes) = plan.map_err(ApplyError::Refused)?;
    write(connection, writes, rules.attempt, &known, kept).await?;
    Ok(verdicts)
}

/// An event whose documents don't fit in memory together; if a part is refused, the event is rolled
/// back to its savepoint.
async fn apply_in_parts(
    connection: &mut SqliteConnection,
    rules: Rules,
    event: &Event,
    parts: Vec<Range<usize>>,
    kept: &KeptParts,
) -> Result<Verdict, ApplyError> {
    if let Some(verdict) = already_logged(connection, std::slice::from_ref(event)).await?.remove(&0)
    {
        return Ok(verdict);
    }
    run(connection, "SAVEPOINT event").await?;
    let mut versions = Vec::with_capacity(event.updates().len());
    let mut before = HashMap::new();
    for part in parts {
        let entities = entities(connection, &event.updates()[part.clone()]).await?;
        let known = Known { entities, ..Known::default() };
        let plan = plan_part(event, part, &known, &mut before, rules);
        let (verdict, writes) = plan.map_err(ApplyError::Refused)?;
        let Verdict::Applied(made) = verdict else {
            run(connection, "ROLLBACK TO event").await?;
            return Ok(verdict);
        };
        versions.extend(made);
        write(connection, writes, rules.attempt, &known, kept).await?;
    }
    Ok(Verdict::Applied(versions))
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), ApplyError> {
    sqlx::query(sql).execute(connection).await.map(drop).map_err(classify)
}

/// The verdicts on those of the events, by their places, whose uuid is taken.
async fn already_logged(
    connection: &mut SqliteConnection,
    events: &[Event],
) -> Result<HashMap<usize, Verdict>, ApplyError> {
    let mut verdicts = HashMap::new();
    let found = |logged| verdicts.extend(seen(events, &logged));
    query::logged(connection, events.iter().map(Event::uuid), found).await.map_err(classify)?;
    Ok(verdicts)
}

/// The entities of the updates, as far as they exist.
async fn entities<'u>(
    connection: &mut SqliteConnection,
    updates: impl IntoIterator<Item = &'u EntityUpdate>,
) -> Result<HashMap<EntityKey, Stored>, ApplyError> {
    let rows: Vec<StateRow> = sqlx::query_as(STATES)
        .bind(i64::MAX)
        .bind(json(&keys_of(updates))?)
        .fetch_all(connection)
        .await
        .map_err(classify)?;
    Ok(rows.into_iter().map(StateRow::into_key_and_state).collect())
}

/// Writes the rows of indexes and of search.
async fn write_parts(
    connection: &mut SqliteConnection,
    changes: &[Change<'_>],
    known: &Known,
    kept: &KeptParts,
) -> Result<(), ApplyError> {
    let indexes = index_changes(changes, known, kept);
    write_index_rows(connection, &indexes).await.map_err(classify)?;
    let searches = search_changes(changes, known, kept);
    write_search_rows(connection, searches).await.map_err(classify)
}

async fn write(
    connection: &mut SqliteConnection,
    Writes { changes, log }: Writes<'_>,
    attempt: AttemptId,
    known: &Known,
    kept: &KeptParts,
) -> Result<(), ApplyError> {
    write_parts(connection, &changes, known, kept).await?;
    for part in parts(&changes, |change| change.data.len()) {
        for rows in part.chunks(insert::MOST) {
            let insert = rows.iter().fold(sqlx::query(WRITE.taking(rows.len())), bind_state);
            insert.execute(&mut *connection).await.map_err(classify)?;
        }
    }
    drop(changes);
    for part in parts(&log, |row| row.update.patch().text().len()) {
        for rows in part.chunks(insert::MOST) {
            let insert = sqlx::query(LOG.taking(rows.len()));
            let insert = rows.iter().fold(insert, |insert, row| bind_log(insert, row, attempt));
            insert.execute(&mut *connection).await.map_err(classify)?;
        }
    }
    Ok(())
}

/// Writes and commits in one round trip; there are [`insert::MOST`] updates at most, and so states.
async fn write_and_commit(
    connection: &mut SqliteConnection,
    Writes { changes, log }: &Writes<'_>,
    attempt: AttemptId,
) -> Result<(), ApplyError> {
    let write = sqlx::query(WRITE_ALL.taking(log.len()));
    let write = changes.iter().fold(write, bind_state);
    let left_out = (insert::length_for(log.len()) - changes.len()) * BOUND_OF_STATE;
    let write = (0..left_out).fold(write, |write, _| write.bind(None::<i64>));
    let write = log.iter().fold(write, |write, row| bind_log(write, row, attempt));
    write.execute(connection).await.map(drop).map_err(|error| at_commit(error, attempt))
}

fn keys_of<'u>(updates: impl IntoIterator<Item = &'u EntityUpdate>) -> Vec<(&'u str, &'u str)> {
    let keys: BTreeSet<_> = updates.into_iter().map(EntityUpdate::key).collect();
    keys.into_iter().map(|key| (key.entity_type(), key.entity_id())).collect()
}

fn json(rows: &impl Serialize) -> Result<String, ApplyError> {
    serde_json::to_string(rows).map_err(|error| ApplyError::Refused(error.to_string()))
}

/// BUSY 5, LOCKED 6, NOMEM 7, READONLY 8, IOERR 10, CORRUPT 11, FULL 13, CANTOPEN 14, PROTOCOL 15,
/// SCHEMA 17, AUTH 23, NOTADB 26, and 1 for a table that isn't there (yet): the file can't be
/// written now. Others (TOOBIG 18, CONSTRAINT 19, MISMATCH 20) are the batch's own.
fn classify(error: sqlx::Error) -> ApplyError {
    match primary_code(&error) {
        Some(18..=20) => ApplyError::Refused(error.to_string()),
        _ => ApplyError::Unavailable { kind: kind(&error), reason: error.to_string() },
    }
}

const IOERR: u32 = 10;

/// SQLite's result code without its extension.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let extended = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(extended & 0xff)
}
