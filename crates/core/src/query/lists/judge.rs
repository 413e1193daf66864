//! Whether an entity belongs to a list.

use std::time::Duration;

use tokio::task::yield_now;

use super::sort_key::SortKey;
use crate::filter::{Filter, JudgingTime};
use crate::model::{Entity, Timestamp};

/// What reading the value of an order takes with a byte of a document, about.
const NANOS: u64 = 2;

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
        self.filter
            .is_none_or(|filter| JudgingTime::default().matches(filter, &entity.facts(self.now)))
            && self.has.is_none_or(|key| key.of(entity).is_some())
    }

    /// How long it takes at most, about, with a document of so many bytes.
    fn longest(self, bytes: usize) -> Duration {
        let read = Duration::from_nanos((bytes as u64).saturating_mul(NANOS));
        read + self.filter.map_or(Duration::ZERO, |filter| filter.longest(bytes))
    }
}

/// Lets other tasks go on where judging takes long.
#[derive(Debug)]
pub(super) struct YieldBudget<'a> {
    judge: Judge<'a>,
    time: JudgingTime,
}

impl<'a> YieldBudget<'a> {
    pub(super) fn new(judge: Judge<'a>) -> Self {
        Self { judge, time: JudgingTime::default() }
    }

    /// Notes that a document of so many bytes was judged.
    pub(super) async fn note(&mut self, bytes: usize) {
        if self.time.adds_up(self.judge.longest(bytes)) {
            yield_now().await;
        }
    }
}
