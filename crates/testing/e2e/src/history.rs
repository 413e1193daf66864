//! The outcomes of requests, and the check that the service has stored accordingly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::{ANSWER_DEADLINE, Outcome, Rest, SentEvent, eventually};

/// Concurrent reads of a check.
const READERS: usize = 16;

/// One request and its outcome.
#[derive(Debug, Clone)]
pub struct Record {
    /// The event; each of its updates adds one attribute that no other event adds.
    pub event: SentEvent,
    /// The outcome.
    pub outcome: Outcome,
    /// The duration.
    pub took: Duration,
    /// The number of the sender, see [`crate::Load`].
    pub sender: usize,
}

/// All requests of a test so far.
#[derive(Debug, Default)]
pub struct History(Mutex<Vec<Record>>);

impl History {
    /// Adds a request.
    pub fn add(&self, record: Record) {
        self.0.lock().expect("not poisoned").push(record);
    }

    /// Every request so far.
    pub fn records(&self) -> Vec<Record> {
        self.0.lock().expect("not poisoned").clone()
    }

    /// Removes and returns the requests that match.
    pub fn take(&self, matches: impl Fn(&Record) -> bool) -> Vec<Record> {
        let mut records = self.0.lock().expect("not poisoned");
        records.extract_if(.., |record| matches(record)).collect()
    }

    /// The number of requests that match.
    pub fn count(&self, matches: impl Fn(&Record) -> bool) -> usize {
        let records = self.0.lock().expect("not poisoned");
        records.iter().filter(|record| matches(record)).count()
    }

    /// The number of acknowledged events.
    pub fn done(&self) -> usize {
        self.count(|record| matches!(record.outcome, Outcome::Done { .. }))
    }

    /// Waits until this many more requests match.
    pub async fn more(&self, what: &str, n: usize, matches: impl Fn(&Record) -> bool) {
        let before = self.count(&matches);
        eventually(what, async || self.count(&matches) >= before + n).await;
    }

    /// Waits until this many more events are acknowledged.
    pub async fn more_done(&self, n: usize) {
        let done = |record: &Record| matches!(record.outcome, Outcome::Done { .. });
        self.more("more events acknowledged", n, done).await;
    }

    /// Asserts that every event was acknowledged as new.
    pub fn assert_all_done(&self) {
        for record in self.records() {
            assert!(matches!(record.outcome, Outcome::Done { duplicate: false, .. }), "{record:?}");
        }
    }

    /// Asserts that every request got a response of the contract in time.
    pub fn assert_all_answered(&self) {
        for record in self.records() {
            assert!(record.took < ANSWER_DEADLINE, "late: {record:?}");
            let answered = match record.outcome {
                Outcome::Done { .. } | Outcome::Unknown => true,
                Outcome::Refused { retry_after } => retry_after,
                _ => false,
            };
            assert!(answered, "not a response of the contract: {record:?}");
        }
    }

    /// Like [`History::check`], for a pruned log: every event must be acknowledged and applied once.
    pub async fn check_states(&self, rest: &Rest) {
        self.assert_all_done();
        let records = self.records();
        let mut updates: BTreeMap<(String, String), u64> = BTreeMap::new();
        for update in records.iter().flat_map(|record| &record.event.updates) {
            let key = (update.entity_type.clone(), update.entity_id.clone());
            *updates.entry(key).or_default() += 1;
        }
        for ((entity_type, id), count) in updates {
            let (version, data) = rest.entity(&entity_type, &id).await;
            assert_eq!(version, count, "{entity_type} {id}");
            assert_eq!(data, expected(&records, &entity_type, &id, &data));
        }
    }

