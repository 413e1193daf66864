//! Whatever batches come, and whatever is pruned between them: the state is the fold of the log, and
//! both are what applying the events one by one to a plain model gives.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use producer_core::ingest::{ApplyMode, Verdict};
use producer_core::model::{LoggedUpdate, NewVersion, Operation};
use producer_core::store::DatabaseUrl;
use producer_core::{Clock, Event, Timestamp};
use producer_maintenance::{Database, Progress, prune, rebuild};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use support::{Db, START, default, event_of};

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

/// What an update does with one of three cars.
#[derive(Debug, Clone)]
struct Update {
    car: u8,
    operation: Operation,
    /// `{}` of a delete.
    patch: Value,
    condition: Condition,
}

/// Content is compared, conditions are none.
impl PartialEq for Update {
    fn eq(&self, other: &Self) -> bool {
        let content = |update: &Self| (update.car, update.operation, update.patch.clone());
        content(self) == content(other)
    }
}

#[derive(Debug, Clone, Copy)]
enum Condition {
    None,
    Exists(bool),
    Version(u64),
    /// Filters over the document and its times.
    Has(&'static str),
    HasNot(&'static str),
    Less(i64),
    NotAnew(u64),
}

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

fn update() -> impl Strategy<Value = Update> {
    let operation = prop_oneof![
        6 => Just(Operation::Merge), 2 => Just(Operation::Replace), 2 => Just(Operation::Delete),
    ];
    let condition = prop_oneof![
        6 => Just(Condition::None),
        1 => any::<bool>().prop_map(Condition::Exists),
        1 => (1..6_u64).prop_map(Condition::Version),
        1 => prop::sample::select(vec!["a", "b", "c"]).prop_map(Condition::Has),
        1 => prop::sample::select(vec!["a", "b", "c"]).prop_map(Condition::HasNot),
        1 => any::<i8>().prop_map(|number| Condition::Less(number.into())),
        1 => (1..6_u64).prop_map(Condition::NotAnew),
    ];
    (0..3_u8, operation, patch(), condition).prop_map(|(car, operation, patch, condition)| {
        let patch = if operation == Operation::Delete { json!({}) } else { patch };
        Update { car, operation, patch, condition }
    })
}

/// Batches over three cars; uuids are few, so that some come again with the same or other content.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sketch = (any::<u8>(), prop::collection::vec(update(), 1..4));
    let batch = prop::collection::vec(sketch, 1..8);
    let step = (any::<bool>(), batch, prop::option::weighted(0.3, 0..4_u64));
    let step = step.prop_map(|(skip_locked, batch, keep)| Step { skip_locked, batch, keep });
    prop::collection::vec(step, 1..6)
}

fn to_event((n, updates): &Sketch) -> Event {
    let item = |update: &Update| {
        let mut item = json!({
            "entityType": "Car",
            "entityId": format!("car{}", update.car),
            "operation": update.operation.as_str(),
            "updatedAttributes": update.patch,
        });
        match update.condition {
            Condition::None => {}
            Condition::Exists(exists) => item["exists"] = json!(exists),
            Condition::Version(version) => item["expectedVersion"] = json!(version),
            Condition::Has(key) => item["condition"] = json!(format!("has(data.{key})")),
            Condition::HasNot(key) => item["condition"] = json!(format!("!has(data.{key})")),
            Condition::Less(number) => {
                item["condition"] = json!(format!("data.a < {number} || data.b.c < {number}.0"));
            }
            Condition::NotAnew(version) => {
                let filter =
                    format!("updatedAt > createdAt && updatedAt < now && version != {version}");
                item["condition"] = json!(filter);
            }
        }
        item
    };
    event_of(u128::from(*n), &updates.iter().map(item).collect::<Vec<_>>())
}

/// A verdict without texts and attempts, which the model doesn't know.
#[derive(Debug, Clone, PartialEq)]
enum Expected {
    Applied(Vec<NewVersion>),
    Duplicate(Vec<NewVersion>),
    Conflict,
    /// The place of the update that failed, and the entity's version.
    Failed(String, Option<u64>),
}

fn expected(verdict: Verdict) -> Expected {
    match verdict {
        Verdict::Applied(versions) => Expected::Applied(versions),
        Verdict::Duplicate { versions, .. } => Expected::Duplicate(versions),
        Verdict::Conflict => Expected::Conflict,
        Verdict::PreconditionFailed(violations, state) => {
            let place = violations.listed()[0].location.pointer();
            Expected::Failed(place, state.current_version)
        }
        other => panic!("{other:?}"),
    }
}

/// What the contract says, over plain values.
#[derive(Default)]
struct Model {
    entities: BTreeMap<u8, Car>,
    log: BTreeMap<u8, Logged>,
    /// The car of the last row of the log, which pruning keeps.
    last: Option<u8>,
    /// The second of the batch.
    now: u64,
}

#[derive(Debug, Clone, Default)]
struct Car {
    version: u64,
    /// `None`: deleted, or not there yet.
    data: Option<Value>,
    created: u64,
    updated: u64,
}

struct Logged {
    updates: Vec<Update>,
    versions: Vec<NewVersion>,
    at: u64,
}

impl Model {
    fn apply(&mut self, (n, updates): &Sketch) -> Expected {
        match self.log.get(n) {
            Some(first) if first.updates == *updates => {
                return Expected::Duplicate(first.versions.clone());
            }
            Some(_) => return Expected::Conflict,
            None => {}
        }
        let before = self.entities.clone();
        let mut versions = Vec::new();
        for (place, update) in updates.iter().enumerate() {
            match self.update(update) {
                Ok(version) => versions.push(version),
                Err(()) => {
                    // the updates before it are refused too
                    self.entities = before;
                    let car = self.entities.get(&update.car).filter(|car| car.data.is_some());
                    let current = car.map(|car| car.version);
                    return Expected::Failed(format!("/eventBody/entities/{place}"), current);
                }
            }
        }
        self.last = updates.last().map(|update| update.car);
        let (updates, at) = (updates.clone(), self.now);
        self.log.insert(*n, Logged { updates, versions: versions.clone(), at });
        Expected::Applied(versions)
    }

