//! The events that were sent, and their outcomes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use producer_e2e::{DEADLINE, Outcome, RECOVERY_DEADLINE, SentEvent};
use tokio::time::sleep;
use uuid::Uuid;

/// Counts and maxima of a whole run.
#[derive(Default)]
pub(crate) struct Totals {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    precondition_failed: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    no_response: AtomicU64,
    pub(crate) faults: AtomicU64,
    slowest_micros: AtomicU64,
    recovery_micros: AtomicU64,
}

impl Totals {
    /// The counts in one line.
    pub(crate) fn summary(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "sent {}, acknowledged {}, precondition failed {}, refused {}, unknown {}, \
             no response {}, faults {}",
            get(&self.sent),
            get(&self.acknowledged),
            get(&self.precondition_failed),
            get(&self.refused),
            get(&self.unknown),
            get(&self.no_response),
            get(&self.faults)
        )
    }

    /// Of single events.
    pub(crate) fn slowest_response(&self) -> Duration {
        Duration::from_micros(self.slowest_micros.load(Ordering::Relaxed))
    }

    /// From the end of a fault until both services acknowledged an event again.
    pub(crate) fn slowest_recovery(&self) -> Duration {
        Duration::from_micros(self.recovery_micros.load(Ordering::Relaxed))
    }

    fn count(&self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Done { .. } => &self.acknowledged,
            Outcome::PreconditionFailed => &self.precondition_failed,
            Outcome::Refused { .. } => &self.refused,
            Outcome::Unknown => &self.unknown,
            Outcome::NotConnected | Outcome::NoResponse(_) | Outcome::Unexpected(_) => {
                &self.no_response
            }
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// One of the two APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiKind {
    Rest,
    Grpc,
}

/// An event and the outcomes of its requests.
pub(crate) struct Entry {
    pub(crate) event: SentEvent,
    pub(crate) outcomes: Vec<Outcome>,
}

/// The events of one request.
pub(crate) struct Call {
    /// How they were sent.
    pub(crate) method: String,
    pub(crate) events: Vec<Uuid>,
    /// All or none.
    pub(crate) atomic: bool,
}

/// The events since the last check.
pub(crate) struct OutcomeLog {
    pub(crate) totals: Arc<Totals>,
    entries: Mutex<HashMap<Uuid, Entry>>,
    calls: Mutex<Vec<Call>>,
    problems: Mutex<Vec<String>>,
    acknowledged: [AtomicU64; 2],
}

impl OutcomeLog {
    pub(crate) fn new(totals: Arc<Totals>) -> Self {
        Self {
            totals,
            entries: Mutex::default(),
            calls: Mutex::default(),
            problems: Mutex::default(),
            acknowledged: Default::default(),
        }
    }

    /// Records the outcome of a request.
    pub(crate) fn add(&self, api: ApiKind, event: &SentEvent, outcome: Outcome) {
        self.totals.count(&outcome);
        if matches!(outcome, Outcome::Done { .. }) {
            self.acknowledged[api as usize].fetch_add(1, Ordering::Relaxed);
        }
        let mut entries = self.entries.lock().unwrap();
        let new = || Entry { event: event.clone(), outcomes: Vec::new() };
        entries.entry(event.uuid).or_insert_with(new).outcomes.push(outcome);
    }

    /// Records the response time of a single event.
    pub(crate) fn add_response_time(&self, took: Duration) {
        self.totals.slowest_micros.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// Records that events are sent in one request, in this order.
    pub(crate) fn add_call(&self, method: String, events: &[SentEvent], atomic: bool) {
        let events = events.iter().map(|event| event.uuid).collect();
        self.calls.lock().unwrap().push(Call { method, events, atomic });
    }

    /// Records a problem.
    pub(crate) fn add_problem(&self, problem: String) {
        self.problems.lock().unwrap().push(problem);
    }

    /// Waits until both services acknowledge an event again.
    pub(crate) async fn wait_for_recovery(&self, after: &str) {
        let start = Instant::now();
        for (api, count) in self.acknowledged.iter().enumerate() {
            let before = count.load(Ordering::Relaxed);
            while count.load(Ordering::Relaxed) == before {
                let waited = start.elapsed();
                assert!(waited < DEADLINE, "service {api} doesn't recover from {after}");
                sleep(Duration::from_millis(10)).await;
            }
        }
        let took = start.elapsed();
        self.totals.recovery_micros.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
        if took > RECOVERY_DEADLINE {
            self.add_problem(format!("recovery took {took:.2?} after {after}"));
        }
    }

    /// Takes everything out, for the check.
    pub(crate) fn take(&self) -> (HashMap<Uuid, Entry>, Vec<Call>, Vec<String>) {
        let entries = std::mem::take(&mut *self.entries.lock().unwrap());
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        (entries, calls, std::mem::take(&mut *self.problems.lock().unwrap()))
    }
}