    /// Prints the counts in one line of the test's output.
    pub fn print_summary(&self, what: &str) {
        let records = self.records();
        let count = |is: fn(&Outcome) -> bool| records.iter().filter(|r| is(&r.outcome)).count();
        let done = count(|outcome| matches!(outcome, Outcome::Done { .. }));
        let refused = count(|outcome| matches!(outcome, Outcome::Refused { .. }));
        let unknown = count(|outcome| matches!(outcome, Outcome::Unknown));
        let longest = records.iter().map(|record| record.took).max().unwrap_or_default();
        println!(
            "FIGURES {what}: {} sent, {done} acknowledged, {refused} refused (503), {unknown} \
             unknown (504), {} without a response, slowest {longest:.2?}",
            records.len(),
            records.len() - done - refused - unknown,
        );
    }

    /// Compares the history with the service's state: every acknowledged event is stored with the
    /// versions of its response, no refused one is, each is stored at most once and completely, and
    /// every entity's versions are the numbers from 1 without a gap.
    pub async fn check(&self, rest: &Rest) {
        let records = self.records();
        let mut versions: BTreeMap<(String, String), BTreeSet<u64>> = BTreeMap::new();
        let mut stored = stream::iter(&records)
            .map(|record| async move { (record, logged_versions(rest, record).await) })
            .buffer_unordered(READERS);
        while let Some((record, logged)) = stored.next().await {
            check_record(record, logged.as_deref());
            for (update, version) in record.event.updates.iter().zip(logged.unwrap_or_default()) {
                let key = (update.entity_type.clone(), update.entity_id.clone());
                let first = versions.entry(key).or_default().insert(version);
                assert!(first, "version {version} twice: {record:?}");
            }
        }
        for ((entity_type, entity_id), versions) in versions {
            let (version, data) = rest.entity(&entity_type, &entity_id).await;
            let gapless: BTreeSet<u64> = (1..=version).collect();
            assert_eq!(versions, gapless, "{entity_type} {entity_id}: versions in the log");
            assert_eq!(data, expected(&records, &entity_type, &entity_id, &data));
        }
    }
}

/// The versions of an event in the log; `None` if it isn't stored.
async fn logged_versions(rest: &Rest, record: &Record) -> Option<Vec<u64>> {
    let (status, answer) = rest.get(&format!("/api/v1/events/{}", record.event.uuid)).await;
    match status {
        200 => {
            let entities = answer["eventBody"]["entities"].as_array().expect("entities");
            Some(entities.iter().filter_map(|entity| entity["version"].as_u64()).collect())
        }
        404 => None,
        _ => panic!("{status} {answer}"),
    }
}

/// Compares one request with the log.
fn check_record(record: &Record, logged: Option<&[u64]>) {
    if let Some(logged) = logged {
        assert_eq!(logged.len(), record.event.updates.len(), "stored partially: {record:?}");
    }
    match &record.outcome {
        Outcome::Done { versions, .. } => {
            assert_eq!(
                logged,
                Some(&**versions),
                "acknowledged, but different in the log: {record:?}"
            );
        }
        Outcome::Refused { .. } | Outcome::PreconditionFailed | Outcome::NotConnected => {
            assert_eq!(logged, None, "refused, but stored: {record:?}");
        }
        Outcome::Unknown | Outcome::NoResponse(_) => {}
        Outcome::Unexpected(_) => panic!("{record:?}"),
    }
}

/// The document that the stored events produce: each adds its own member, so a member exists if and
/// only if its event is stored. Members of events of unknown outcome are taken from `data`; that
/// they are applied once follows from the versions.
fn expected(records: &[Record], entity_type: &str, entity_id: &str, data: &Value) -> Value {
    let mut document = serde_json::Map::new();
    for record in records {
        let updates = record.event.updates.iter();
        for update in
            updates.filter(|it| it.entity_type == entity_type && it.entity_id == entity_id)
        {
            let attributes = update.attributes.as_object().expect("attributes are an object");
            let stored = matches!(record.outcome, Outcome::Done { .. });
            let unknown = matches!(record.outcome, Outcome::Unknown | Outcome::NoResponse(_));
            for (name, value) in attributes {
                if stored || (unknown && data.get(name).is_some()) {
                    document.insert(name.clone(), value.clone());
                }
            }
        }
    }
    Value::Object(document)
}
