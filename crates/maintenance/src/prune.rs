//! Deletes what is older than a given age from the log. Each entity that loses entries gets a
//! checkpoint, its whole state at the last version deleted, from which `rebuild` starts: a replace
//! with the document, or a delete where the entity was deleted then. (A merge patch would not do:
//! patches don't compose with a replace or a delete before them.) The checkpoint also keeps when the
//! entity was made.
//!
//! A deleted entity whose whole log is old is *removed*: its row goes with the last of its log, in one
//! transaction, and its next version is 1. The row is locked as writers lock it, but never waited for:
//! writers would wait behind this transaction meanwhile. Where a writer has it, or has made the entity
//! anew since its log was read, the entity gets a checkpoint as any other. A writer that waits for
//! the row finds none then, and begins with version 1; one that has read the row holds its lock.
//!
//! An event is pruned as a whole: when its first row is deleted, its rows of other entities are
//! *detached*: they have no uuid any more and only count for their entity's fold, until that entity is
//! pruned up to them. So a step touches only a few entities, however many one event connects.
//! Checkpoints and detached updates have the ordinal -1, which no event's row has: no uuid that a
//! client may choose collides with theirs.
//!
//! Readers of changes go on from positions. The *floor* rises with the highest position that they can
//! no longer read, in the transaction that deletes. A checkpoint has the position of the last row that it
//! replaces, so that pruning moves nothing to the end of the log. The row with the highest position stays,
//! if only as a checkpoint: without it a token of that position would be ahead of the log.
//!
//! Sinks of the worker go on from positions too, and read their dead letters again. Nothing that they still need
//! is deleted or detached, unless the operator says so.
//!
//! It may be interrupted at any moment and run again, also several at the same time and beside
//! services: each step is one short transaction, followed by a pause that is longer than the step.

mod rows;
mod rules;
mod sinks;
mod survey;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use producer_core::model::EntryKind;
use producer_core::store::sqlite::write_lock::{WriteLock, WriteLockGuard};
use producer_core::{Clock, EntityKey, Operation, Timestamp};
use uuid::Uuid;

use self::rows::{Page, Position};
use self::rules::{Cutoff, ENTITIES_PER_PAGE, Rules, STEP_ROWS, count_entries, old_events};
pub use self::rules::{Scope, Summary};
pub use self::survey::survey;
use crate::connection::{Connection, SQLITE_LOCK_TIMEOUT};
use crate::database::Database;
use crate::error::MaintenanceError;
use crate::fold::Fold;
use crate::progress::Progress;
use crate::tables::{Access, Logged, NewEntry, before_all};

/// The namespace of the uuids of checkpoints (UUID version 5, RFC 9562). Never to be changed.
const NAMESPACE: Uuid = Uuid::from_u128(0xb0a1_7f3c_52d9_4e0b_8c66_1e94_7ad0_35f1);

/// Bytes of patches of one step, about.
const STEP_BYTES: usize = 1 << 20;

/// Marks that one statement deletes.
const STEP_MARKS: i64 = 5000;

/// How much longer than a step the pause after it is, so that services keep most of the database.
const PAUSE_FACTOR: u32 = 3;

/// How often a step is attempted that lost against another transaction.
const ATTEMPTS: u32 = 10;

