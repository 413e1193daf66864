//! Conditions while a batch is planned: whether one holds, and how much they may look at together.

use crate::filter::{Facts, JudgingTime, State};
use crate::json::Document;
use crate::model::{Condition, EntityKey, Timestamp};

/// For so many conditions and operators a full document may be looked at: the most that one filter has.
const FULL_DOCUMENTS: usize = 64;

/// What the conditions of an event or of an atomic call have looked at: the bytes of the documents that they read, each times
/// the conditions and operators of its filter. It has a limit because the entities are locked
/// meanwhile, and other events wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LookedAt(usize);

/// An entity that a condition is judged by.
#[derive(Debug)]
pub(super) struct Judged<'s, 'a> {
    pub(super) key: &'s EntityKey,
    pub(super) version: u64,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) document: &'s Document<'a>,
}

impl LookedAt {
    /// As much as they may look at.
    pub(super) const fn most(max_entity_bytes: usize) -> usize {
        max_entity_bytes.saturating_mul(FULL_DOCUMENTS)
    }

    /// Whether that much is reached. The first condition is always judged.
    pub(super) const fn is_most(self, max_entity_bytes: usize) -> bool {
        self.0 >= Self::most(max_entity_bytes)
    }

    /// Whether an entity that exists fulfils a condition.
    pub(super) fn judge(
        &mut self,
        condition: &Condition,
        entity: &Judged<'_, '_>,
        now: Timestamp,
        time: &mut JudgingTime,
    ) -> bool {
        let Some(filter) = condition.filter() else { return false };
        let data = if filter.reads_data() { entity.document.to_json() } else { String::new() };
        self.0 = self.0.saturating_add(data.len().saturating_mul(filter.nodes()));
        let state = State { created_at: entity.created, updated_at: entity.updated, data: &data };
        let facts = Facts {
            entity_type: entity.key.entity_type(),
            entity_id: entity.key.entity_id(),
            version: entity.version,
            state: Some(state),
            change: None,
            now,
        };
        time.matches(&filter, &facts)
    }
}
