//! A sink's dead letters: stored, delivered again, and what waits behind them. One statement at a time.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use producer_core::feed::{ChangeAt, Feed};
use producer_core::query::ReadError;
use producer_core::store::Store;
use producer_core::worker::{
    DeadLetter, DeadLetterPlace, DeadLetterState, Lease, NewDeadLetter, Role,
};
use producer_core::{Clock, EntityKey};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::lanes::Pending;
use super::present::Entities;
use super::{DATABASE_PAUSE, update_of};
use crate::config::{Mode, OnDead, SinkConfig};
use crate::update::{Cause, Update};

/// Dead letters that are read at once to be delivered again.
const DUE: u32 = 16;

/// See the module.
pub(super) struct Letters {
    holds: bool,
    replaces: bool,
    /// The entities that have a dead letter, or a change that waits behind one.
    held: HashSet<EntityKey>,
    to_store: Vec<ToStore>,
    tasks: VecDeque<Task>,
    /// Those that are delivered again, by their ids.
    in_lanes: HashSet<u64>,
    /// Whether `held` was ever read.
    is_known: bool,
    reads_held: bool,
    reads_due: bool,
    not_before: Option<Instant>,
}

/// A dead letter that is not stored yet, and what is settled when it is.
#[derive(Clone)]
struct ToStore {
    letter: NewDeadLetter,
    numbers: SmallVec<[u64; 1]>,
}

#[derive(Clone)]
enum Task {
    /// It was delivered.
    Settle(u64),
    /// It was refused again.
    Fail(u64, NewDeadLetter),
    /// A newer state of the entity was delivered or refused.
    SettleEntity(EntityKey),
}

/// What a statement did.
pub(super) enum Done {
    /// So many of what was to be stored are, and the sink has so many dead letters.
    Stored(usize, u64),
    /// The lease is lost.
    LeaseLost,
    /// The first task is done.
    Task,
    /// The entities with dead letters.
    Held(Vec<EntityKey>),
    /// What is to be delivered again.
    Due(Vec<(DeadLetter, Again)>),
    /// To be tried again.
    Failed(ReadError),
}

/// What is delivered of a dead letter.
pub(super) enum Again {
    Update(Update),
    /// The sink is not to have it any more.
    Nothing,
    /// Its change was pruned.
    Gone,
}

/// What the statements need.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) store: Arc<dyn Store>,
    pub(super) feed: Feed,
    pub(super) entities: Entities,
    pub(super) mode: Mode,
}

impl Letters {
    pub(super) fn new(config: &SinkConfig) -> Self {
        Self {
            holds: config.mode == Mode::Log && config.on_dead == OnDead::Hold,
            replaces: config.mode == Mode::Latest,
            held: HashSet::new(),
            to_store: Vec::new(),
            tasks: VecDeque::new(),
            in_lanes: HashSet::new(),
            is_known: false,
            reads_held: true,
            reads_due: true,
            not_before: None,
        }
    }

    /// Whether it is known which entities are held: before, nothing may be delivered.
    pub(super) fn is_ready(&self) -> bool {
        self.is_known
    }

    /// Whether an entity's changes wait behind a dead letter.
    pub(super) fn holds(&self, key: &EntityKey) -> bool {
        self.holds && self.held.contains(key)
    }

    /// Whether a refused update makes the entity's later ones wait.
    pub(super) fn holds_entities(&self) -> bool {
        self.holds
    }

    /// Somebody replays or deletes dead letters.
    pub(super) fn changed(&mut self) {
        self.reads_due = true;
        self.reads_held = true;
    }

