//! The last changes of the log, in memory, for all readers.

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use super::change::{Change, ChangeData};
use super::item::Item;
use super::port::LogPage;
use super::types::Types;
use crate::model::{EntryKind, Timestamp};

/// Bytes of changes that are kept.
const RING_BYTES: usize = 24 << 20;
/// Changes that are kept.
const RING_CHANGES: usize = 32_768;

/// The end of the log: every change behind `start`, up to `end`.
#[derive(Debug)]
pub(super) struct Ring {
    epoch: Uuid,
    /// [`LogHead::generation`](super::port::LogHead) of what was read last.
    generation: u64,
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    /// Changes up to here are no longer kept.
    start: u64,
    /// Behind this position changes have their states.
    data_start: u64,
    /// All up to this position is committed, or never will be, and is kept as far as it is behind `start`.
    end: u64,
    /// The last row that was committed up to `end`: where tokens can point to.
    last: u64,
}

/// Where a reader is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// It has seen all up to this position.
    pub(super) seen: u64,
    /// The last committed row up to there: what its token holds.
    pub(super) token: u64,
}

impl Place {
    /// Back at the committed row.
    pub(super) const fn rewound(self) -> Self {
        Self::at(self.token)
    }

    /// At a committed row, or at the beginning of what is kept.
    pub(super) const fn at(position: u64) -> Self {
        Self { seen: position, token: position }
    }
}

/// What a reader wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) types: &'a Types,
    /// Passes over what was committed before this time, up to this position.
    pub(super) not_before: Option<(Timestamp, u64)>,
    pub(super) with_data: bool,
    /// Nothing behind this position.
    pub(super) up_to: u64,
    /// So many at most.
    pub(super) items: usize,
    /// About so many bytes at most, but for the first one.
    pub(super) bytes: usize,
}

impl Wanted<'_> {
    /// Whether a change is wanted, apart from its position. Rows that were taken over from an older service
    /// have its times, which say nothing about when they were committed here.
    pub(super) fn includes(&self, change: &Change) -> bool {
        let is_too_old = self.not_before.is_some_and(|(time, up_to)| {
            change.position <= up_to
                && change.entry.committed < time
                && change.entry.kind != EntryKind::Adopted
        });
        !is_too_old && self.types.include(change.key.entity_type())
    }

    /// Those of `changes` that are wanted and fit, from `place` to `end`, and where the reader is then.
    pub(super) fn take(
        &self,
        changes: impl Iterator<Item = Arc<Change>>,
        mut place: Place,
        mut end: Place,
    ) -> (Vec<Item>, Place) {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for change in changes {
            let position = change.position;
            if position > self.up_to {
                // what is behind it is no row that a token may hold
                end.token = place.token;
                break;
            }
            if self.includes(&change) {
                bytes += change.bytes() / 2;
                if !items.is_empty() && (items.len() >= self.items || bytes > self.bytes) {
                    return (items, place);
                }
                items.push(Item::Change(change));
            }
            place = Place::at(position);
        }
        (items, Place { seen: end.seen, token: end.token.max(place.token) })
    }
}

/// What the ring has for a reader.
#[derive(Debug)]
pub(super) enum Found {
    /// The reader is further behind.
    Behind,
    /// The reader has another log's position.
    OtherLog,
    /// What follows, maybe nothing, and where the reader is then.
    Next(Vec<Item>, Place),
}

impl Ring {
    /// A ring that begins at `end`.
    pub(super) fn new(epoch: Uuid, generation: u64, end: u64, last: u64) -> Self {
        Self {
            epoch,
            generation,
            changes: VecDeque::new(),
            bytes: 0,
            start: end,
            data_start: end,
            end,
            last,
        }
    }

    pub(super) fn epoch(&self) -> Uuid {
        self.epoch
    }

    /// All up to here is committed, or never will be.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The last committed row up to the end: positions behind it may be drawn again after a crash.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Goes back to the last committed row, since positions behind it may be drawn again.
    pub(super) fn rewind(&mut self, generation: u64) {
        self.generation = generation;
        self.end = self.last;
        self.start = self.start.min(self.last);
        self.data_start = self.data_start.min(self.last);
    }

    /// Up to where the log was read.
    pub(super) fn place(&self) -> Place {
        Place { seen: self.end, token: self.last }
    }

    /// Adds a page that begins at the end and reaches up to `end`.
    pub(super) fn add(&mut self, page: LogPage, end: u64) {
        for change in page.changes {
            if matches!(change.data, ChangeData::NotRead) {
                self.data_start = change.position;
            }
            self.bytes += change.bytes();
            self.changes.push_back(Arc::new(change));
        }
        self.last = page.last.unwrap_or(self.last);
        self.end = end;
        while self.bytes > RING_BYTES || self.changes.len() > RING_CHANGES {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.start = oldest.position;
        }
    }

