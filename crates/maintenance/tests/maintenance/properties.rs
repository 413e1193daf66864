//! Whatever services do with entities, and whatever is pruned in between: the state is what a plain
//! model has, and the log explains it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use producer_core::ingest::{ApplyMode, Verdict};
use producer_core::model::NewVersion;
use producer_core::{Clock, Event, Operation, Timestamp};
use producer_maintenance::{Progress, prune};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use super::fixture::{Fixture, event};

/// 2026-01-01T00:00:00Z, in seconds.
const START: i64 = 1_767_225_600;

/// An entity's number, what is done with it, and the attributes.
type Update = (u8, Operation, Value);

/// What happens in one second.
#[derive(Debug, Clone)]
struct Step {
    /// Events, each with its updates.
    batch: Vec<Vec<Update>>,
    /// Afterwards what is older than so many seconds is pruned.
    keep: Option<i64>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![Just(Value::Null), any::<i8>().prop_map(Value::from)];
    let value = leaf.prop_recursive(2, 6, 2, |inner| {
        prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|members| json!(members))
    });
    let patch = prop::collection::btree_map("[a-c]", value, 0..3).prop_map(|m| json!(m));
    let merge = (0..3_u8, Just(Operation::Merge), patch.clone());
    let replace = (0..3_u8, Just(Operation::Replace), patch);
    let delete = (0..3_u8, Just(Operation::Delete), Just(json!({})));
    let update = prop_oneof![3 => merge, 1 => replace, 2 => delete];
    let event = prop::collection::vec(update, 1..4);
    let batch = prop::collection::vec(event, 0..5);
    let step = (batch, prop::option::weighted(0.4, 0..4_i64));
    prop::collection::vec(step.prop_map(|(batch, keep)| Step { batch, keep }), 1..12)
}

/// An entity that has a row.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    version: u64,
    /// `None` where it is deleted.
    document: Option<Value>,
    created_at: i64,
    updated_at: i64,
}

type Rows = BTreeMap<u8, Row>;

/// What the contract says of one event at `now`: `None` where it is refused.
fn apply(rows: &mut Rows, updates: &[Update], now: i64) -> Option<Vec<NewVersion>> {
    let mut after = rows.clone();
    let made = updates.iter().map(|update| apply_update(&mut after, update, now));
    let made: Option<Vec<_>> = made.collect();
    if made.is_some() {
        *rows = after;
    }
    made
}

fn apply_update(rows: &mut Rows, (id, operation, patch): &Update, now: i64) -> Option<NewVersion> {
    let new = Row { version: 0, document: None, created_at: now, updated_at: now };
    let row = rows.entry(*id).or_insert(new);
    let created = row.document.is_none();
    let mut document = match (row.document.take(), operation) {
        (None, Operation::Delete) => return None,
        (Some(document), Operation::Merge) => document,
        _ => json!({}),
    };
    merge(&mut document, patch);
    row.version += 1;
    row.updated_at = now;
    if created {
        row.created_at = now;
    }
    row.document = (*operation != Operation::Delete).then_some(document);
    Some(NewVersion { version: row.version, created })
}

/// RFC 7396, section 2, literally.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn to_event(updates: &[Update]) -> Event {
    let item = |(id, operation, patch): &Update| {
        json!({"entityType": "Car", "entityId": id.to_string(), "operation": operation.as_str(),
               "updatedAttributes": patch})
    };
    event(updates.iter().map(item).collect())
}

async fn stored(fixture: &Fixture) -> Rows {
    let row = |line: String| {
        let mut parts = line.split(' ');
        let mut next = || parts.next().expect("a part");
        let (id, version) = (next().parse().expect("an id"), next().parse().expect("a version"));
        let (deleted, data) = match next() {
            "deleted" => (true, next()),
            data => (false, data),
        };
        let data = serde_json::from_str(data).expect("JSON");
        let (created_at, updated_at) = (next().parse(), next().parse());
        assert!(!deleted || data == json!({}), "{line}");
        let document = (!deleted).then_some(data);
        let (created_at, updated_at) = (created_at.expect("a time"), updated_at.expect("a time"));
        (id, Row { version, document, created_at, updated_at })
    };
    fixture.rows().await.into_iter().map(row).collect()
}