    /// An update was refused or given up.
    pub(super) fn refused(
        &mut self,
        pending: &Pending,
        detail: String,
        message: Vec<u8>,
        place: u64,
        clock: &Clock,
    ) {
        let now = clock.now();
        let letter = NewDeadLetter {
            place: place_of(&pending.update, place),
            state: DeadLetterState::Dead,
            message,
            error: detail,
            tries: pending.tries + 1,
            first_at: pending.first_at.unwrap_or(now),
            last_at: now,
        };
        let key = pending.update.key();
        if let Some(id) = pending.letter {
            self.tasks.push_back(Task::Fail(id, letter));
            return;
        }
        if self.replaces && self.held.contains(key) {
            self.tasks.push_back(Task::SettleEntity(key.clone()));
        }
        self.held.insert(key.clone());
        self.to_store.push(ToStore { letter, numbers: pending.numbers.clone() });
    }

    /// A change waits behind a dead letter of its entity.
    pub(super) fn park(&mut self, pending: &Pending, place: u64, clock: &Clock) {
        if let Some(id) = pending.letter {
            // it is stored already
            self.in_lanes.remove(&id);
            return;
        }
        let now = clock.now();
        let letter = NewDeadLetter {
            place: place_of(&pending.update, place),
            state: DeadLetterState::Waiting,
            message: Vec::new(),
            error: String::new(),
            tries: 0,
            first_at: now,
            last_at: now,
        };
        self.to_store.push(ToStore { letter, numbers: pending.numbers.clone() });
    }

    /// An update was delivered.
    pub(super) fn delivered(&mut self, pending: &Pending) {
        if let Some(id) = pending.letter {
            self.tasks.push_back(Task::Settle(id));
        } else if self.replaces && self.held.contains(pending.update.key()) {
            self.tasks.push_back(Task::SettleEntity(pending.update.key().clone()));
            self.held.remove(pending.update.key());
        }
    }

    /// Whether there is nothing to store.
    pub(super) fn is_idle(&self) -> bool {
        self.to_store.is_empty() && self.tasks.is_empty() && !self.reads_held
    }

    /// The next statement, where there is one to do.
    pub(super) fn next(&self, access: &Access, lease: &Lease) -> Option<BoxFuture<'static, Done>> {
        if self.not_before.is_some_and(|at| at > Instant::now()) {
            return None;
        }
        let (store, lease) = (Arc::clone(&access.store), lease.clone());
        if let Some(task) = self.tasks.front().cloned() {
            return Some(async move { run_task(&*store, &lease, task).await }.boxed());
        }
        if !self.to_store.is_empty() {
            let letters: Vec<_> = self.to_store.iter().map(|each| each.letter.clone()).collect();
            return Some(async move { store_letters(&*store, &lease, &letters).await }.boxed());
        }
        if self.reads_held {
            let held = async move { store.held_entities(&lease.name).await };
            return Some(held.map(|held| held.map_or_else(Done::Failed, Done::Held)).boxed());
        }
        if self.reads_due && self.in_lanes.is_empty() {
            let access = access.clone();
            let due = async move { due(&access, &lease.name).await };
            return Some(due.map(|due| due.map_or_else(Done::Failed, Done::Due)).boxed());
        }
        None
    }

    /// Takes in what a statement did; returns the numbers that are settled now.
    pub(super) fn done(&mut self, done: &Done) -> Vec<u64> {
        self.not_before = None;
        match done {
            Done::Stored(stored, _) => {
                let stored = self.to_store.drain(..*stored);
                return stored.flat_map(|each| each.numbers).collect();
            }
            Done::Task => {
                if let Some(Task::Settle(id) | Task::Fail(id, _)) = self.tasks.pop_front() {
                    self.in_lanes.remove(&id);
                    // what waited behind it may be due, or its entity free
                    self.changed();
                }
            }
            Done::Held(keys) => {
                (self.is_known, self.reads_held) = (true, false);
                let stored = keys.iter().cloned();
                let to_store = self.to_store.iter().filter_map(|each| key_of(&each.letter));
                self.held = stored.chain(to_store.cloned()).collect();
            }
            Done::Due(letters) => {
                self.reads_due = letters.len() == DUE as usize;
                for (letter, again) in letters {
                    match again {
                        Again::Update(_) => {
                            self.in_lanes.insert(letter.id);
                        }
                        Again::Nothing => self.tasks.push_back(Task::Settle(letter.id)),
                        Again::Gone => self.tasks.push_back(Task::Fail(letter.id, pruned(letter))),
                    }
                }
            }
            Done::Failed(error) => {
                tracing::debug!(%error, "dead letters can't be read or stored now");
                self.not_before = Some(Instant::now() + DATABASE_PAUSE);
            }
            Done::LeaseLost => {}
        }
        Vec::new()
    }

    /// When the next statement may be tried after a failure.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.not_before
    }
}