/// Deletes every log entry of events that the scope names: those that are so old, up to where sinks need them.
/// A sink that keeps something old is named by a [warning](Progress::Warning).
///
/// # Errors
/// The database can't be reached, or fails; what is pruned stays pruned, and the next run continues.
pub async fn prune(
    database: &Database,
    scope: impl Into<Scope>,
    clock: &Clock,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, MaintenanceError> {
    let scope = scope.into();
    let mut run = Run {
        connection: database.connect().await?,
        write_lock: match database {
            Database::Postgres { .. } => None,
            Database::Sqlite(file) => Some(WriteLock::beside(file)),
        },
        cutoff: Cutoff::new(scope.older_than, clock),
        past_sinks: scope.past_sinks,
        summary: Summary::default(),
        checkpointed: HashSet::new(),
    };
    run.connection.disable_wal_autocheckpoint().await?;
    if !run.past_sinks {
        run.cutoff = run.connection.cutoff_of_sinks(run.cutoff, progress).await?;
    }
    progress(Progress::Total(run.connection.count("SELECT count(*) FROM entities").await?));
    let (mut entities, mut last) = (0, before_all());
    loop {
        let started = Instant::now();
        let page =
            run.connection.oldest_entries(&last, ENTITIES_PER_PAGE, run.cutoff.up_to).await?;
        let Some((end, _)) = page.last() else { break };
        last = end.clone();
        entities += page.len() as u64;
        pause_after(started.elapsed()).await;
        run.entities(page, progress).await?;
        progress(Progress::Done(entities));
    }
    run.marks().await?;
    Ok(run.summary)
}

async fn pause_after(work: Duration) {
    tokio::time::sleep(work * PAUSE_FACTOR).await;
}

struct Run {
    connection: Connection,
    /// The write lock of an SQLite file.
    write_lock: Option<WriteLock>,
    /// As of the last step: sinks go on, and may be reset.
    cutoff: Cutoff,
    past_sinks: bool,
    summary: Summary,
    /// Entities of this page that have a new checkpoint.
    checkpointed: HashSet<EntityKey>,
}

impl Run {
    /// Prunes those whose oldest entry is old.
    async fn entities(
        &mut self,
        page: Vec<(EntityKey, Option<Timestamp>)>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), MaintenanceError> {
        let due =
            page.into_iter().filter(|(_, oldest)| oldest.is_some_and(|at| at < self.cutoff.before));
        let mut due: Vec<EntityKey> = due.map(|(key, _)| key).collect();
        self.checkpointed.clear();
        while !due.is_empty() {
            let started = Instant::now();
            let step = self.step(due).await?;
            self.connection.wal_checkpoint().await?;
            self.count(&step, progress);
            due = step.unfinished;
            pause_after(started.elapsed()).await;
        }
        Ok(())
    }

    fn count(&mut self, step: &Step, progress: &mut (dyn FnMut(Progress) + Send)) {
        for prune in &step.prunes {
            self.summary.deleted += prune.deleted;
            // an entity of several steps counts once, by what the last of them left
            if prune.removes_entity {
                self.summary.removed += 1;
                self.summary.checkpointed -= u64::from(self.checkpointed.remove(&prune.key));
            } else {
                self.summary.checkpointed += u64::from(self.checkpointed.insert(prune.key.clone()));
            }
        }
        self.summary.skipped += step.skipped.len() as u64;
        for (key, reason) in &step.skipped {
            let (entity_type, id) = (key.entity_type(), key.entity_id());
            progress(Progress::Line(format!("{entity_type} {id}: {reason}; its entries are kept")));
        }
    }

    /// One transaction, retried where it lost against another one.
    async fn step(&mut self, due: Vec<EntityKey>) -> Result<Step, MaintenanceError> {
        let mut attempt = 1;
        loop {
            let started = Instant::now();
            match self.transaction(&due).await {
                Err(MaintenanceError::Contended(_)) if attempt < ATTEMPTS => attempt += 1,
                ended => return ended,
            }
            self.connection.rollback().await?;
            pause_after(started.elapsed()).await;
        }
    }

    async fn transaction(&mut self, due: &[EntityKey]) -> Result<Step, MaintenanceError> {
        let _guard = self.write_lock().await?;
        self.connection.begin(Access::Write).await?;
        self.connection.prune_alone().await?;
        if !self.past_sinks {
            self.cutoff.up_to = self.connection.needed_by_sinks().await?;
        }
        let adopting = self.connection.has_older_table().await?;
        let mut step = self.plan(due, adopting).await?;
        // an adoption that was interrupted would make deleted entities anew from their rows
        if !adopting {
            self.remove_entities(&mut step).await?;
        }
        // what has nothing but an earlier checkpoint keeps it
        step.prunes.retain(|prune| prune.deleted > 0 || prune.removes_entity);
        let rows: Vec<Position> = step.prunes.iter().flat_map(|prune| prune.rows.clone()).collect();
        let uuids: Vec<Uuid> = step.prunes.iter().flat_map(|prune| prune.events.clone()).collect();
        self.connection.delete_rows(&rows).await?;
        self.connection.detach_updates(&uuids).await?;
        for prune in step.prunes.iter().filter(|prune| !prune.removes_entity) {
            self.connection.append(&prune.key, &prune.checkpoint()).await?;
        }
        self.connection.commit().await?;
        Ok(step)
    }

    /// Deletes the marks that no reader needs any more.
    async fn marks(&mut self) -> Result<(), MaintenanceError> {
        loop {
            let started = Instant::now();
            let deleted = {
                let _guard = self.write_lock().await?;
                self.connection.delete_marks(STEP_MARKS).await?
            };
            if deleted < STEP_MARKS.unsigned_abs() {
                return Ok(());
            }
            pause_after(started.elapsed()).await;
        }
    }

    /// Removes the rows of those deleted entities of which the step deletes the whole log.
    async fn remove_entities(&mut self, step: &mut Step) -> Result<(), MaintenanceError> {
        let last_of_log = self.connection.last_position().await?;
        let deleted = step.prunes.iter().filter(|prune| prune.operation == Operation::Delete);
        let deleted = deleted.filter(|prune| prune.position < last_of_log);
        let last = deleted.map(|prune| Position::new(&prune.key, prune.version)).collect();
        let removed = self.connection.remove_entities(last).await?;
        for prune in &mut step.prunes {
            prune.removes_entity = removed.contains(&prune.key);
        }
        if !removed.is_empty() {
            self.connection.delete_index_rows(&removed.iter().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// The write lock of an SQLite file, shared fairly with the services.
    async fn write_lock(&self) -> Result<Option<WriteLockGuard>, MaintenanceError> {
        let Some(write_lock) = &self.write_lock else { return Ok(None) };
        let started = Instant::now();
        loop {
            match write_lock.acquire().await {
                Ok(turn) => return Ok(Some(turn)),
                Err(error) if started.elapsed() > SQLITE_LOCK_TIMEOUT => {
                    return Err(MaintenanceError::Unreachable(error.to_string()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// What is to be deleted of these entities, within the limits of one step.
    async fn plan(&mut self, due: &[EntityKey], adopting: bool) -> Result<Step, MaintenanceError> {
        let mut pages = Vec::new();
        let (mut room, mut bytes) = (STEP_ROWS, 0);
        let mut due = due.iter();
        while room > 0
            && bytes < STEP_BYTES
            && let Some(key) = due.next()
        {
            let page = self.connection.oldest_rows(key, room).await?;
            room -= page.rows.len().min(room);
            bytes += page.rows.iter().map(|row| row.patch.len()).sum::<usize>();
            pages.push(page);
        }
        let uuids = old_events(pages.iter().flat_map(|page| &page.rows), self.cutoff);
        let younger = self.connection.events_since(&uuids, self.cutoff).await?;
        let rules = Rules { cutoff: self.cutoff, younger: &younger, adopting };
        let mut step = Step::default();
        for page in pages {
            step.add(page, |row| rules.is_deletable(row));
        }
        // after those that are half done, so that these begin the next step and have its whole limit
        step.unfinished.extend(due.cloned());
        Ok(step)
    }
}

/// What one transaction does.
#[derive(Default)]
struct Step {
    prunes: Vec<EntityPrune>,
    /// Entities whose log is broken, and how.
    skipped: Vec<(EntityKey, String)>,
    /// Entities that may have more to prune.
    unfinished: Vec<EntityKey>,
}

impl Step {
    /// Adds what is deleted of one entity: everything before the first entry that is kept.
    fn add(&mut self, Page { mut rows, more }: Page, is_deletable: impl Fn(&Logged) -> bool) {
        let kept = rows.iter().position(|row| !is_deletable(row));
        rows.truncate(kept.unwrap_or(rows.len()));
        let Some((key, position)) = rows.last().map(|row| (row.key.clone(), row.position)) else {
            return;
        };
        if more && kept.is_none() {
            self.unfinished.push(key.clone());
        }
        let mut fold = Fold::default();
        fold.extend(&rows);
        if count_entries(&rows) == 0 && fold.exists {
            return;
        }
        let (None, Some(created_at), Some(updated_at)) =
            (&fold.broken, fold.created_at, fold.updated_at)
        else {
            self.unfinished.retain(|unfinished| *unfinished != key);
            self.skipped.push((key, fold.broken.unwrap_or_default()));
            return;
        };
        let events = rows.iter().filter(|row| row.kind == EntryKind::Event);
        self.prunes.push(EntityPrune {
            deleted: count_entries(&rows),
            events: events.map(|row| row.uuid).collect(),
            rows: rows.iter().map(Position::from_row).collect(),
            position,
            version: fold.version,
            operation: if fold.exists { Operation::Replace } else { Operation::Delete },
            state: fold.state,
            removes_entity: false,
            created_at,
            updated_at,
            key,
        });
    }
}

/// What is deleted of one entity's log, and the entity's state there.
struct EntityPrune {
    key: EntityKey,
    rows: Vec<Position>,
    events: Vec<Uuid>,
    /// Rows, earlier checkpoints not counted.
    deleted: u64,
    /// Of the last row.
    position: u64,
    version: u64,
    /// What the checkpoint does: [`Operation::Delete`] where the entity does not exist at `version`.
    operation: Operation,
    state: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Whether the entity's row is deleted too: then no checkpoint replaces the rows.
    removes_entity: bool,
}

impl EntityPrune {
    /// The entry that replaces the rows.
    fn checkpoint(&self) -> NewEntry<'_> {
        // no id holds a NUL, so that no two keys make one name
        let (entity_type, id) = (self.key.entity_type(), self.key.entity_id());
        let name = format!("{entity_type}\0{id}\0{}", self.version);
        NewEntry {
            position: Some(self.position),
            uuid: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            ordinal: -1,
            kind: EntryKind::Checkpoint,
            name: "Checkpoint",
            version: self.version,
            operation: self.operation,
            created: false,
            created_at: self.created_at,
            saved_at: None,
            committed_at: self.updated_at,
            patch: &self.state,
        }
    }
}