/// The log's rows but checkpoints, as far as they were committed at `second` or later.
async fn log_since(fixture: &Fixture, second: i64) -> Vec<String> {
    let time = match fixture.is_postgres() {
        true => format!("to_timestamp({second})"),
        false => (second * 1_000_000).to_string(),
    };
    let query = format!(
        "SELECT entity_id || ' ' || version || ' ' || operation || CASE WHEN created THEN ' new '
             ELSE ' ' END || CAST(patch AS text)
         FROM event_log WHERE kind <> 2 AND committed_at >= {time} ORDER BY entity_id, version"
    );
    fixture.lines(&query).await
}

/// Prunes, and expects what the survey found, the log's other rows as they were, and the model's rows.
async fn prunes(fixture: &Fixture, rows: &mut Rows, (now, keep): (i64, i64)) {
    let (before, age) = (now - keep, Duration::from_secs(keep.unsigned_abs()));
    let database = fixture.database();
    let clock = Clock::from_fn(move || Timestamp::from_micros(now * 1_000_000));
    let kept = log_since(fixture, before).await;
    let all = log_since(fixture, 0).await.len();
    let last = "SELECT entity_id FROM event_log ORDER BY position DESC LIMIT 1";
    let last: Option<u8> = fixture.lines(last).await.first().map(|id| id.parse().expect("an id"));
    let is_removed =
        |id: u8, row: &Row| row.document.is_none() && row.updated_at < before && Some(id) != last;
    let removed = rows.iter().filter(|(id, row)| is_removed(**id, row)).count();

    let surveyed = prune::survey(&database, age, &clock, &mut |_| {}).await.expect("surveyed");
    let mut lines = Vec::new();
    let mut progress = |progress| {
        if let Progress::Line(line) = progress {
            lines.push(line);
        }
    };
    let pruned = prune::prune(&database, age, &clock, &mut progress).await.expect("pruned");
    assert_eq!((surveyed, pruned.skipped), (pruned, 0), "{lines:?}");
    assert_eq!((pruned.deleted, pruned.removed), ((all - kept.len()) as u64, removed as u64));
    rows.retain(|id, row| !is_removed(*id, row));
    assert_eq!(log_since(fixture, 0).await, kept);
    assert_eq!(stored(fixture).await, *rows);
    is_explained(fixture).await;
}

async fn is_explained(fixture: &Fixture) {
    let (summary, lines) = fixture.rebuild(false).await;
    assert_eq!((summary.differing, summary.unexplained), (0, 0), "{lines:?}");
}

async fn holds(fixture: &Fixture, steps: &[Step]) {
    let time = Arc::new(AtomicI64::new(START));
    let now = Arc::clone(&time);
    let clock =
        Clock::from_fn(move || Timestamp::from_micros(now.load(Ordering::Relaxed) * 1_000_000));
    let store = fixture.open(clock).await;
    let mut writer = store.writer();
    let mut rows = Rows::new();
    for (now, step) in (START..).zip(steps) {
        time.store(now, Ordering::Relaxed);
        let batch: Vec<Event> = step.batch.iter().map(|event| to_event(event)).collect();
        let verdicts = writer.apply(&batch, ApplyMode::Normal).await.expect("applied");
        for (event, verdict) in step.batch.iter().zip(verdicts) {
            match apply(&mut rows, event, now) {
                Some(versions) => assert_eq!(verdict, Verdict::Applied(versions)),
                None => assert!(matches!(verdict, Verdict::PreconditionFailed(..)), "{verdict:?}"),
            }
        }
        if let Some(keep) = step.keep {
            prunes(fixture, &mut rows, (now, keep)).await;
        }
    }
    drop(writer);
    store.close().await;
    assert_eq!(stored(fixture).await, rows);
    is_explained(fixture).await;
    let last = START + 100;
    prunes(fixture, &mut rows, (last, 0)).await;
    // the checkpoints alone explain the rows
    fixture.run("DELETE FROM entities").await;
    fixture.rebuild(true).await;
    assert_eq!(stored(fixture).await, rows);
}

fn cases(count: u32) -> Vec<Vec<Step>> {
    let mut runner = TestRunner::new(Config::default());
    (0..count).map(|_| steps().new_tree(&mut runner).expect("steps").current()).collect()
}

#[tokio::test]
async fn pruning_changes_no_state_on_sqlite() {
    for case in cases(40) {
        let [_, fixture] = Fixture::both_migrated().await;
        eprintln!("{case:?}"); // shown where it fails
        holds(&fixture, &case).await;
    }
}

#[tokio::test]
async fn pruning_changes_no_state_on_postgres() {
    let [fixture, _] = Fixture::both_migrated().await;
    for case in cases(20) {
        fixture.run("TRUNCATE entities, event_log").await;
        eprintln!("{case:?}");
        holds(&fixture, &case).await;
    }
}
