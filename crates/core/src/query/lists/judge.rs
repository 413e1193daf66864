//! Whether an entity belongs to a list.

use tokio::task::yield_now;

use super::sort_key::SortKey;
use crate::filter::Filter;
use crate::model::{Entity, Timestamp};

/// Other tasks go on after documents of so many bytes were judged.
const JUDGED_BYTES: usize = 256 << 10;

/// Which entities are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) filter: Option<&'a Filter>,
    pub(super) now: Timestamp,
    /// They have such a value.
    pub(super) has: Option<&'a SortKey>,
}

impl Judge<'_> {
    pub(super) fn wants(self, entity: &Entity) -> bool {
        self.filter.is_none_or(|filter| filter.matches(&entity.facts(self.now)))
            && self.has.is_none_or(|key| key.of(entity).is_some())
    }
}

/// Lets other tasks go on where many bytes were judged.
#[derive(Debug, Default)]
pub(super) struct YieldBudget(usize);

impl YieldBudget {
    pub(super) async fn note(&mut self, bytes: usize) {
        self.0 += bytes;
        if self.0 >= JUDGED_BYTES {
            self.0 = 0;
            yield_now().await;
        }
    }
}
