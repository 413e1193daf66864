//! Adopts the older services' table `car_entities`: its rows become entities, each with a log entry;
//! the table is renamed to `car_entities_adopted`, and the view replaces it. A row whose entity an
//! event has deleted is listed and skipped: the event is newer than the row.
//!
//! It works in batches, each a transaction of its own, and may be interrupted and run again: the uuid
//! of a row's log entry is derived from its type and id. On PostgreSQL a second connection locks the
//! table against writers meanwhile, so that writes of older services wait. SQLite has no such lock:
//! what they wrote meanwhile is found by a second pass, which locks the whole file.

mod rows;

use producer_core::json::{Document, same_value};
use producer_core::model::EntryKind;
use producer_core::{Clock, EntityKey, Operation, Timestamp};
use uuid::Uuid;

use self::rows::{Checked, OldRow};
use crate::connection::Connection;
use crate::database::Database;
use crate::error::MaintenanceError;
use crate::migrate;
use crate::progress::Progress;
use crate::tables::{Access, NewEntry, State, Stored};

/// The namespace of the uuids of adopted rows (UUID version 5, RFC 9562). Never to be changed.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f5c_2f0e_8d5b_4c1a_9b57_7f0d_3a51_c4e2);

/// How often a transaction that lost against another one is attempted, and how often a lock is waited
/// for, each time as long as [`Connection::wait_briefly`] says.
const ATTEMPTS: u32 = 10;

const TABLE_IS_TAKEN: &str = "a table car_entities_adopted is there already: rename it first";

const DELETED: &str = "an event has deleted the entity of that key";

const CHANGED: &str =
    "it has changed since it was adopted: what it adds was added, what differs was not changed";

/// The result of an adoption.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whether there was a table to adopt.
    pub found: bool,
    /// Rows that became an entity, or a version of one, now or in a run before.
    pub adopted: u64,
    /// Rows that were listed and skipped.
    pub skipped: u64,
}

/// Adopts the table. Migrates first.
///
/// # Errors
/// The database can't be reached, or fails, or another session keeps the table locked; what was
/// adopted is kept, and the next run continues.
pub async fn adopt(
    database: &Database,
    max_entity_bytes: usize,
    clock: &Clock,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, MaintenanceError> {
    database.check_session()?;
    migrate::up(database).await?;
    let mut attempt = 1;
    loop {
        if !database.has_older_table().await? {
            return Ok(Summary::default());
        }
        let run = Adoption::new(database, max_entity_bytes, clock).await?;
        match run.run(progress).await {
            // an older service has read and now wants to write: it has to finish before the rename;
            // and a waiting lock request blocks all later ones, so that it is released in between
            Err(MaintenanceError::Contended(_) | MaintenanceError::Locked(_))
                if attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(MaintenanceError::Locked(text)) => {
                let holders = database.connect().await?.holders_of_old_table().await?;
                return Err(MaintenanceError::Locked(format!(
                    "{text}{holders}; end it and run `migrate adopt` again, which continues"
                )));
            }
            ended => return ended,
        }
    }
}

struct Adoption<'c> {
    /// Reads the table, and locks it where the database can.
    reader: Connection,
    /// Writes entities and log.
    work: Connection,
    max_entity_bytes: usize,
    clock: &'c Clock,
    summary: Summary,
    skipped: Vec<String>,
}

/// What was done with a row.
enum RowOutcome {
    Adopted,
    Skipped(String),
}

/// Which members of a row are merged into an existing entity.
enum Members {
    Missing,
    All,
}

impl<'c> Adoption<'c> {
    async fn new(
        database: &Database,
        max_entity_bytes: usize,
        clock: &'c Clock,
    ) -> Result<Self, MaintenanceError> {
        let (mut reader, mut work) = (database.connect().await?, database.connect().await?);
        reader.wait_briefly().await?;
        work.wait_briefly().await?;
        let summary = Summary { found: true, ..Summary::default() };
        Ok(Self { reader, work, max_entity_bytes, clock, summary, skipped: Vec::new() })
    }

