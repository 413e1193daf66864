//! How a list is looked through: by keys, by an index, or sorted in memory.

use super::catalog::DeclaredIndex;
use super::index_walk::IndexWalk;
use super::key_walk::KeyWalk;
use super::narrow::{Keys, keys};
use super::ranges::{IndexRanges, ranges};
use super::walk::Walk;
use crate::filter::Filter;
use crate::model::Timestamp;
use crate::query::list_order::{ListOrder, OrderBy};
use crate::query::list_token::Place;

/// What is asked of a list, apart from its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// `None`: all types.
    pub(super) entity_type: Option<&'a str>,
    pub(super) filter: Option<&'a Filter>,
    pub(super) order: Option<&'a ListOrder>,
    /// What `now` means in the filter.
    pub(super) now: Timestamp,
}

/// How to look a list through. Where there is both, sorting is tried first: it ends where there are too many
/// entities.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Looks at all candidates and sorts them.
    pub(super) sort: Option<Walk>,
    /// Looks at the candidates in the order of the list.
    pub(super) walk: Option<Walk>,
    /// Whether an index is used.
    pub(super) by_index: bool,
}

impl Wanted<'_> {
    /// Whether an index might serve.
    pub(super) fn may_use_index(&self) -> bool {
        self.entity_type.is_some() && (self.filter.is_some() || self.needs_values())
    }

    /// Whether nothing but the type decides what is in the list.
    pub(super) fn lists_all(&self) -> bool {
        let is_by_data = |order: &ListOrder| matches!(order.by, OrderBy::Data(_));
        self.filter.is_none() && !self.order.is_some_and(is_by_data)
    }

    /// Whether an index, once it is ready, serves the order.
    pub(super) fn is_served_by(&self, index: &DeclaredIndex) -> bool {
        ranges(&index.definition, self.filter, self.order, self.now).is_some()
    }

    /// Whether the order is one of values that not every entity has, or that no key has.
    fn needs_values(&self) -> bool {
        self.order.is_some_and(|order| order.by != OrderBy::Id)
    }

    fn is_descending(&self) -> bool {
        self.order.is_some_and(|order| order.descending)
    }

    /// How to go on behind a place, with these indexes. Nothing, where the index of the place is not among them.
    pub(super) fn plan(&self, indexes: &[DeclaredIndex], after: Option<&Place>) -> Plan {
        match after {
            None => self.first(indexes),
            Some(Place::Sorted { .. }) => self.sorted(indexes),
            Some(Place::Key(_)) => Plan { walk: Some(self.by_keys(after)), ..Plan::default() },
            Some(Place::Index { index_id, .. }) => {
                let index = indexes.iter().find(|index| index.id == *index_id && index.is_ready);
                let walk = index.and_then(|index| {
                    let order = self.order.filter(|_| self.needs_values());
                    let ranges = ranges(&index.definition, self.filter, order, self.now)?;
                    self.by_index(index, ranges, self.is_descending(), after)
                });
                Plan { walk, by_index: true, ..Plan::default() }
            }
        }
    }

    /// How to begin.
    fn first(&self, indexes: &[DeclaredIndex]) -> Plan {
        let Some(order) = self.order else {
            return self.unordered(indexes);
        };
        if let Keys::Points(_) = self.keys() {
            return self.sorted(indexes);
        }
        let narrowing = self.best(indexes, None);
        let equal =
            |found: &Option<Found<'_>>| found.as_ref().map_or(0, |found| found.ranges.narrowed.0);
        let serving = if self.needs_values() { self.best(indexes, Some(order)) } else { None };
        let sort_first = equal(&narrowing) > equal(&serving);
        let walk = match serving {
            Some(found) => self.by_index(found.index, found.ranges, self.is_descending(), None),
            None if self.needs_values() => return self.sorted(indexes),
            None => Some(self.by_keys(None)),
        };
        let by_index = self.needs_values() || sort_first;
        let sort = narrowing.filter(|_| sort_first);
        let sort = sort.and_then(|found| self.by_index(found.index, found.ranges, false, None));
        Plan { sort, walk, by_index }
    }

    /// All candidates, in any order; of an index upwards, so that what is updated meanwhile is not missed in
    /// one of update times.
    pub(super) fn unordered(&self, indexes: &[DeclaredIndex]) -> Plan {
        let found = match self.keys() {
            Keys::Points(_) => None,
            Keys::Ranges(_) => self.best(indexes, None),
        };
        let walk = found.and_then(|found| self.by_index(found.index, found.ranges, false, None));
        let by_index = walk.is_some();
        Plan { walk: walk.or_else(|| Some(self.by_keys(None))), by_index, sort: None }
    }

    /// The candidates for counting: those that have the value of the order are wanted.
    pub(super) fn counted(&self, indexes: &[DeclaredIndex]) -> Walk {
        let order = self.order.filter(|_| self.needs_values());
        let found = match self.keys() {
            Keys::Points(_) => None,
            Keys::Ranges(_) => {
                self.best(indexes, None).or_else(|| self.best(indexes, Some(order?)))
            }
        };
        let walk = found.and_then(|found| self.by_index(found.index, found.ranges, false, None));
        walk.unwrap_or_else(|| self.by_keys(None))
    }

    fn sorted(&self, indexes: &[DeclaredIndex]) -> Plan {
        let Plan { walk, by_index, .. } = self.unordered(indexes);
        Plan { sort: walk, by_index, walk: None }
    }

    fn keys(&self) -> Keys {
        keys(self.entity_type, self.filter, self.now)
    }

    fn by_keys(&self, after: Option<&Place>) -> Walk {
        let after = match after {
            Some(Place::Key(key)) => Some(key),
            _ => None,
        };
        let descending = self.is_descending() && !self.needs_values();
        Walk::Keys(KeyWalk::new(self.keys(), descending, after))
    }

    fn by_index(
        &self,
        index: &DeclaredIndex,
        ranges: IndexRanges,
        descending: bool,
        after: Option<&Place>,
    ) -> Option<Walk> {
        let after = match after {
            Some(Place::Index { key, id, .. }) => Some((&key[..], &id[..])),
            _ => None,
        };
        let index = (index.id, self.entity_type?);
        Some(Walk::Index(IndexWalk::new(index, ranges.ranges, descending, after)))
    }

    /// The index that leaves the fewest candidates, as far as that is known; with an order one that is in
    /// that order.
    fn best<'i>(
        &self,
        indexes: &'i [DeclaredIndex],
        order: Option<&ListOrder>,
    ) -> Option<Found<'i>> {
        self.entity_type?;
        let ready = indexes.iter().filter(|index| index.is_ready);
        let found = ready.filter_map(|index| {
            let ranges = ranges(&index.definition, self.filter, order, self.now)?;
            Some(Found { index, ranges })
        });
        // of equal ones the first
        found.reduce(
            |best, other| if other.ranges.narrowed > best.ranges.narrowed { other } else { best },
        )
    }
}

/// An index that serves.
struct Found<'i> {
    index: &'i DeclaredIndex,
    ranges: IndexRanges,
}
