//! Whatever batches come, and whatever is pruned between them: the state is the fold of the log, and
//! both are what applying the events one by one to a plain model gives.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use producer_core::ingest::{ApplyMode, Verdict};
use producer_core::model::{AttemptId, LoggedUpdate};
use producer_core::store::DatabaseUrl;
use producer_core::{Clock, Event, Timestamp};
use producer_maintenance::{Database, Progress, prune, rebuild};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use support::{Db, START, applied, default, duplicate, event, new_version};

/// RFC 7396, section 2, literally.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let members = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key).or_insert(Value::Null), value);
        }
    }
}

type Update = (u8, Value);
/// A uuid's number and what the event does.
type Sketch = (u8, Vec<Update>);

fn patch() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i16>().prop_map(Value::from),
        "[a-zé\"\\\\ ]{0,4}".prop_map(Value::from),
        Just(json!([1, {"in": null}])),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|m| json!(m))
    });
    let flat = prop::collection::btree_map("[a-c]", any::<i8>(), 0..3).prop_map(|m| json!(m));
    let deep = prop::collection::btree_map("[a-c]", value, 0..3).prop_map(|m| json!(m));
    prop_oneof![3 => flat, 2 => deep]
}

/// What happens in one second.
#[derive(Debug, Clone)]
struct Step {
    skip_locked: bool,
    batch: Vec<Sketch>,
    /// Afterwards what is older than so many seconds is pruned.
    keep: Option<u64>,
}

/// Batches over three cars; uuids are few, so that some come again with the same or other content.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let update = (0..3_u8, patch());
    let sketch = (any::<u8>(), prop::collection::vec(update, 1..4));
    let batch = prop::collection::vec(sketch, 1..8);
    let step = (any::<bool>(), batch, prop::option::weighted(0.3, 0..4_u64));
    let step = step.prop_map(|(skip_locked, batch, keep)| Step { skip_locked, batch, keep });
    prop::collection::vec(step, 1..6)
}

fn to_event((n, updates): &Sketch) -> Event {
    let texts: Vec<_> = updates.iter().map(|(id, p)| (format!("car{id}"), p.to_string())).collect();
    let updates: Vec<_> = texts.iter().map(|(id, p)| ("Car", id.as_str(), p.as_str())).collect();
    event(u128::from(*n), &updates)
}

/// What the contract says, over plain values.
#[derive(Default)]
struct Model {
    entities: BTreeMap<u8, (u64, Value)>,
    log: BTreeMap<u8, Logged>,
    /// The second of the batch.
    now: u64,
}

struct Logged {
    updates: Vec<Update>,
    versions: Vec<u64>,
    at: u64,
}

impl Model {
    fn apply(&mut self, (n, updates): &Sketch) -> Verdict {
        match self.log.get(n) {
            Some(first) if first.updates == *updates => duplicate_of(first.versions.clone()),
            Some(_) => Verdict::Conflict,
            None => {
                let versions: Vec<u64> =
                    updates.iter().map(|(id, patch)| self.update(*id, patch)).collect();
                let (updates, at) = (updates.clone(), self.now);
                self.log.insert(*n, Logged { updates, versions: versions.clone(), at });
                applied(versions)
            }
        }
    }

    fn update(&mut self, id: u8, patch: &Value) -> u64 {
        let (version, state) = self.entities.entry(id).or_insert_with(|| (0, json!({})));
        merge(state, patch);
        *version += 1;
        *version
    }
}

fn duplicate_of(versions: Vec<u64>) -> Verdict {
    let versions = versions.into_iter().map(new_version).collect();
    Verdict::Duplicate { versions, attempt: AttemptId(0) }
}

/// The model knows no attempts.
fn without_attempt(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Duplicate { .. } => duplicate_of(duplicate(&verdict)),
        other => other,
    }
}

async fn holds(db: &Db, steps: &[Step]) {
    let mut model = Model::default();
    let time = Arc::new(AtomicI64::new(START));
    let clock = Arc::clone(&time);
    let clock = Clock::from_fn(move || Timestamp::from_micros(clock.load(Ordering::Relaxed)));
    let store = support::open(&db.settings, clock).await;
    let mut writer = store.writer();
    for (second, step) in (0..).zip(steps) {
        model.now = second;
        let now = START + i64::try_from(second).unwrap() * 1_000_000;
        time.store(now, Ordering::Relaxed);
        let events: Vec<Event> = step.batch.iter().map(to_event).collect();
        let expected: Vec<Verdict> = step.batch.iter().map(|sketch| model.apply(sketch)).collect();
        let mode = if step.skip_locked { ApplyMode::SkipLocked } else { ApplyMode::Normal };
        let verdicts = writer.apply(&events, mode).await.unwrap().into_iter().map(without_attempt);
        assert_eq!(verdicts.collect::<Vec<_>>(), expected);
        if let Some(keep) = step.keep {
            prune_but(db, keep, now).await;
            model.log.retain(|_, logged| logged.at + keep >= second);
        }
    }
    drop(writer);
    store.close().await;
    for (id, (version, state)) in &model.entities {
        let entity = db.entity("Car", &format!("car{id}")).await.unwrap();
        assert_eq!(entity.version, *version);
        assert_eq!(serde_json::from_str::<Value>(&entity.data).unwrap(), *state);
    }
    let sent: BTreeSet<u8> = steps.iter().flat_map(|step| &step.batch).map(|(n, _)| *n).collect();
    the_log_has(db, &model, sent).await;
    the_log_folds_to_the_state(db).await;
}