    async fn run(
        mut self,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Summary, MaintenanceError> {
        if self.reader.adopted_table_exists().await? {
            return Err(MaintenanceError::Refused(TABLE_IS_TAKEN.into()));
        }
        self.reader.hold_old_table().await?;
        progress(Progress::Total(self.reader.count("SELECT count(*) FROM car_entities").await?));
        self.pass(progress).await?;
        if let Connection::Sqlite(_) = self.work {
            // nothing locked the table: what was written meanwhile is found under the write lock
            self.work.begin(Access::Write).await?;
            self.summary = Summary { found: true, ..Summary::default() };
            self.skipped.clear();
            self.pass_under_lock().await?;
            self.work.replace_old_table().await?;
            self.work.commit().await?;
        } else {
            self.reader.replace_old_table().await?;
            self.reader.commit().await?;
        }
        for line in self.skipped {
            progress(Progress::Line(line));
        }
        Ok(self.summary)
    }

    async fn pass(
        &mut self,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), MaintenanceError> {
        let mut last = None;
        loop {
            let batch = self.reader.old_rows(last.as_deref()).await?;
            let Some(end) = batch.last() else { return Ok(()) };
            last = Some(end.id.clone());
            let outcomes = self.batch(&batch).await?;
            self.count(&batch, outcomes);
            progress(Progress::Done(self.summary.adopted + self.summary.skipped));
        }
    }

    async fn pass_under_lock(&mut self) -> Result<(), MaintenanceError> {
        let mut last = None;
        loop {
            let batch = self.work.old_rows(last.as_deref()).await?;
            let Some(end) = batch.last() else { return Ok(()) };
            last = Some(end.id.clone());
            let outcomes = self.rows(&batch).await?;
            self.count(&batch, outcomes);
        }
    }

    fn count(&mut self, batch: &[OldRow], outcomes: Vec<RowOutcome>) {
        for (row, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                RowOutcome::Adopted => self.summary.adopted += 1,
                RowOutcome::Skipped(reason) => {
                    self.summary.skipped += 1;
                    self.skipped.push(format!("{:?} skipped: {reason}", row.id));
                }
            }
        }
    }

    /// One batch, one transaction.
    async fn batch(&mut self, batch: &[OldRow]) -> Result<Vec<RowOutcome>, MaintenanceError> {
        let mut attempt = 1;
        loop {
            self.work.begin(Access::Write).await?;
            match self.rows(batch).await {
                Ok(outcomes) => {
                    self.work.commit().await?;
                    return Ok(outcomes);
                }
                Err(MaintenanceError::Contended(_)) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
            self.work.rollback().await?;
        }
    }

    /// Adopts rows in the order of their keys, in which writers lock too, so that they can't deadlock.
    async fn rows(&mut self, batch: &[OldRow]) -> Result<Vec<RowOutcome>, MaintenanceError> {
        let now = self.clock.now();
        let checked: Vec<_> = batch.iter().map(|row| row.check(self.max_entity_bytes)).collect();
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|&at| checked[at].as_ref().ok().map(|row| &row.key));
        let mut outcomes: Vec<RowOutcome> = batch.iter().map(|_| RowOutcome::Adopted).collect();
        for at in order {
            outcomes[at] = match &checked[at] {
                Ok(row) => self.row(row, now).await?,
                Err(reason) => RowOutcome::Skipped(reason.clone()),
            };
        }
        let keys: Vec<_> = checked.iter().flatten().map(|row| &row.key).collect();
        self.work.write_index_rows(&keys).await?;
        Ok(outcomes)
    }

    async fn row(&mut self, row: &Checked, now: Timestamp) -> Result<RowOutcome, MaintenanceError> {
        let uuid = derived_uuid(&row.key, None);
        loop {
            let stored = self.work.entity(&row.key, Access::Write).await?;
            if let Some((version, patch)) = self.work.logged_update(uuid).await? {
                return match stored {
                    Some(stored) if self.work.is_only_adopted(&row.key).await? => {
                        self.update_unchanged(row, &stored, now).await
                    }
                    stored => self.adopted_before(row, stored, (version, &patch), now).await,
                };
            }
            match stored {
                Some(stored) if stored.deleted => {
                    return Ok(RowOutcome::Skipped(DELETED.into()));
                }
                Some(stored) => {
                    return self
                        .complete(row, &row.data, Members::Missing, uuid, &stored, now)
                        .await;
                }
                None if self.create(row, uuid, now).await? => return Ok(RowOutcome::Adopted),
                None => {} // a running service inserted it at this very moment
            }
        }
    }

    /// A row of an earlier pass whose entity no event has changed: the entity gets the row's present
    /// document.
    async fn update_unchanged(
        &mut self,
        row: &Checked,
        stored: &Stored,
        now: Timestamp,
    ) -> Result<RowOutcome, MaintenanceError> {
        if same_value(&stored.data, &row.data) {
            return Ok(RowOutcome::Adopted);
        }
        // a row may change back and forth
        let state = format!("{}\0{}", stored.version, row.data);
        let uuid = derived_uuid(&row.key, Some(&state));
        self.complete(row, &row.data, Members::All, uuid, stored, now).await
    }

