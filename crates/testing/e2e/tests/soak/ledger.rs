//! What was sent and what its senders heard.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::{DEADLINE, Outcome, RECOVERY_DEADLINE, SentEvent};
use tokio::time::sleep;
use uuid::Uuid;

/// Answers of a whole run, and more.
#[derive(Default)]
pub(crate) struct Totals {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    unanswered: AtomicU64,
    pub(crate) faults: AtomicU64,
    longest_micros: AtomicU64,
    recovery_micros: AtomicU64,
}

impl Totals {
    /// How it stands.
    pub(crate) fn line(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "sent {}, acknowledged {}, refused {}, unknown {}, unanswered {}, faults {}",
            get(&self.sent),
            get(&self.acknowledged),
            get(&self.refused),
            get(&self.unknown),
            get(&self.unanswered),
            get(&self.faults)
        )
    }

    /// Of the answers to single events.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }

    /// From the end of a fault until both services had acknowledged something new.
    pub(crate) fn recovery(&self) -> Duration {
        Duration::from_micros(self.recovery_micros.load(Ordering::Relaxed))
    }

    fn count(&self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Done { .. } => &self.acknowledged,
            Outcome::Refused { .. } => &self.refused,
            Outcome::Unknown => &self.unknown,
            Outcome::NotConnected | Outcome::Silent(_) | Outcome::Unexpected(_) => &self.unanswered,
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Which service was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Rest,
    Grpc,
}

/// An event, and every answer to it.
pub(crate) struct Entry {
    pub(crate) event: SentEvent,
    pub(crate) heard: Vec<Outcome>,
}

/// Events of one call.
pub(crate) struct Call {
    /// How they were sent.
    pub(crate) way: String,
    pub(crate) events: Vec<Uuid>,
    /// All or none.
    pub(crate) atomic: bool,
}

/// What was heard since the last check.
pub(crate) struct Ledger {
    pub(crate) totals: Arc<Totals>,
    entries: Mutex<HashMap<Uuid, Entry>>,
    calls: Mutex<Vec<Call>>,
    findings: Mutex<Vec<String>>,
    acknowledged: [AtomicU64; 2],
}

impl Ledger {
    pub(crate) fn new(totals: Arc<Totals>) -> Self {
        Self {
            totals,
            entries: Mutex::default(),
            calls: Mutex::default(),
            findings: Mutex::default(),
            acknowledged: Default::default(),
        }
    }

    /// Notes an answer.
    pub(crate) fn heard(&self, side: Side, event: &SentEvent, outcome: Outcome) {
        self.totals.count(&outcome);
        if matches!(outcome, Outcome::Done { .. }) {
            self.acknowledged[side as usize].fetch_add(1, Ordering::Relaxed);
        }
        let mut entries = self.entries.lock().unwrap();
        let new = || Entry { event: event.clone(), heard: Vec::new() };
        entries.entry(event.uuid).or_insert_with(new).heard.push(outcome);
    }

    /// Notes how long the answer to a single event took.
    pub(crate) fn took(&self, took: Duration) {
        self.totals.longest_micros.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// Notes that events were sent in one call, in this order.
    pub(crate) fn called(&self, way: String, events: &[SentEvent], atomic: bool) {
        let events = events.iter().map(|event| event.uuid).collect();
        self.calls.lock().unwrap().push(Call { way, events, atomic });
    }

    /// Notes what should not be.
    pub(crate) fn find(&self, finding: String) {
        self.findings.lock().unwrap().push(finding);
    }

    /// Waits until both services acknowledge again.
    pub(crate) async fn recovered(&self, after: &str) {
        let start = Instant::now();
        for (side, count) in self.acknowledged.iter().enumerate() {
            let before = count.load(Ordering::Relaxed);
            while count.load(Ordering::Relaxed) == before {
                let waited = start.elapsed();
                assert!(waited < DEADLINE, "service {side} doesn't recover from {after}");
                sleep(Duration::from_millis(10)).await;
            }
        }
        let took = start.elapsed();
        self.totals.recovery_micros.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
        if took > RECOVERY_DEADLINE {
            self.find(format!("recovery took {took:.2?} after {after}"));
        }
    }

    /// Everything, for the judge.
    pub(crate) fn take(&self) -> (HashMap<Uuid, Entry>, Vec<Call>, Vec<String>) {
        let entries = std::mem::take(&mut *self.entries.lock().unwrap());
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        (entries, calls, std::mem::take(&mut *self.findings.lock().unwrap()))
    }
}
