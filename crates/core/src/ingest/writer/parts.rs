//! Applies a batch as a whole, or in parts where one of its events fails the whole.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error};

use super::attempts::{Attempts, BatchError};
use crate::ingest::job::JobMeta;
use crate::ingest::port::{ApplyMode, Verdict};
use crate::model::{Event, UnavailableKind};

/// How long a batch that the database refuses is split. Each part may wait for a lock on a table.
const SPLIT_TIME: Duration = Duration::from_millis(300);

/// Panics after which an event that panics alone is given up.
pub(super) const MAX_PANICS: u32 = 2;

/// The result for one event of a batch.
pub(super) enum EventResult {
    Verdict(Verdict),
    /// The database refuses this very event.
    Refused,
    /// The writer panics on this very event, which may be stored.
    Panicked,
    /// Nothing of the last attempt is stored, the database is not available.
    Unavailable(UnavailableKind),
    /// It may be stored.
    Unknown,
}

impl EventResult {
    /// Whether another session holds one of its entities.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self, Self::Verdict(Verdict::Locked))
    }
}

/// Applies a batch and returns a result for each event. A batch that is refused, or that makes the
/// writer panic, is split until the culprit is alone. No event is applied ahead of an earlier one
/// that waits for a lock. Where refused batches are split for long (a lock on a whole table), the
/// rest counts as locked.
pub(super) async fn apply_in_parts(
    attempts: &mut Attempts,
    events: &[Event],
    jobs: &mut [JobMeta],
    mode: ApplyMode,
) -> Vec<EventResult> {
    let panic_deadline = Instant::now() + attempts.request_timeout();
    let parts = Parts {
        attempts,
        events,
        jobs,
        mode,
        ranges: std::iter::once(0..events.len()).collect(),
        results: Vec::with_capacity(events.len()),
        locked_keys: HashSet::new(),
        split_deadline: None,
        panic_deadline,
    };
    parts.apply_all().await
}

struct Parts<'a> {
    attempts: &'a mut Attempts,
    events: &'a [Event],
    jobs: &'a mut [JobMeta],
    mode: ApplyMode,
    /// What is still to be applied, the last part first.
    ranges: Vec<Range<usize>>,
    /// The outcomes of all events before that.
    results: Vec<EventResult>,
    /// The keys of the locked events.
    locked_keys: HashSet<u64>,
    split_deadline: Option<Instant>,
    panic_deadline: Instant,
}

impl Parts<'_> {
    async fn apply_all(mut self) -> Vec<EventResult> {
        let mut rest = UnavailableKind::Unreachable;
        while let Some(part) = self.ranges.pop() {
            if self.split_deadline.is_some_and(|deadline| deadline < Instant::now()) {
                self.skip_as_locked(part);
            } else if self.waits_for_locked(&part) {
                if !self.split(&part) {
                    self.skip_as_locked(part);
                }
            } else if let ControlFlow::Break(why) = self.apply(part).await {
                rest = why;
                break;
            }
        }
        self.results.resize_with(self.events.len(), || EventResult::Unavailable(rest));
        self.results
    }

    /// Breaks off where nothing more can be applied, with the reason.
    async fn apply(&mut self, part: Range<usize>) -> ControlFlow<UnavailableKind> {
        let applied = self.attempts.apply(&self.events[part.clone()], self.mode).await;
        for job in &mut self.jobs[part.clone()] {
            job.unconfirmed_attempts.extend(&applied.unconfirmed);
        }
        match applied.result {
            Ok(verdicts) => self.push_verdicts(verdicts),
            Err(BatchError::Refused(reason)) => self.split_refused(part, &reason),
            Err(BatchError::Panicked) => return self.split_panicked(part),
            Err(BatchError::Unavailable(kind)) => return ControlFlow::Break(kind),
            Err(BatchError::Unknown) => {
                self.results.extend(part.map(|_| EventResult::Unknown));
                return ControlFlow::Break(UnavailableKind::Unreachable);
            }
        }
        ControlFlow::Continue(())
    }

    fn push_verdicts(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            if verdict == Verdict::Locked
                && let Some(job) = self.jobs.get(self.results.len())
            {
                self.locked_keys.extend(job.keys());
            }
            self.results.push(EventResult::Verdict(verdict));
        }
    }

    fn skip_as_locked(&mut self, part: Range<usize>) {
        self.push_verdicts(vec![Verdict::Locked; part.len()]);
    }

    fn split_refused(&mut self, part: Range<usize>, reason: &str) {
        if self.split(&part) {
            debug!(events = part.len(), reason, "a refused batch is split");
            self.attempts.metrics().retries_split.inc();
            self.mode = ApplyMode::SkipLocked;
            self.split_deadline.get_or_insert_with(|| Instant::now() + SPLIT_TIME);
        } else {
            let uuid = self.events[part.start].uuid();
            error!(%uuid, reason, "the database refuses an event");
            self.results.push(EventResult::Refused);
        }
    }

    /// What panics alone is tried once more: the panic may have come after the commit, and may have
    /// had another cause than the event.
    fn split_panicked(&mut self, part: Range<usize>) -> ControlFlow<UnavailableKind> {
        for job in &mut self.jobs[part.clone()] {
            job.panics += 1;
        }
        if Instant::now() > self.panic_deadline {
            return ControlFlow::Break(UnavailableKind::Unreachable);
        }
        self.mode = ApplyMode::SkipLocked;
        if self.split(&part) {
            self.attempts.metrics().retries_split.inc();
        } else if self.jobs[part.start].panics < MAX_PANICS {
            self.ranges.push(part);
        } else {
            let uuid = self.events[part.start].uuid();
            error!(%uuid, "an event makes the writer panic");
            self.results.push(EventResult::Panicked);
        }
        ControlFlow::Continue(())
    }

    /// Replaces a part by its halves; false where it is a single event.
    fn split(&mut self, part: &Range<usize>) -> bool {
        if part.len() < 2 {
            return false;
        }
        let middle = part.start + part.len() / 2;
        self.ranges.extend([middle..part.end, part.start..middle]);
        true
    }

    /// Whether an event of the part shares a key with an earlier one that waits for a lock.
    fn waits_for_locked(&self, part: &Range<usize>) -> bool {
        let is_locked = |job: &JobMeta| job.keys().iter().any(|key| self.locked_keys.contains(key));
        !self.locked_keys.is_empty() && self.jobs[part.clone()].iter().any(is_locked)
    }
}
