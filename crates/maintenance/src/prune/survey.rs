//! Counts what pruning would delete, without changing anything.

use producer_core::store::numbers::to_bigint;
use producer_core::{Clock, EntityKey};

use super::rules::{
    Cutoff, ENTITIES_PER_PAGE, Rules, STEP_ROWS, Scope, Summary, count_entries, old_events,
};
use crate::connection::Connection;
use crate::database::Database;
use crate::error::MaintenanceError;
use crate::fold::Fold;
use crate::progress::Progress;
use crate::tables::{Access, before_all};

/// What pruning with the same arguments would do at this moment. Services may write meanwhile: then
/// pruning may find more.
///
/// # Errors
/// The database can't be reached, or fails.
pub async fn survey(
    database: &Database,
    scope: impl Into<Scope>,
    clock: &Clock,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, MaintenanceError> {
    let scope = scope.into();
    let mut connection = database.connect().await?;
    let mut cutoff = Cutoff::new(scope.older_than, clock);
    if !scope.past_sinks {
        cutoff = connection.cutoff_of_sinks(cutoff, progress).await?;
    }
    progress(Progress::Total(connection.count("SELECT count(*) FROM entities").await?));
    let adopting = connection.has_older_table().await?;
    let mut survey = Survey { connection, cutoff, adopting, summary: Summary::default() };
    let (mut entities, mut last) = (0, before_all());
    loop {
        let page = survey.connection.oldest_entries(&last, ENTITIES_PER_PAGE, cutoff.up_to).await?;
        let Some((end, _)) = page.last() else { break };
        last = end.clone();
        entities += page.len() as u64;
        for (key, oldest) in page {
            if oldest.is_some_and(|at| at < cutoff.before) {
                survey.entity(&key, progress).await?;
            }
        }
        progress(Progress::Done(entities));
    }
    survey.connection.close().await?;
    Ok(survey.summary)
}

struct Survey {
    connection: Connection,
    cutoff: Cutoff,
    adopting: bool,
    summary: Summary,
}

impl Survey {
    /// Counts one entity: everything before the first entry that is kept, page by page.
    async fn entity(
        &mut self,
        key: &EntityKey,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), MaintenanceError> {
        let mut fold = Fold::default();
        let (mut deleted, mut position) = (0, 0);
        loop {
            let version = fold.version;
            let page = self.connection.log_of(key, version, to_bigint(STEP_ROWS as u64)).await?;
            let uuids = old_events(page.iter(), self.cutoff);
            let younger = self.connection.events_since(&uuids, self.cutoff).await?;
            let rules = Rules { cutoff: self.cutoff, younger: &younger, adopting: self.adopting };
            let kept = page.iter().position(|row| !rules.is_deletable(row));
            let deletable = &page[..kept.unwrap_or(page.len())];
            let entries = count_entries(deletable);
            position = deletable.last().map_or(position, |row| row.position);
            fold.extend(deletable);
            if entries > 0
                && let Some(reason) = &fold.broken
            {
                self.summary.skipped += 1;
                let (entity_type, id) = (key.entity_type(), key.entity_id());
                progress(Progress::Line(format!(
                    "{entity_type} {id}: {reason}; its entries are kept"
                )));
                break;
            }
            deleted += entries;
            if kept.is_some() || page.is_empty() {
                break;
            }
        }
        self.summary.deleted += deleted;
        if self.removes(key, &fold, position).await? {
            self.summary.removed += 1;
        } else {
            self.summary.checkpointed += u64::from(deleted > 0);
        }
        Ok(())
    }

    /// Whether the entity is removed: it is deleted, and this is all of its log, which is not the end of
    /// the whole log.
    async fn removes(
        &mut self,
        key: &EntityKey,
        fold: &Fold,
        position: u64,
    ) -> Result<bool, MaintenanceError> {
        if self.adopting || fold.exists || fold.broken.is_some() {
            return Ok(false);
        }
        if position >= self.connection.last_position().await? {
            return Ok(false);
        }
        let stored = self.connection.entity(key, Access::Snapshot).await?;
        Ok(stored.is_some_and(|stored| stored.deleted && stored.version == fold.version))
    }
}
