//! The last changes of the log, in memory, for all readers.

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use super::change::{Change, ChangeData};
use super::item::Item;
use super::port::LogPage;
use super::types::Types;
use super::verdict::item_of;
use crate::filter::{Filter, JudgingTime};
use crate::model::{EntryKind, Timestamp};

/// Bytes of changes that are kept.
const RING_BYTES: usize = 24 << 20;
/// What a filter judges at once: with the ring unlocked, and other tasks get their turn after it.
const JUDGED_AT_ONCE: Room = Room { items: 1024, bytes: 1 << 20, at_least_one: true };

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
    pub(super) filter: Option<&'a Filter>,
    /// Passes over what was committed before this time, up to this position.
    pub(super) not_before: Option<(Timestamp, u64)>,
    /// Whether it needs the states.
    pub(super) with_data: bool,
    /// Whether they are sent.
    pub(super) sends_data: bool,
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

impl Room {
    pub(super) const UNLIMITED: Self =
        Self { items: usize::MAX, bytes: usize::MAX, at_least_one: true };
}

impl Wanted<'_> {
    /// Whether a change is wanted, apart from its position and the filter. Rows that were taken over from an
    /// older service have its times, which say nothing about when they were committed here.
    pub(super) fn includes(&self, change: &Change) -> bool {
        let is_too_old = self.not_before.is_some_and(|(time, up_to)| {
            change.position <= up_to
                && change.entry.committed < time
                && change.entry.kind != EntryKind::Adopted
        });
        !is_too_old && self.types.include(change.key.entity_type())
    }

    /// Those of `changes` that are wanted and fit. They follow on `position`.
    pub(super) fn take(&self, changes: impl Iterator<Item = Arc<Change>>, position: u64) -> Part {
        // of candidates a page has no more than fits into memory
        let room = if self.filter.is_some() { Room::UNLIMITED } else { self.room };
        self.judge(self.candidates(changes, position, room), position)
    }

    /// As [`Self::take`], apart from the filter.
    fn candidates(
        &self,
        changes: impl Iterator<Item = Arc<Change>>,
        mut position: u64,
        room: Room,
    ) -> Part {
        let mut taken = Taken::new(room);
        for change in changes.take_while(|change| change.position <= self.up_to) {
            let behind = change.position;
            if self.includes(&change) {
                let bytes = change.json_bytes();
                if !taken.add(Item::Change(change), bytes) {
                    return taken.full(position);
                }
            }
            position = behind;
        }
        Part { items: taken.items, position, is_complete: true, is_full: false }
    }

    /// What the filter leaves of candidates that follow on `position`, as much as fits.
    pub(super) fn judge(&self, candidates: Part, mut position: u64) -> Part {
        let Some(filter) = self.filter else { return candidates };
        let (mut taken, mut time) = (Taken::new(self.room), JudgingTime::default());
        for candidate in candidates.items {
            let Item::Change(change) = candidate else { continue };
            let behind = change.position;
            if let Some(item) = item_of(filter, change, &mut time) {
                let bytes = item.bytes(self.sends_data);
                if !taken.add(item, bytes) {
                    return taken.full(position);
                }
            }
            position = behind;
        }
        let Part { position, is_complete, .. } = candidates;
        Part { items: taken.items, position, is_complete, is_full: false }
    }
}

/// Items up to what there is room for.
struct Taken {
    items: Vec<Item>,
    bytes: usize,
    room: Room,
}

impl Taken {
    fn new(room: Room) -> Self {
        Self { items: Vec::new(), bytes: 0, room }
    }

    /// Adds an item of so many bytes, unless it does not fit.
    fn add(&mut self, item: Item, bytes: usize) -> bool {
        self.bytes += bytes;
        let is_full = self.items.len() >= self.room.items || self.bytes > self.room.bytes;
        if is_full && !(self.items.is_empty() && self.room.at_least_one) {
            return false;
        }
        self.items.push(item);
        true
    }

    /// What was taken up to `position`, where the next one did not fit.
    fn full(self, position: u64) -> Part {
        Part { items: self.items, position, is_complete: false, is_full: true }
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
    /// Whether there was no more.
    pub(super) is_complete: bool,
    /// Whether the next item does not fit.
    pub(super) is_full: bool,
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

    /// What follows on a reader's position, still to be [judged](Wanted::judge).
    pub(super) fn after(&self, epoch: Uuid, position: u64, wanted: &Wanted<'_>) -> Found {
        if epoch != self.epoch {
            return Found::OtherLog;
        }
        let start = if wanted.with_data { self.start.max(self.data_start) } else { self.start };
        if position < start {
            return Found::Behind;
        }
        let first = self.changes.partition_point(|change| change.position <= position);
        let room = if wanted.filter.is_some() { JUDGED_AT_ONCE } else { wanted.room };
        let changes = self.changes.range(first..).map(Arc::clone);
        let mut part = wanted.candidates(changes, position, room);
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
    use crate::filter::Scope;

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
            filter: None,
            not_before: None,
            with_data: false,
            sends_data: false,
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
    fn what_a_filter_passes_over_is_judged_in_parts() {
        let mut ring = Ring::new(EPOCH, 0, 0);
        let most = JUDGED_AT_ONCE.items as u64;
        let mut changes: Vec<_> = (1..=most + 2).map(|position| change(position, "Car")).collect();
        changes.push(change(most + 3, "Loan"));
        changes.push(change(most + 4, "Loan"));
        ring.add(page(changes));
        let types = Types::all();
        let filter = Filter::parse("type == 'Loan'", Scope::Change).expect("a filter");
        let room = Room { items: 1, ..wanted(&types).room };
        let wanted = Wanted { filter: Some(&filter), room, ..wanted(&types) };
        let judged = |position| {
            let Found::Next(candidates) = ring.after(EPOCH, position, &wanted) else {
                panic!("it is there")
            };
            let part = wanted.judge(candidates, position);
            (part.items.len(), part.position, part.is_complete, part.is_full)
        };
        assert_eq!(judged(0), (0, most, false, false), "there is more to look at");
        assert_eq!(judged(most), (1, most + 3, false, true), "the second Loan does not fit");
        assert_eq!(judged(most + 3), (1, most + 4, true, false));
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