fn database(db: &Db) -> Database {
    DatabaseUrl::parse(Some(&db.url)).unwrap().into()
}

async fn prune_but(db: &Db, seconds: u64, now: i64) {
    let (age, clock) = (Duration::from_secs(seconds), support::clock(now));
    let pruned = prune::prune(&database(db), age, &clock, &mut |_| {}).await.unwrap();
    assert_eq!(pruned.skipped, 0);
}

/// Every event sent that wasn't pruned, and no other.
async fn the_log_has(db: &Db, model: &Model, sent: BTreeSet<u8>) {
    for n in sent {
        let logged = db.store.event(support::uuid(u128::from(n))).await.unwrap();
        let updates = logged.map(|event| {
            let update = |update: LoggedUpdate| {
                let id = update.key.entity_id().trim_start_matches("car").parse().unwrap();
                ((id, serde_json::from_str(&update.patch).unwrap()), update.version)
            };
            event.updates.into_iter().map(update).unzip::<Update, u64, Vec<_>, Vec<_>>()
        });
        let expected = model.log.get(&n).map(|e| (e.updates.clone(), e.versions.clone()));
        assert_eq!(updates, expected, "event {n}");
    }
}

async fn the_log_folds_to_the_state(db: &Db) {
    let mut lines = Vec::new();
    let progress = &mut |progress| {
        if let Progress::Line(line) = progress {
            lines.push(line);
        }
    };
    let summary = rebuild::rebuild(&database(db), false, progress).await.unwrap();
    assert_eq!((summary.differing, summary.unexplained), (0, 0), "{lines:?}");
}

/// Each case gets tables of its own by its own database: cheap on SQLite, few on PostgreSQL.
fn cases(count: u32) -> Vec<Vec<Step>> {
    let mut runner = TestRunner::new(Config::default());
    (0..count).map(|_| steps().new_tree(&mut runner).unwrap().current()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_is_the_fold_of_the_log_on_sqlite() {
    for case in cases(60) {
        let db = Db::sqlite(default).await;
        eprintln!("{case:?}"); // shown where it fails
        holds(&db, &case).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_is_the_fold_of_the_log_on_postgres() {
    let db = Db::postgres(default).await;
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&db.url).await.unwrap();
    for case in cases(40) {
        sqlx::raw_sql("TRUNCATE entities, event_log").execute(&mut admin).await.unwrap();
        eprintln!("{case:?}");
        holds(&db, &case).await;
    }
}

/// JSON texts near the borders of what jsonb takes.
fn texts() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,6})?",
        "[0-9.eE+-]{1,8}",
    ];
    let unit = prop_oneof![
        Just("\\u0000".to_owned()),
        Just("\\ud800".to_owned()),
        Just("\\udc00".to_owned()),
        Just("\\ud83d\\ude00".to_owned()),
        "\\\\u[0-9a-fA-F]{2,4}",
        "\\\\[bfnrtu/\"\\\\x]",
        "[a-z\u{1}\u{7f}é😀 ]",
    ];
    let string =
        prop::collection::vec(unit, 0..4).prop_map(|units| format!("\"{}\"", units.concat()));
    let leaf = prop_oneof![
        number,
        string.clone(),
        prop::sample::select(vec!["true", "null", "nul", "[1,]", "[]", "NaN", "[[1 2]]"])
            .prop_map(str::to_owned),
    ];
    let member = (string, leaf).prop_map(|(key, value)| format!("{key}:{value}"));
    prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(",")))
}

#[tokio::test]
async fn whatever_jsonb_refuses_the_scanner_refused_and_it_gives_back_what_it_took() {
    let database = producer_test_support::Postgres::shared().fresh_database().await;
    let mut pg = <sqlx::PgConnection as sqlx::Connection>::connect(database.url()).await.unwrap();
    let mut runner = TestRunner::new(Config::default());
    let strategy = texts();
    let mut taken = 0;
    for _ in 0..4000 {
        let text = strategy.new_tree(&mut runner).unwrap().current();
        if producer_core::Patch::parse(&text).is_err() {
            continue;
        }
        taken += 1;
        let back: Result<String, _> =
            sqlx::query_scalar("SELECT $1::jsonb::text").bind(&text).fetch_one(&mut pg).await;
        let back = back.unwrap_or_else(|error| panic!("jsonb refused {text}: {error}"));
        assert!(producer_core::json::same_value(&text, &back), "{text} came back as {back}");
    }
    assert!(taken > 400, "only {taken} were valid");
}
