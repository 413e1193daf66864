//! Lanes: one delivery in flight each. An entity has always the same lane, so its updates keep their order.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use producer_core::worker::{DeadLetter, NewDeadLetter};
use producer_core::{EntityKey, Timestamp};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::config::Mode;
use crate::update::Update;

/// Bytes of updates in one delivery, but for the first of them, which may be larger.
const DELIVERY_BYTES: usize = 1 << 20;

/// An update that waits for its delivery, or is in one.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) update: Update,
    /// Its numbers in the window: in the mode `latest` those of earlier changes too. None of a dead letter that
    /// is delivered again.
    pub(super) numbers: SmallVec<[u64; 1]>,
    /// The dead letter that it is.
    pub(super) letter: Option<u64>,
    /// How often its delivery failed.
    pub(super) tries: u32,
    /// When it was first sent.
    pub(super) first_at: Option<Timestamp>,
}

impl Pending {
    pub(super) fn new(update: Update, number: u64) -> Self {
        let numbers = SmallVec::from_slice(&[number]);
        Self { update, numbers, letter: None, tries: 0, first_at: None }
    }

    /// The first of its numbers in the window.
    pub(super) fn first_number(&self) -> Option<u64> {
        self.numbers.iter().copied().min()
    }

    pub(super) fn of_letter(update: Update, letter: &DeadLetter) -> Self {
        let NewDeadLetter { tries, first_at, .. } = letter.letter;
        let (letter, first_at) = (Some(letter.id), Some(first_at));
        Self { update, numbers: SmallVec::new(), letter, tries, first_at }
    }
}

/// What is in flight of a lane.
pub(super) type Batch = Arc<Vec<Pending>>;

/// A lane.
#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Pending>,
    /// In the mode `latest`: where in the queue an entity is, counted from `front`.
    places: HashMap<EntityKey, i64>,
    /// The count of the queue's first place.
    front: i64,
    in_flight: Option<Batch>,
    /// Failures in a row.
    failures: u32,
    not_before: Option<Instant>,
}

/// The lanes of a sink.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    hasher: RandomState,
    coalesces: bool,
}

impl Lanes {
    pub(super) fn new(lanes: usize, mode: Mode) -> Self {
        Self {
            lanes: (0..lanes.max(1)).map(|_| Lane::default()).collect(),
            hasher: RandomState::new(),
            coalesces: mode == Mode::Latest,
        }
    }

    fn of(&self, key: &EntityKey) -> usize {
        usize::try_from(self.hasher.hash_one(key) % self.lanes.len() as u64).unwrap_or(0)
    }

    /// Adds an update behind all others of its entity; in the mode `latest` it takes the place of one that
    /// waits.
    pub(super) fn push(&mut self, pending: Pending) {
        let index = self.of(pending.update.key());
        let coalesces = self.coalesces && pending.letter.is_none();
        let lane = &mut self.lanes[index];
        if coalesces {
            if let Some(waiting) = lane.waiting(pending.update.key()) {
                waiting.update = pending.update;
                waiting.numbers.extend(pending.numbers);
                return;
            }
            let place = lane.front + i64::try_from(lane.queue.len()).unwrap_or(i64::MAX);
            lane.places.insert(pending.update.key().clone(), place);
        }
        lane.queue.push_back(pending);
    }

    /// Puts back what was in flight and not delivered, in its order, before all that waits.
    pub(super) fn put_back(&mut self, index: usize, undelivered: Vec<Pending>) {
        let coalesces = self.coalesces;
        let lane = &mut self.lanes[index];
        for pending in undelivered.into_iter().rev() {
            if coalesces && pending.letter.is_none() {
                if let Some(newer) = lane.waiting(pending.update.key()) {
                    newer.numbers.extend(pending.numbers);
                    newer.tries = newer.tries.max(pending.tries);
                    newer.first_at = pending.first_at.or(newer.first_at);
                    continue;
                }
                lane.places.insert(pending.update.key().clone(), lane.front - 1);
            }
            lane.front -= 1;
            lane.queue.push_front(pending);
        }
    }

    /// The lanes that have something to deliver and none in flight, and are not to be left alone at this
    /// moment.
    pub(super) fn ready(&self, now: Instant) -> impl Iterator<Item = usize> {
        self.lanes.iter().enumerate().filter(move |(_, lane)| lane.is_ready(now)).map(|(i, _)| i)
    }

    /// How many updates wait in a lane.
    pub(super) fn waiting(&self, index: usize) -> usize {
        self.lanes[index].queue.len()
    }