    /// A row of an earlier pass whose entity events have changed. If the row has changed since, what it
    /// adds to what was adopted then becomes a further version; what events have removed meanwhile is
    /// not added again.
    async fn adopted_before(
        &mut self,
        row: &Checked,
        stored: Option<Stored>,
        (version, patch): (u64, &str),
        now: Timestamp,
    ) -> Result<RowOutcome, MaintenanceError> {
        let before = self.work.fold(&row.key, version - 1).await?;
        let (Ok(mut then), Ok(data), Ok(adopted)) =
            (Document::parse(&before.state), Document::parse(&row.data), Document::parse(patch))
        else {
            return Ok(RowOutcome::Skipped("its log can't be read".into()));
        };
        if same_value(&then.lacking(&data).to_json(), patch) {
            return Ok(RowOutcome::Adopted);
        }
        let Some(stored) = stored else {
            return Ok(RowOutcome::Skipped(
                "it has changed since it was adopted, and its entity is gone: `rebuild --write`"
                    .into(),
            ));
        };
        if stored.deleted {
            return Ok(RowOutcome::Skipped(format!(
                "it has changed since it was adopted; {DELETED}"
            )));
        }
        then.merge(adopted);
        let (added, uuid) =
            (then.lacking(&data).to_json(), derived_uuid(&row.key, Some(&row.data)));
        if self.work.logged_update(uuid).await?.is_none()
            && let RowOutcome::Skipped(reason) =
                self.complete(row, &added, Members::Missing, uuid, &stored, now).await?
        {
            return Ok(RowOutcome::Skipped(reason));
        }
        Ok(RowOutcome::Skipped(CHANGED.into()))
    }

    async fn create(
        &mut self,
        row: &Checked,
        uuid: Uuid,
        now: Timestamp,
    ) -> Result<bool, MaintenanceError> {
        let created_at = row.created_at.unwrap_or(now);
        let updated_at = row.updated_at.unwrap_or(now);
        let state = State {
            version: 1,
            deleted: false,
            size: row.size,
            data: &row.data,
            created_at,
            updated_at,
        };
        let entry = adopted(uuid, 1, (created_at, now, updated_at), &row.data);
        let created = self.work.insert_entity(&row.key, &state).await?;
        if created {
            self.work.append(&row.key, &entry).await?;
        }
        Ok(created)
    }

    /// Merges `data` into an existing entity, as a further version.
    async fn complete(
        &mut self,
        row: &Checked,
        data: &str,
        members: Members,
        uuid: Uuid,
        stored: &Stored,
        now: Timestamp,
    ) -> Result<RowOutcome, MaintenanceError> {
        let (Ok(mut document), Ok(data)) = (Document::parse(&stored.data), Document::parse(data))
        else {
            return Ok(RowOutcome::Skipped("the entity of that key can't be read".into()));
        };
        let added = match members {
            Members::Missing => document.lacking(&data),
            Members::All => document.patch_to(&data),
        };
        let patch = added.to_json();
        document.merge(added);
        if document.size() > self.max_entity_bytes {
            return Ok(RowOutcome::Skipped(
                "with its members the entity would exceed MAX_ENTITY_BYTES".into(),
            ));
        }
        let committed_at = now.max(stored.updated_at);
        let version = stored.version + 1;
        let (size, data) = (document.size().max(2), document.to_json());
        let state = State {
            version,
            deleted: false,
            size,
            data: &data,
            created_at: stored.created_at,
            updated_at: committed_at,
        };
        let created_at = row.created_at.unwrap_or(now);
        let entry = adopted(uuid, version, (created_at, now, committed_at), &patch);
        self.work.update_entity(&row.key, &state).await?;
        self.work.append(&row.key, &entry).await?;
        Ok(RowOutcome::Adopted)
    }
}

/// The log entry of a row; its times are those of creation, adoption and commit.
fn adopted(
    uuid: Uuid,
    version: u64,
    (created_at, saved_at, committed_at): (Timestamp, Timestamp, Timestamp),
    patch: &str,
) -> NewEntry<'_> {
    NewEntry {
        position: None,
        uuid,
        ordinal: 0,
        kind: EntryKind::Adopted,
        name: "Adopted",
        version,
        operation: Operation::Merge,
        // a row makes an entity only where there was none: a deleted one stays deleted
        created: version == 1,
        created_at,
        saved_at: Some(saved_at),
        committed_at,
        patch,
    }
}

/// `changed_to` is the document of a row that has changed since it was adopted.
fn derived_uuid(key: &EntityKey, changed_to: Option<&str>) -> Uuid {
    // no id holds a NUL, so that no two keys make one name
    let mut name = format!("{}\0{}", key.entity_type(), key.entity_id());
    if let Some(data) = changed_to {
        name.extend(["\0", data]);
    }
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}
