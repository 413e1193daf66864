//! A store in memory that fails and delays on purpose.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::ingest::{ApplyError, ApplyMode, Ingest, Limits, Verdict, WriteStore, Writer};
use crate::model::{AttemptId, EntityKey, Event, NewVersion};

/// What the store does with the next batch.
pub(super) enum Behavior {
    Apply,
    Fail(ApplyError),
    /// Loses the connection; nothing is stored.
    Lose,
    /// Commits, and loses the connection before it can answer.
    CommitThenLose,
    /// Loses the connection; before the next attempt another process stores the same events.
    LoseToAnother,
    Panic,
    CommitThenPanic,
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) log: HashMap<Uuid, (Vec<NewVersion>, AttemptId)>,
    /// The last attempt.
    pub(super) attempt: i32,
    pub(super) versions: HashMap<EntityKey, u64>,
    /// Uuids in the order in which they took effect.
    pub(super) order: Vec<Uuid>,
    pub(super) batches: Vec<usize>,
    /// Batches that would have waited for a lock.
    pub(super) waiting_batches: usize,
    pub(super) behaviors: VecDeque<Behavior>,
    /// Events that the database refuses.
    pub(super) refused: HashSet<Uuid>,
    /// Events that make the writer panic.
    pub(super) panicking: HashSet<Uuid>,
    /// Writers made.
    pub(super) writers: usize,
    /// So many of the next ones can't be made: that panics.
    pub(super) panicking_writers: usize,
    pub(super) locked: HashSet<EntityKey>,
}

#[derive(Clone)]
pub(super) struct FakeStore {
    pub(super) memory: Arc<Mutex<Memory>>,
    /// A permit for each batch that may be applied.
    pub(super) gate: Arc<Semaphore>,
    pub(super) writers: usize,
}

impl FakeStore {
    pub(super) fn new() -> Self {
        Self { memory: Arc::default(), gate: Arc::new(Semaphore::new(0)), writers: 1 }
    }

    pub(super) fn open_gate(&self) {
        self.gate.add_permits(100_000);
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(super) fn behave(&self, behaviors: impl IntoIterator<Item = Behavior>) {
        self.with(|memory| memory.behaviors.extend(behaviors));
    }

    pub(super) fn start(&self, limits: Limits) -> Ingest {
        Ingest::start(Arc::new(self.clone()), limits, &Handle::current())
    }
}

impl Memory {
    fn apply(&mut self, batch: &[Event], mode: ApplyMode) -> Result<Vec<Verdict>, ApplyError> {
        self.batches.push(batch.len());
        self.waiting_batches += usize::from(mode == ApplyMode::Normal);
        if batch.iter().any(|event| self.refused.contains(&event.uuid)) {
            return Err(ApplyError::Refused("on purpose".into()));
        }
        if batch.iter().any(|event| self.panicking.contains(&event.uuid)) {
            panic!("on purpose");
        }
        let locked = |event: &Event| event.updates.iter().any(|u| self.locked.contains(&u.key));
        if mode == ApplyMode::Atomic && batch.iter().any(locked) {
            return Ok(vec![Verdict::Locked; batch.len()]);
        }
        let blocked: Vec<bool> = batch.iter().map(locked).collect();
        Ok(batch
            .iter()
            .zip(blocked)
            .map(|(event, locked)| if locked { Verdict::Locked } else { self.apply_one(event) })
            .collect())
    }

    pub(super) fn apply_one(&mut self, event: &Event) -> Verdict {
        if let Some((versions, attempt)) = self.log.get(&event.uuid) {
            return Verdict::Duplicate { versions: versions.clone(), attempt: *attempt };
        }
        let versions: Vec<NewVersion> = event
            .updates
            .iter()
            .map(|update| {
                let version = self.versions.entry(update.key.clone()).or_default();
                *version += 1;
                NewVersion { version: *version, created: *version == 1 }
            })
            .collect();
        self.log.insert(event.uuid, (versions.clone(), AttemptId(self.attempt)));
        self.order.push(event.uuid);
        Verdict::Applied(versions)
    }
}

fn lost(attempt: i32) -> ApplyError {
    ApplyError::Unknown { reason: "connection lost".into(), attempt: AttemptId(attempt) }
}

struct FakeWriter(FakeStore);

impl Writer for FakeWriter {
    fn apply<'a>(
        &'a mut self,
        batch: &'a [Event],
        mode: ApplyMode,
    ) -> BoxFuture<'a, Result<Vec<Verdict>, ApplyError>> {
        Box::pin(async move {
            self.0.gate.acquire().await.unwrap().forget();
            self.0.with(|memory| {
                memory.attempt += 1;
                let attempt = memory.attempt;
                match memory.behaviors.pop_front().unwrap_or(Behavior::Apply) {
                    Behavior::Apply => memory.apply(batch, mode),
                    Behavior::Fail(error) => Err(error),
                    Behavior::CommitThenLose => {
                        memory.apply(batch, mode)?;
                        Err(lost(attempt))
                    }
                    Behavior::Lose => Err(lost(attempt)),
                    Behavior::LoseToAnother => {
                        memory.attempt += 1;
                        memory.apply(batch, mode)?;
                        Err(lost(attempt))
                    }
                    Behavior::Panic => panic!("on purpose"),
                    Behavior::CommitThenPanic => {
                        memory.apply(batch, mode)?;
                        panic!("on purpose")
                    }
                }
            })
        })
    }
}

impl WriteStore for FakeStore {
    fn writer(&self) -> Box<dyn Writer> {
        self.with(|memory| {
            memory.writers += 1;
            if memory.panicking_writers > 0 {
                memory.panicking_writers -= 1;
                panic!("on purpose");
            }
        });
        Box::new(FakeWriter(self.clone()))
    }

    fn max_writers(&self) -> usize {
        self.writers
    }
}