    /// Takes the next updates of a lane, up to `most`; they are in flight then.
    pub(super) fn take(&mut self, index: usize, most: usize) -> Batch {
        let lane = &mut self.lanes[index];
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < most
            && let Some(pending) = lane.queue.pop_front_if(|pending| {
                bytes += pending.update.bytes();
                batch.is_empty() || bytes <= DELIVERY_BYTES
            })
        {
            if pending.letter.is_none() {
                lane.places.remove(pending.update.key());
            }
            lane.front += 1;
            batch.push(pending);
        }
        let batch = Arc::new(batch);
        lane.in_flight = Some(Arc::clone(&batch));
        batch
    }

    /// Nothing is in flight of a lane any more. `pause` is when it may go on after a failure.
    pub(super) fn finish(
        &mut self,
        index: usize,
        failed: bool,
        pause: impl FnOnce(u32) -> Instant,
    ) {
        let lane = &mut self.lanes[index];
        lane.in_flight = None;
        if failed {
            lane.failures = lane.failures.saturating_add(1);
            lane.not_before = Some(pause(lane.failures));
        } else {
            (lane.failures, lane.not_before) = (0, None);
        }
    }

    /// Takes all of an entity out that waits, in order.
    pub(super) fn remove(&mut self, key: &EntityKey) -> Vec<Pending> {
        let index = self.of(key);
        let lane = &mut self.lanes[index];
        let queue = std::mem::take(&mut lane.queue).into_iter();
        let (removed, kept): (Vec<_>, Vec<_>) = queue.partition(|p| p.update.key() == key);
        lane.queue = kept.into();
        if self.coalesces {
            lane.find_places();
        }
        removed
    }

    /// What failed and stands first in the feed, of all that waits or is in flight.
    pub(super) fn first_failed(&self) -> Option<&Pending> {
        let waiting = self.lanes.iter().filter_map(|lane| {
            let in_flight = lane.in_flight.iter().flat_map(|batch| batch.iter());
            in_flight
                .chain(lane.queue.front())
                .filter(|pending| pending.tries > 0)
                .min_by_key(order)
        });
        waiting.min_by_key(order)
    }

    /// Takes out what waits under this number.
    pub(super) fn remove_number(&mut self, number: u64) -> Option<Pending> {
        let has = |pending: &Pending| pending.numbers.contains(&number);
        for lane in &mut self.lanes {
            if let Some(place) = lane.queue.iter().position(has) {
                let pending = lane.queue.remove(place);
                if self.coalesces {
                    lane.find_places();
                }
                return pending;
            }
        }
        None
    }

    /// Takes out what waits and was first sent at such a time.
    pub(super) fn take_waiting(&mut self, is_meant: impl Fn(Timestamp) -> bool) -> Vec<Pending> {
        let is_meant = |pending: &Pending| pending.first_at.is_some_and(&is_meant);
        let mut taken = Vec::new();
        for lane in &mut self.lanes {
            if lane.queue.iter().any(is_meant) {
                let queue = std::mem::take(&mut lane.queue).into_iter();
                let (meant, kept): (Vec<_>, Vec<_>) = queue.partition(is_meant);
                lane.queue = kept.into();
                taken.extend(meant);
                if self.coalesces {
                    lane.find_places();
                }
            }
        }
        taken
    }

    /// When the next lane may go on that waits after a failure.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let waiting = self.lanes.iter().filter(|lane| lane.has_work());
        waiting.filter_map(|lane| lane.not_before).min()
    }

    /// Whether a lane has failed and not delivered since.
    pub(super) fn is_retrying(&self) -> bool {
        self.lanes.iter().any(|lane| lane.failures > 0)
    }

    /// Whether nothing waits or is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.queue.is_empty() && lane.in_flight.is_none())
    }
}

fn order(pending: &&Pending) -> u64 {
    pending.first_number().unwrap_or(u64::MAX)
}

impl Lane {
    fn has_work(&self) -> bool {
        !self.queue.is_empty() && self.in_flight.is_none()
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.has_work() && self.not_before.is_none_or(|at| at <= now)
    }

    fn find_places(&mut self) {
        let waiting = self.queue.iter().zip(self.front..).filter(|(p, _)| p.letter.is_none());
        self.places = waiting.map(|(p, place)| (p.update.key().clone(), place)).collect();
    }

    /// What waits of an entity, in the mode `latest`.
    fn waiting(&mut self, key: &EntityKey) -> Option<&mut Pending> {
        let place = *self.places.get(key)?;
        self.queue.get_mut(usize::try_from(place - self.front).ok()?)
    }
}