    /// What follows on a reader's place.
    pub(super) fn after(&self, epoch: Uuid, place: Place, wanted: &Wanted<'_>) -> Found {
        if epoch != self.epoch {
            return Found::OtherLog;
        }
        let start = if wanted.with_data { self.start.max(self.data_start) } else { self.start };
        if place.seen < start {
            return Found::Behind;
        }
        let first = self.changes.partition_point(|change| change.position <= place.seen);
        // a reader may be ahead of what is known to be committed
        let seen = place.seen.max(self.end.min(wanted.up_to));
        let last = if self.last <= seen { self.last } else { 0 };
        let end = Place { seen, token: place.token.max(last) };
        let (items, place) = wanted.take(self.changes.range(first..).map(Arc::clone), place, end);
        Found::Next(items, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::token::Token;
    use crate::model::{EntityKey, EntryKind, LogEntry, Operation, Timestamp};

    const EPOCH: Uuid = Uuid::from_u128(1);

    fn change(position: u64, entity_type: &str) -> Change {
        let entry = LogEntry {
            kind: EntryKind::Event,
            uuid: Uuid::from_u128(u128::from(position)),
            ordinal: 0,
            version: 1,
            operation: Operation::Merge,
            created: true,
            event_name: "Made".into(),
            event_type: None,
            source: None,
            actor: None,
            created_date: None,
            committed: Timestamp::from_micros(0),
            patch: "{}".into(),
        };
        let token = Token::in_log(EPOCH, position);
        Change::new(token, position, EntityKey::new_unchecked(entity_type, "1"), entry)
    }

    fn page(changes: Vec<Change>) -> LogPage {
        let last = changes.last().map(|change| change.position);
        LogPage { epoch: EPOCH, floor: 0, changes, last, is_last: true }
    }

    fn wanted(types: &Types) -> Wanted<'_> {
        Wanted {
            types,
            not_before: None,
            with_data: false,
            up_to: u64::MAX,
            items: 100,
            bytes: 1 << 20,
        }
    }

    fn positions(found: &Found) -> (Vec<u64>, Place) {
        let Found::Next(items, place) = found else { panic!("{found:?}") };
        let positions = items.iter().filter_map(|item| item.token().map(Token::position));
        (positions.collect(), *place)
    }

    fn place(seen: u64) -> Place {
        Place::at(seen)
    }

    #[test]
    fn a_reader_gets_what_follows_and_moves_over_what_it_does_not_want() {
        let mut ring = Ring::new(EPOCH, 0, 10, 9);
        let (all, cars) = (Types::all(), Types::new(vec!["Car".into()]).expect("a type"));
        assert_eq!(positions(&ring.after(EPOCH, place(10), &wanted(&all))), (vec![], place(10)));
        ring.add(page(vec![change(11, "Car"), change(12, "Loan"), change(14, "Loan")]), 15);
        let end = Place { seen: 15, token: 14 };
        assert_eq!(
            positions(&ring.after(EPOCH, place(10), &wanted(&all))),
            (vec![11, 12, 14], end)
        );
        assert_eq!(positions(&ring.after(EPOCH, place(10), &wanted(&cars))), (vec![11], end));
        assert_eq!(positions(&ring.after(EPOCH, place(12), &wanted(&all))), (vec![14], end));
        let two = Wanted { items: 2, ..wanted(&all) };
        assert_eq!(positions(&ring.after(EPOCH, place(10), &two)), (vec![11, 12], place(12)));
        let until = Wanted { up_to: 13, ..wanted(&all) };
        let there = Place { seen: 13, token: 12 };
        assert_eq!(positions(&ring.after(EPOCH, place(10), &until)), (vec![11, 12], there));
        assert_eq!(positions(&ring.after(EPOCH, place(20), &wanted(&all))), (vec![], place(20)));
    }

    #[test]
    fn a_reader_that_is_behind_or_of_another_log_is_told() {
        let mut ring = Ring::new(EPOCH, 0, 10, 10);
        ring.add(page(vec![change(11, "Car")]), 11);
        let types = Types::all();
        assert!(matches!(ring.after(EPOCH, place(9), &wanted(&types)), Found::Behind));
        assert!(matches!(ring.after(Uuid::nil(), place(11), &wanted(&types)), Found::OtherLog));
        let data = Wanted { with_data: true, ..wanted(&types) };
        assert!(
            matches!(ring.after(EPOCH, place(10), &data), Found::Behind),
            "read without states"
        );
        assert!(matches!(ring.after(EPOCH, place(11), &data), Found::Next(..)));
    }

    #[test]
    fn the_oldest_changes_make_room() {
        let mut ring = Ring::new(EPOCH, 0, 0, 0);
        for position in 1..=RING_CHANGES as u64 + 5 {
            ring.add(page(vec![change(position, "Car")]), position);
        }
        let types = Types::all();
        assert!(matches!(ring.after(EPOCH, place(4), &wanted(&types)), Found::Behind));
        let first = positions(&ring.after(EPOCH, place(5), &wanted(&types)));
        assert_eq!(first.0.first(), Some(&6));
    }
}