fn place_of(update: &Update, position: u64) -> DeadLetterPlace {
    DeadLetterPlace::Change { position, key: update.key().clone(), version: update.version() }
}

fn key_of(letter: &NewDeadLetter) -> Option<&EntityKey> {
    match &letter.place {
        DeadLetterPlace::Change { key, .. } => Some(key),
        DeadLetterPlace::Message(_) => None,
    }
}

fn pruned(letter: &DeadLetter) -> NewDeadLetter {
    let error = "the log no longer has the change; delete the dead letter".to_owned();
    NewDeadLetter { error, state: DeadLetterState::Dead, ..letter.letter.clone() }
}

async fn run_task(store: &dyn Store, lease: &Lease, task: Task) -> Done {
    let done = match &task {
        Task::Settle(id) => store.settle_dead_letter(Some(lease), *id).await,
        Task::Fail(id, letter) => store.fail_dead_letter(Some(lease), *id, letter).await,
        Task::SettleEntity(key) => store.settle_entity(lease, key).await,
    };
    done.map_or_else(Done::Failed, |()| Done::Task)
}

async fn store_letters(store: &dyn Store, lease: &Lease, letters: &[NewDeadLetter]) -> Done {
    let connector = (Role::Sink, lease.name.as_str());
    match store.add_dead_letters(connector, Some(lease), letters).await {
        Ok(Some(count)) => Done::Stored(letters.len(), count),
        Ok(None) => Done::LeaseLost,
        Err(error) => Done::Failed(error),
    }
}

async fn due(access: &Access, sink: &str) -> Result<Vec<(DeadLetter, Again)>, ReadError> {
    let letters = access.store.due_dead_letters((Role::Sink, sink), DUE).await?;
    let keys = letters.iter().filter_map(|letter| key_of(&letter.letter));
    let states = access.entities.states(keys).await?;
    let mut found = Vec::with_capacity(letters.len());
    for letter in letters {
        let again = match &letter.letter.place {
            DeadLetterPlace::Change { position, key, version } => {
                let state = states.get(key);
                again(access, (*position, key, *version), state).await?
            }
            DeadLetterPlace::Message(_) => Again::Gone,
        };
        found.push((letter, again));
    }
    Ok(found)
}

/// The change once more; of a snapshot, and in the mode `latest`, the state as it is now.
async fn again(
    access: &Access,
    (position, key, version): (u64, &EntityKey, u64),
    state: Option<&Arc<producer_core::model::Entity>>,
) -> Result<Again, ReadError> {
    let now = || match state {
        Some(entity) if access.entities.include(entity) => Again::Update(Update {
            cause: Cause::Snapshot(Arc::clone(entity)),
            state: Some(Arc::clone(entity)),
        }),
        // what removed it is delivered by itself
        _ => Again::Nothing,
    };
    if access.mode == Mode::Latest {
        return Ok(now());
    }
    match access.feed.change_at(position, access.entities.filter.as_ref()).await? {
        ChangeAt::Item(item) => match update_of(item) {
            Some((update, _)) if update.key() == key && update.version() == version => {
                Ok(Again::Update(update))
            }
            _ => Ok(now()),
        },
        ChangeAt::PassedOver => Ok(Again::Nothing),
        ChangeAt::Gone => Ok(Again::Gone),
    }
}
