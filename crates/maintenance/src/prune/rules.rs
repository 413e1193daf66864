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

/// What is pruned of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The age from which events are deleted.
    pub older_than: Duration,
    /// Whether what sinks still need is deleted too.
    pub past_sinks: bool,
}

/// All that is so old, but what sinks still need.
impl From<Duration> for Scope {
    fn from(older_than: Duration) -> Self {
        Self { older_than, past_sinks: false }
    }
}

/// Up to where entries are old.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cutoff {
    /// What was committed at this time or later is not.
    pub(super) before: Timestamp,
    /// What has a higher position is not, however old: a sink still needs it.
    pub(super) up_to: u64,
}

impl Cutoff {
    /// By age alone.
    pub(super) fn new(age: Duration, clock: &Clock) -> Self {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(clock.now().micros().saturating_sub(age));
        Self { before, up_to: u64::MAX }
    }

    /// Adopted rows have the times of the older service at new positions: they are as old as their adoption,
    /// or else the first run would end the tokens of all readers.
    fn includes(self, row: &Logged) -> bool {
        let stored_at = match row.kind {
            EntryKind::Adopted => row.saved_at.unwrap_or(row.committed_at),
            EntryKind::Event | EntryKind::Detached | EntryKind::Checkpoint => row.committed_at,
        };
        stored_at < self.before && row.position <= self.up_to
    }
}

/// Which entries may be deleted.
pub(super) struct Rules<'r> {
    pub(super) cutoff: Cutoff,
    /// Events that have an entry which isn't old: an event is pruned as a whole.
    pub(super) younger: &'r HashSet<Uuid>,
    /// Whether the older services' table is still there.
    pub(super) adopting: bool,
}

impl Rules<'_> {
    pub(super) fn is_deletable(&self, row: &Logged) -> bool {
        let is_old = self.cutoff.includes(row);
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
pub(super) fn old_events<'l>(rows: impl Iterator<Item = &'l Logged>, cutoff: Cutoff) -> Vec<Uuid> {
    rows.filter(|row| cutoff.includes(row)).map(|row| row.uuid).collect()
}

/// Entries of an entity that earlier runs did not make.
pub(super) fn count_entries(rows: &[Logged]) -> u64 {
    rows.iter().filter(|row| row.kind != EntryKind::Checkpoint).count() as u64
}
