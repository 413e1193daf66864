//! What is pruned: shared by pruning and by the survey that only counts.

use std::collections::HashSet;
use std::time::Duration;

use producer_core::model::EntryKind;
use producer_core::{Clock, Timestamp};
use uuid::Uuid;

use crate::tables::Logged;

/// Entities whose oldest entry is read in one statement.
pub(super) const ENTITIES_PER_PAGE: i64 = 500;

/// Log rows of one step: it takes milliseconds.
pub(super) const STEP_ROWS: usize = 500;

/// The result of pruning, or of a survey of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Log entries deleted, checkpoints of earlier runs not counted.
    pub deleted: u64,
    /// Entities whose log begins with a new checkpoint.
    pub checkpointed: u64,
    /// Deleted entities that are gone, with the whole of their log.
    pub removed: u64,
    /// Entities with old entries that their log can't explain; those are kept.
    pub skipped: u64,
}

/// The moment before which events are old.
pub(super) fn cutoff(age: Duration, clock: &Clock) -> Timestamp {
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(clock.now().micros().saturating_sub(age))
}

/// Which entries may be deleted.
pub(super) struct Rules<'r> {
    pub(super) before: Timestamp,
    /// Events that have an entry which isn't old: an event is pruned as a whole.
    pub(super) younger: &'r HashSet<Uuid>,
    /// Whether the older services' table is still there.
    pub(super) adopting: bool,
}

impl Rules<'_> {
    pub(super) fn is_deletable(&self, row: &Logged) -> bool {
        let is_old = is_old(row, self.before);
        match row.kind {
            EntryKind::Checkpoint => true,
            EntryKind::Detached => is_old,
            EntryKind::Event => is_old && !self.younger.contains(&row.uuid),
            // an adoption that was interrupted finds in the log what it has done
            EntryKind::Adopted => is_old && !self.adopting,
        }
    }
}

/// The events of those entries that are old.
pub(super) fn old_events<'l>(
    rows: impl Iterator<Item = &'l Logged>,
    before: Timestamp,
) -> Vec<Uuid> {
    rows.filter(|row| is_old(row, before)).map(|row| row.uuid).collect()
}

/// Adopted rows have the times of the older service at new positions: they are as old as their adoption,
/// or else the first run would end the tokens of all readers.
fn is_old(row: &Logged, before: Timestamp) -> bool {
    let stored_at = match row.kind {
        EntryKind::Adopted => row.saved_at.unwrap_or(row.committed_at),
        EntryKind::Event | EntryKind::Detached | EntryKind::Checkpoint => row.committed_at,
    };
    stored_at < before
}

/// Entries of an entity that earlier runs did not make.
pub(super) fn count_entries(rows: &[Logged]) -> u64 {
    rows.iter().filter(|row| row.kind != EntryKind::Checkpoint).count() as u64
}
