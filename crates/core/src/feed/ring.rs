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

/// The end of the log: every change behind `start`, up to `last`.
///
/// All positions here are those of rows that were committed, never just of positions that were drawn: what
/// was drawn and not flushed is drawn again after a crash of the server.
#[derive(Debug)]
pub(super) struct Ring {
    epoch: Uuid,
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    /// Changes up to here are no longer kept.
    start: u64,
    /// Behind this position changes have their states.
    data_start: u64,
    /// The last row that was read.
    last: u64,
    /// What was drawn up to here was committed, or never will be, when the ring was read.
    decided: u64,
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
    pub(super) room: Room,
}

/// How much is read at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) items: usize,
    /// About so many bytes.
    pub(super) bytes: usize,
    /// The first item may be larger.
    pub(super) at_least_one: bool,
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

    /// Those of `changes` that are wanted and fit. They follow on `position`.
    pub(super) fn take(
        &self,
        changes: impl Iterator<Item = Arc<Change>>,
        mut position: u64,
    ) -> Part {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for change in changes.take_while(|change| change.position <= self.up_to) {
            let behind = change.position;
            if self.includes(&change) {
                bytes += change.json_bytes();
                let is_full = items.len() >= self.room.items || bytes > self.room.bytes;
                if is_full && !(items.is_empty() && self.room.at_least_one) {
                    return Part { items, position, is_complete: false };
                }
                items.push(Item::Change(change));
            }
            position = behind;
        }
        Part { items, position, is_complete: true }
    }
}

/// What the ring has for a reader.
#[derive(Debug)]
pub(super) enum Found {
    /// The reader is further behind.
    Behind,
    /// The reader has another log's position.
    OtherLog,
    /// What follows.
    Next(Part),
}

/// A part of the log.
#[derive(Debug)]
pub(super) struct Part {
    /// The changes that are wanted, maybe none.
    pub(super) items: Vec<Item>,
    /// Where the reader is then.
    pub(super) position: u64,
    /// Whether there was no more than fits.
    pub(super) is_complete: bool,
}

impl Ring {
    /// A ring that begins behind the row `last`, up to which and to `decided` nothing follows.
    pub(super) fn new(epoch: Uuid, last: u64, decided: u64) -> Self {
        Self {
            epoch,
            changes: VecDeque::new(),
            bytes: 0,
            start: last,
            data_start: last,
            last,
            decided,
        }
    }

    pub(super) fn epoch(&self) -> Uuid {
        self.epoch
    }

    /// The last row that was read.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether all that was drawn up to a position is read, as far as it was committed.
    pub(super) fn has_decided(&self, position: u64) -> bool {
        self.decided >= position
    }

    /// Adds a page that begins behind the last row.
    pub(super) fn add(&mut self, page: LogPage) {
        for change in page.changes {
            if matches!(change.data, ChangeData::NotRead) {
                self.data_start = change.position;
            }
            self.bytes += change.bytes();
            self.changes.push_back(Arc::new(change));
        }
        self.last = page.last.unwrap_or(self.last);
        while self.bytes > RING_BYTES {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.start = oldest.position;
        }
    }

    /// Notes that the ring has all that was drawn up to a position; returns whether that is news.
    pub(super) fn decide(&mut self, drawn: u64) -> bool {
        let is_news = self.decided != drawn;
        self.decided = drawn;
        is_news
    }

    /// What follows on a reader's position.
    pub(super) fn after(&self, epoch: Uuid, position: u64, wanted: &Wanted<'_>) -> Found {
        if epoch != self.epoch {
            return Found::OtherLog;
        }
        let start = if wanted.with_data { self.start.max(self.data_start) } else { self.start };
        if position < start {
            return Found::Behind;
        }
        let first = self.changes.partition_point(|change| change.position <= position);
        let mut part = wanted.take(self.changes.range(first..).map(Arc::clone), position);
        if part.is_complete && self.last <= wanted.up_to {
            // rows that are no changes may follow on the last change
            part.position = part.position.max(self.last);
        }
        Found::Next(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::token::Token;

    const EPOCH: Uuid = Uuid::from_u128(1);

    fn change(position: u64, entity_type: &str) -> Change {
        Change::of_test(EPOCH, position, entity_type, "{}")
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
            room: Room { items: 100, bytes: 1 << 20, at_least_one: true },
        }
    }

    /// The positions of what follows, and where the reader is then.
    fn positions(found: &Found) -> (Vec<u64>, u64) {
        let Found::Next(part) = found else { panic!("{found:?}") };
        let positions = part.items.iter().filter_map(|item| item.token().map(Token::position));
        (positions.collect(), part.position)
    }

    #[test]
    fn a_reader_gets_what_follows_and_passes_over_what_it_does_not_want() {
        let mut ring = Ring::new(EPOCH, 9, 10);
        let (all, cars) = (Types::all(), Types::new(vec!["Car".into()]).expect("a type"));
        assert_eq!(positions(&ring.after(EPOCH, 9, &wanted(&all))), (vec![], 9));
        ring.add(page(vec![change(11, "Car"), change(12, "Loan"), change(14, "Loan")]));
        assert_eq!(positions(&ring.after(EPOCH, 9, &wanted(&all))), (vec![11, 12, 14], 14));
        assert_eq!(positions(&ring.after(EPOCH, 9, &wanted(&cars))), (vec![11], 14));
        assert_eq!(positions(&ring.after(EPOCH, 12, &wanted(&all))), (vec![14], 14));
        let two = Wanted { room: Room { items: 2, ..wanted(&all).room }, ..wanted(&all) };
        assert_eq!(positions(&ring.after(EPOCH, 9, &two)), (vec![11, 12], 12));
        let until = Wanted { up_to: 13, ..wanted(&all) };
        assert_eq!(positions(&ring.after(EPOCH, 9, &until)), (vec![11, 12], 12));
        assert_eq!(positions(&ring.after(EPOCH, 20, &wanted(&all))), (vec![], 20));
    }

    #[test]
    fn rows_that_are_no_changes_are_passed_over() {
        let mut ring = Ring::new(EPOCH, 9, 9);
        ring.add(LogPage { last: Some(12), ..page(vec![change(11, "Car")]) });
        assert_eq!(positions(&ring.after(EPOCH, 9, &wanted(&Types::all()))), (vec![11], 12));
    }

    #[test]
    fn a_reader_that_is_behind_or_of_another_log_is_told() {
        let mut ring = Ring::new(EPOCH, 10, 10);
        ring.add(page(vec![change(11, "Car")]));
        let types = Types::all();
        assert!(matches!(ring.after(EPOCH, 9, &wanted(&types)), Found::Behind));
        assert!(matches!(ring.after(Uuid::nil(), 11, &wanted(&types)), Found::OtherLog));
        let data = Wanted { with_data: true, ..wanted(&types) };
        assert!(matches!(ring.after(EPOCH, 10, &data), Found::Behind), "read without states");
        assert!(matches!(ring.after(EPOCH, 11, &data), Found::Next(_)));
    }

    #[test]
    fn the_oldest_changes_make_room() {
        let mut ring = Ring::new(EPOCH, 0, 0);
        let most = RING_BYTES / change(1, "Car").bytes();
        for position in 1..=most as u64 + 5 {
            ring.add(page(vec![change(position, "Car")]));
        }
        let types = Types::all();
        assert!(matches!(ring.after(EPOCH, 4, &wanted(&types)), Found::Behind));
        let first = positions(&ring.after(EPOCH, 5, &wanted(&types)));
        assert_eq!(first.0.first(), Some(&6));
    }
}
