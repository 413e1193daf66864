//! Folds the log into entity state, compares with what is stored, and repairs what the log can
//! explain; then compares the rows of indexes and of search with the documents. It works while services run:
//! what looks different is compared again in a transaction.

mod rows;

use std::collections::VecDeque;

use producer_core::EntityKey;
pub use rows::RowSummary;

use crate::connection::Connection;
use crate::database::Database;
use crate::error::MaintenanceError;
use crate::fold::Fold;
use crate::progress::Progress;
use crate::tables::{Access, Logged, PAGE_ROWS, State, Stored, before_all};

/// What a rebuild found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entities compared.
    pub entities: u64,
    /// Those that differ from their log, repaired or not, and can be explained by it.
    pub differing: u64,
    /// Those of them that were repaired.
    pub repaired: u64,
    /// Those whose log can't explain them; they are not changed.
    pub unexplained: u64,
    /// The rows of indexes and of search.
    pub rows: RowSummary,
}

/// Compares every entity with the fold of its log, and the rows of indexes and of search with the documents
/// that are stored; with `write` it repairs the entities that the log can explain, and then the rows.
///
/// # Errors
/// The database can't be reached, or fails.
pub async fn rebuild(
    database: &Database,
    write: bool,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, MaintenanceError> {
    let mut connection = database.connect().await?;
    let entities = connection.count("SELECT count(*) FROM entities").await?;
    progress(Progress::Total(entities + rows::entities_to_compare(&mut connection).await?));
    let mut summary = compare_entities(&mut connection, write, progress).await?;
    summary.rows = rows::compare(&mut connection, write, summary.entities, progress).await?;
    Ok(summary)
}

async fn compare_entities(
    connection: &mut Connection,
    write: bool,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, MaintenanceError> {
    let (mut log, mut entities) = (LogCursor::new(), EntityCursor::new());
    let mut summary = Summary::default();
    loop {
        log.fill(connection).await?;
        entities.fill(connection).await?;
        let Some(key) = log.key().into_iter().chain(entities.key()).min().cloned() else { break };
        let fold = log.take(connection, &key).await?;
        let stored = entities.take(&key);
        if !agrees(fold.as_ref(), stored.as_ref(), connection) {
            let access = if write { Access::Write } else { Access::Snapshot };
            compare_again(connection, &key, access, &mut summary, progress).await?;
        }
        summary.entities += 1;
        progress(Progress::Done(summary.entities));
    }
    Ok(summary)
}

fn agrees(fold: Option<&Fold>, stored: Option<&Stored>, connection: &Connection) -> bool {
    let (Some(fold), Some(stored)) = (fold, stored) else { return false };
    fold.broken.is_none() && fold.difference(stored, connection).is_none()
}

/// Compares one entity again, in one transaction; counts, reports and repairs.
async fn compare_again(
    connection: &mut Connection,
    key: &EntityKey,
    access: Access,
    summary: &mut Summary,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), MaintenanceError> {
    let name = format!("{} {}", key.entity_type(), key.entity_id());
    loop {
        connection.begin(access).await?;
        let (stored, fold) = connection.entity_and_fold(key, access).await?;
        let (what, explained) = match (&stored, fold.version, &fold.broken) {
            (None, 0, _) => return connection.rollback().await,
            (Some(_), 0, _) => ("it is stored without a log".into(), false),
            (_, _, Some(broken)) => (broken.clone(), false),
            (None, _, _) => ("it is in the log and not stored".into(), true),
            (Some(stored), _, _) => match fold.difference(stored, connection) {
                Some(difference) => (difference.what, difference.explained),
                None => return connection.rollback().await,
            },
        };
        if !explained {
            connection.rollback().await?;
            summary.unexplained += 1;
            progress(Progress::Line(format!(
                "{name}: {what}; the log can't explain it: not changed"
            )));
            break;
        }
        if matches!(access, Access::Snapshot) {
            connection.rollback().await?;
            summary.differing += 1;
            progress(Progress::Line(format!("{name}: {what}")));
            break;
        }
        if repair(connection, key, stored.as_ref(), &fold).await? {
            connection.write_index_rows(&[key]).await?;
            connection.commit().await?;
            summary.differing += 1;
            summary.repaired += 1;
            progress(Progress::Line(format!("{name}: {what}; repaired")));
            break;
        }
        connection.rollback().await?;
    }
    Ok(())
}

/// Stores the fold; false if it no longer is the entity's, and everything is to be compared again.
async fn repair(
    connection: &mut Connection,
    key: &EntityKey,
    stored: Option<&Stored>,
    fold: &Fold,
) -> Result<bool, MaintenanceError> {
    let (Some(created_at), Some(updated_at)) = (fold.created_at, fold.updated_at) else {
        return Ok(false);
    };
    let updated_at = stored.map_or(updated_at, |stored| stored.updated_at.max(updated_at));
    let state = State {
        version: fold.version,
        deleted: !fold.exists,
        size: fold.size,
        data: &fold.state,
        created_at,
        updated_at,
    };
    if stored.is_some() {
        connection.update_entity(key, &state).await?;
        return Ok(true);
    }
    // a service may have made the entity, and pruning may have removed it with its log since; from
    // the insert on nobody else can
    let inserted = connection.insert_entity(key, &state).await?;
    Ok(inserted && connection.fold(key, u64::MAX).await?.version == fold.version)
}

/// Walks the log in the order of keys and versions.
struct LogCursor {
    page: VecDeque<Logged>,
    read: (EntityKey, u64),
    ended: bool,
}

impl LogCursor {
    fn new() -> Self {
        Self { page: VecDeque::new(), read: (before_all(), 0), ended: false }
    }

    async fn fill(&mut self, connection: &mut Connection) -> Result<(), MaintenanceError> {
        if self.page.is_empty() && !self.ended {
            self.page = connection.log_after(&self.read.0, self.read.1, PAGE_ROWS).await?.into();
            match self.page.back() {
                Some(entry) => self.read = (entry.key.clone(), entry.version),
                None => self.ended = true,
            }
        }
        Ok(())
    }

    fn key(&self) -> Option<&EntityKey> {
        self.page.front().map(|entry| &entry.key)
    }

    /// The fold of `key`, if its log comes next.
    async fn take(
        &mut self,
        connection: &mut Connection,
        key: &EntityKey,
    ) -> Result<Option<Fold>, MaintenanceError> {
        if self.key() != Some(key) {
            return Ok(None);
        }
        let mut fold = Fold::default();
        while self.key() == Some(key) {
            let end = self.page.iter().position(|entry| entry.key != *key);
            let entries: Vec<_> = self.page.drain(..end.unwrap_or(self.page.len())).collect();
            fold.extend(&entries);
            self.fill(connection).await?;
        }
        Ok(Some(fold))
    }
}

/// Walks the stored entities in the order of their keys.
struct EntityCursor {
    page: VecDeque<Stored>,
    read: EntityKey,
    ended: bool,
}

impl EntityCursor {
    fn new() -> Self {
        Self { page: VecDeque::new(), read: before_all(), ended: false }
    }

    async fn fill(&mut self, connection: &mut Connection) -> Result<(), MaintenanceError> {
        if self.page.is_empty() && !self.ended {
            self.page = connection.entities_after(&self.read).await?.into();
            match self.page.back() {
                Some(entity) => self.read = entity.key.clone(),
                None => self.ended = true,
            }
        }
        Ok(())
    }

    fn key(&self) -> Option<&EntityKey> {
        self.page.front().map(|entity| &entity.key)
    }

    fn take(&mut self, key: &EntityKey) -> Option<Stored> {
        self.page.pop_front_if(|entity| entity.key == *key)
    }
}