    /// An error: the entity does not fulfil the condition.
    fn update(&mut self, update: &Update) -> Result<NewVersion, ()> {
        let car = self.entities.entry(update.car).or_default();
        let current = car.data.as_ref().map(|_| car.version);
        let holds = match update.condition {
            Condition::None => true,
            Condition::Exists(exists) => current.is_some() == exists,
            Condition::Version(version) => current == Some(version),
            Condition::Has(key) => car.data.as_ref().is_some_and(|data| data.get(key).is_some()),
            Condition::HasNot(key) => car.data.as_ref().is_some_and(|data| data.get(key).is_none()),
            Condition::Less(number) => car.data.as_ref().is_some_and(|data| {
                let mut at = [&data["a"], &data["b"]["c"]].into_iter();
                at.any(|value| value.as_i64().is_some_and(|value| value < number))
            }),
            Condition::NotAnew(version) => {
                let has_changed = car.updated > car.created && car.updated < self.now;
                current.is_some_and(|current| current != version) && has_changed
            }
        };
        if !holds || (update.operation == Operation::Delete && current.is_none()) {
            return Err(());
        }
        let mut data = match update.operation {
            Operation::Merge => car.data.take().unwrap_or_else(|| json!({})),
            Operation::Replace | Operation::Delete => json!({}),
        };
        merge(&mut data, &update.patch);
        car.data = (update.operation != Operation::Delete).then_some(data);
        car.version += 1;
        car.updated = self.now;
        if current.is_none() {
            car.created = self.now;
        }
        Ok(NewVersion { version: car.version, created: current.is_none() })
    }

    /// What is older than `keep` seconds is gone from the log, and deleted cars with their whole log.
    fn prune(&mut self, keep: u64) {
        let (now, last) = (self.now, self.last);
        self.log.retain(|_, logged| logged.at + keep >= now);
        self.entities
            .retain(|id, car| car.data.is_some() || car.updated + keep >= now || Some(*id) == last);
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
        let by_model: Vec<Expected> = step.batch.iter().map(|sketch| model.apply(sketch)).collect();
        let mode = if step.skip_locked { ApplyMode::SkipLocked } else { ApplyMode::Normal };
        let verdicts = writer.apply(&events, mode).await.unwrap().into_iter().map(expected);
        assert_eq!(verdicts.collect::<Vec<_>>(), by_model);
        if let Some(keep) = step.keep {
            prune_but(db, keep, now).await;
            model.prune(keep);
        }
    }
    drop(writer);
    store.close().await;
    let moment =
        |second: u64| Timestamp::from_micros(START + i64::try_from(second).unwrap() * 1_000_000);
    for (id, car) in &model.entities {
        let entity = db.entity("Car", &format!("car{id}")).await;
        let found = entity.map(|entity| {
            let data = serde_json::from_str::<Value>(&entity.data).unwrap();
            (entity.version, data, entity.created_at, entity.updated_at)
        });
        let data = car.data.clone();
        let expected =
            data.map(|data| (car.version, data, moment(car.created), moment(car.updated)));
        assert_eq!(found, expected, "car{id}");
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
                let car = update.key.entity_id().trim_start_matches("car").parse().unwrap();
                let (operation, condition) = (update.operation, Condition::None);
                let patch = serde_json::from_str(&update.patch).unwrap();
                let version = NewVersion { version: update.version, created: update.created };
                (Update { car, operation, patch, condition }, version)
            };
            event.updates.into_iter().map(update).unzip::<Update, NewVersion, Vec<_>, Vec<_>>()
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
