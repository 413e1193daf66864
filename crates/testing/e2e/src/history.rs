//! What the senders heard, and whether the service tells the same story afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::{ANSWER_DEADLINE, Outcome, Rest, SentEvent, eventually};

/// Reads in flight while a history is checked.
const READERS: usize = 16;

/// One call and its end.
#[derive(Debug, Clone)]
pub struct Record {
    /// What was sent: events whose updates each add one attribute that no other event adds.
    pub event: SentEvent,
    /// What was heard.
    pub outcome: Outcome,
    /// How long that took.
    pub took: Duration,
    /// Which sender, as numbered by [`crate::Load`].
    pub sender: usize,
}

/// All calls of a test so far.
#[derive(Debug, Default)]
pub struct History(Mutex<Vec<Record>>);

impl History {
    /// Adds a call.
    pub fn add(&self, record: Record) {
        self.0.lock().expect("no sender panics here").push(record);
    }

    /// Every call so far.
    pub fn records(&self) -> Vec<Record> {
        self.0.lock().expect("no sender panics here").clone()
    }

    /// Takes out the calls that are so.
    pub fn take(&self, is_so: impl Fn(&Record) -> bool) -> Vec<Record> {
        let mut records = self.0.lock().expect("no sender panics here");
        records.extract_if(.., |record| is_so(record)).collect()
    }

    /// How many calls are so.
    pub fn count(&self, is_so: impl Fn(&Record) -> bool) -> usize {
        let records = self.0.lock().expect("no sender panics here");
        records.iter().filter(|record| is_so(record)).count()
    }

    /// How many events are acknowledged.
    pub fn done(&self) -> usize {
        self.count(|record| matches!(record.outcome, Outcome::Done { .. }))
    }

    /// Waits until so many more calls are so.
    pub async fn more(&self, what: &str, n: usize, is_so: impl Fn(&Record) -> bool) {
        let before = self.count(&is_so);
        eventually(what, async || self.count(&is_so) >= before + n).await;
    }

    /// Waits until so many more events are acknowledged.
    pub async fn more_done(&self, n: usize) {
        let done = |record: &Record| matches!(record.outcome, Outcome::Done { .. });
        self.more("more events acknowledged", n, done).await;
    }

    /// Every call was acknowledged, each as new.
    pub fn assert_all_done(&self) {
        for record in self.records() {
            assert!(matches!(record.outcome, Outcome::Done { duplicate: false, .. }), "{record:?}");
        }
    }

    /// Every call was answered, in time and in words of the contract.
    pub fn assert_all_answered(&self) {
        for record in self.records() {
            assert!(record.took < ANSWER_DEADLINE, "late: {record:?}");
            let answered = match record.outcome {
                Outcome::Done { .. } | Outcome::Unknown => true,
                Outcome::Refused { retry_after } => retry_after,
                _ => false,
            };
            assert!(answered, "not an answer of the contract: {record:?}");
        }
    }

    /// As [`History::check`], where the log is pruned and every event is acknowledged: each took
    /// effect once.
    pub async fn check_states(&self, rest: &Rest) {
        self.assert_all_done();
        let records = self.records();
        let mut updates: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (entity_type, id, _) in records.iter().flat_map(|record| &record.event.updates) {
            *updates.entry((entity_type.clone(), id.clone())).or_default() += 1;
        }
        for ((entity_type, id), count) in updates {
            let (version, data) = rest.entity(&entity_type, &id).await;
            assert_eq!(version, count, "{entity_type} {id}");
            assert_eq!(data, expected(&records, &entity_type, &id, &data));
        }
    }

    /// What was seen, in one line: for whoever reads the test's output.
    pub fn print_figures(&self, what: &str) {
        let records = self.records();
        let count = |is: fn(&Outcome) -> bool| records.iter().filter(|r| is(&r.outcome)).count();
        let done = count(|outcome| matches!(outcome, Outcome::Done { .. }));
        let refused = count(|outcome| matches!(outcome, Outcome::Refused { .. }));
        let unknown = count(|outcome| matches!(outcome, Outcome::Unknown));
        let longest = records.iter().map(|record| record.took).max().unwrap_or_default();
        println!(
            "FIGURES {what}: {} sent, {done} acknowledged, {refused} refused (503), {unknown} \
             unknown (504), {} without an answer, longest wait {longest:.2?}",
            records.len(),
            records.len() - done - refused - unknown,
        );
    }

    /// Holds the history against what the service has now: every acknowledged event is stored, with
    /// the versions that it was told, none that was refused is, each at most once and wholly, and
    /// every entity's versions are the whole numbers from 1.
    pub async fn check(&self, rest: &Rest) {
        let records = self.records();
        let mut versions: BTreeMap<(String, String), BTreeSet<u64>> = BTreeMap::new();
        let mut stored = stream::iter(&records)
            .map(|record| async move { (record, logged_versions(rest, record).await) })
            .buffer_unordered(READERS);
        while let Some((record, logged)) = stored.next().await {
            judge(record, logged.as_deref());
            for (update, version) in record.event.updates.iter().zip(logged.unwrap_or_default()) {
                let key = (update.0.clone(), update.1.clone());
                let first = versions.entry(key).or_default().insert(version);
                assert!(first, "version {version} was given twice: {record:?}");
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

/// The versions that the log has for an event, or none where it isn't stored.
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

/// Holds one call against the log.
fn judge(record: &Record, logged: Option<&[u64]>) {
    if let Some(logged) = logged {
        assert_eq!(logged.len(), record.event.updates.len(), "stored in part: {record:?}");
    }
    match &record.outcome {
        Outcome::Done { versions, .. } => {
            assert_eq!(
                logged,
                Some(&**versions),
                "acknowledged, but not so in the log: {record:?}"
            );
        }
        Outcome::Refused { .. } | Outcome::NotConnected => {
            assert_eq!(logged, None, "refused, but stored: {record:?}");
        }
        Outcome::Unknown | Outcome::Silent(_) => {}
        Outcome::Unexpected(_) => panic!("{record:?}"),
    }
}

/// The document that the stored events make: each adds a member that only it adds, so a member is
/// there if, and only if, its event is. Events of unknown outcome are taken from `data`; that they
/// are there once is what the versions say.
fn expected(records: &[Record], entity_type: &str, entity_id: &str, data: &Value) -> Value {
    let mut document = serde_json::Map::new();
    for record in records {
        let updates = record.event.updates.iter();
        for (_, _, attributes) in updates.filter(|one| one.0 == entity_type && one.1 == entity_id) {
            let attributes = attributes.as_object().expect("attributes are an object");
            let surely = matches!(record.outcome, Outcome::Done { .. });
            let perhaps = matches!(record.outcome, Outcome::Unknown | Outcome::Silent(_));
            for (name, value) in attributes {
                if surely || (perhaps && data.get(name).is_some()) {
                    document.insert(name.clone(), value.clone());
                }
            }
        }
    }
    Value::Object(document)
}
