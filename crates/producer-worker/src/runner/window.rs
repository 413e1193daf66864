//! What was read of the feed and is not settled: how far the position may move.

use std::collections::VecDeque;
use std::sync::Arc;

use producer_core::feed::{Change, Token};

/// What was read and not settled, in the feed's order. An update is settled when its target has acknowledged
/// it, or when it is stored as a dead letter.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    place: Place,
    bytes: usize,
    is_settled: bool,
}

/// Where an update stands in the feed.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A change. Its token is made only where it is needed.
    Change(Arc<Change>),
    /// Of a snapshot.
    Snapshot(Token),
}

impl Place {
    /// The token that goes on behind it.
    pub(super) fn token(&self) -> Token {
        match self {
            Self::Change(change) => change.token.clone(),
            Self::Snapshot(token) => token.clone(),
        }
    }
}

impl Window {
    /// Adds what was read last; returns its number.
    pub(super) fn push(&mut self, place: Place, bytes: usize) -> u64 {
        self.bytes += bytes;
        self.slots.push_back(Slot { place, bytes, is_settled: false });
        self.first + self.slots.len() as u64 - 1
    }

    /// Notes that a number is settled.
    pub(super) fn settle(&mut self, number: u64) {
        if let Some(slot) = self.slot(number) {
            slot.is_settled = true;
        }
    }

    /// Where a number stands that is not passed yet.
    pub(super) fn place(&self, number: u64) -> Option<&Place> {
        let index = number.checked_sub(self.first)?;
        self.slots.get(usize::try_from(index).ok()?).map(|slot| &slot.place)
    }

    /// The position of the log at a number; 0 without one, and where it is passed.
    pub(super) fn position(&self, number: Option<u64>) -> u64 {
        number.and_then(|number| self.place(number)).map_or(0, |place| place.token().position())
    }

    /// Passes what is settled without a gap; returns the last place of it.
    pub(super) fn pass(&mut self) -> Option<Place> {
        let mut passed = None;
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.is_settled) {
            self.first += 1;
            self.bytes -= slot.bytes;
            passed = Some(slot.place);
        }
        passed
    }

    /// How many are not passed.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// About so many bytes they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let index = number.checked_sub(self.first)?;
        self.slots.get_mut(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn place(position: u64) -> Place {
        Place::Snapshot(Token::in_log(Uuid::nil(), position))
    }

    fn passed(window: &mut Window) -> Option<u64> {
        window.pass().map(|place| place.token().position())
    }

    #[test]
    fn only_what_is_settled_without_a_gap_is_passed() {
        let mut window = Window::default();
        let numbers: Vec<u64> = (1..=4).map(|position| window.push(place(position), 10)).collect();
        window.settle(numbers[1]);
        window.settle(numbers[2]);
        assert_eq!(passed(&mut window), None);
        assert_eq!((window.len(), window.bytes()), (4, 40));
        window.settle(numbers[0]);
        assert_eq!(passed(&mut window), Some(3));
        assert_eq!((window.len(), window.bytes()), (1, 10));
        window.settle(numbers[3]);
        window.settle(numbers[0]); // long passed
        assert_eq!(passed(&mut window), Some(4));
        assert!(window.is_empty());
    }
}
