//! Whether an entity belongs to a list.

use tokio::task::yield_now;

use super::sort_key::SortKey;
use crate::filter::{Facts, Filter, State};
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
        let facts = Facts {
            entity_type: entity.key.entity_type(),
            entity_id: entity.key.entity_id(),
            version: entity.version,
            state: Some(State {
                created_at: entity.created_at,
                updated_at: entity.updated_at,
                data: &entity.data,
            }),
            change: None,
            now: self.now,
        };
        self.filter.is_none_or(|filter| filter.matches(&facts))
            && self.has.is_none_or(|key| key.of(entity).is_some())
    }
}

/// Lets other tasks go on where many bytes were judged.
#[derive(Debug, Default)]
pub(super) struct Breather(usize);

impl Breather {
    pub(super) async fn note(&mut self, bytes: usize) {
        self.0 += bytes;
        if self.0 >= JUDGED_BYTES {
            self.0 = 0;
            yield_now().await;
        }
    }
}
