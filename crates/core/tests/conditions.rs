//! Filters as conditions of updates, on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;

use producer_core::ingest::{ApplyMode, Ingest, Verdict};
use producer_core::model::NewVersion;
use producer_core::{Event, ProblemKind};
use serde_json::{Value, json};
use support::{Db, START, applied, car, duplicate, event_of, limits, made};
use tokio::runtime::Handle;

on_all!(
    a_filter_is_judged_by_the_state,
    a_filter_sees_the_updates_before_it,
    a_filter_decides_about_its_event_alone,
    an_atomic_call_is_refused_as_a_whole,
    a_retry_is_a_duplicate_whatever_its_condition_says,
    an_event_of_large_documents_is_judged_in_its_order,
    what_the_conditions_of_an_event_look_at_is_bounded,
    compare_and_swap_by_value_has_one_winner_for_each,
);

const SECOND: i64 = 1_000_000;

fn merge(id: &str, attributes: Value, condition: &str) -> Value {
    json!({"entityType": "Car", "entityId": id, "updatedAttributes": attributes,
           "condition": condition})
}

fn delete(id: &str, condition: &str) -> Value {
    json!({"entityType": "Car", "entityId": id, "operation": "delete", "condition": condition})
}

fn one(n: u128, item: Value) -> Event {
    event_of(n, &[item])
}

/// The place, the version and the detail of a condition that failed.
fn failed(verdict: &Verdict) -> (String, Option<u64>, String) {
    let Verdict::PreconditionFailed(violations, state) = verdict else { panic!("{verdict:?}") };
    assert_eq!(violations.count(), 1);
    let first = &violations.listed()[0];
    (first.location.pointer(), state.current_version, first.detail.to_string())
}

fn unmet(ordinal: usize, version: u64) -> (String, Option<u64>, String) {
    let detail = format!("does not fulfil the condition in version {version}");
    (format!("/eventBody/entities/{ordinal}"), Some(version), detail)
}

fn absent(ordinal: usize) -> (String, Option<u64>, String) {
    (format!("/eventBody/entities/{ordinal}"), None, "does not exist".to_owned())
}

async fn a_filter_is_judged_by_the_state(db: Db) {
    let document =
        r#"{"n":9007199254740993,"tags":["a","b"],"o":{"x":null,"y":{"z":"é"}},"b":true}"#;
    db.apply(&[car(1, "a", "{}"), car(2, "a", document), car(3, "gone", r#"{"n":1}"#)]).await;
    db.apply(&[event_of(
        4,
        &[json!({"entityType": "Car", "entityId": "gone", "operation": "delete"})],
    )])
    .await;
    let later = db.again(START + 60 * SECOND).await;
    let mut writer = later.writer();
    let holds = [
        "data.n == 9007199254740993",
        "data.n != 9007199254740992 && data.n < 9007199254740993.5",
        "data.o.y.z == '\\u00e9' && !has(data.o.x)",
        "data.tags.exists(tag, tag == 'b') && size(data.tags) == 2",
        "type == 'Car' && id == 'a' && version == 2",
        "createdAt == updatedAt && createdAt == timestamp('2026-01-01T00:00:00Z')",
        "updatedAt <= now - duration('60s')",
        "!has(data.missing)",
    ];
    let fails = [
        "data.n == 9007199254740992",
        "data.b == 'true'",
        "version == 1",
        "updatedAt < now - duration('60s')",
        "has(data.missing)",
        "data.missing <= 0",
    ];
    let mut n = 100;
    for (filter, expected) in
        holds.map(|it| (it, true)).into_iter().chain(fails.map(|it| (it, false)))
    {
        for id in ["a", "never", "gone"] {
            n += 1;
            // with another update that fails always, so that nothing is ever stored
            let items = [merge(id, json!({"x": 1}), filter), merge("z", json!({}), "version > 0")];
            let expected = match id {
                "a" if expected => absent(1),
                "a" => unmet(0, 2),
                _ => absent(0),
            };
            let verdicts = support::apply(&mut *writer, &[event_of(n, &items)]).await;
            assert_eq!(failed(&verdicts[0]), expected, "{filter} of {id}");
        }
    }
    for id in ["never", "gone", "z"] {
        assert_eq!(db.entity("Car", id).await, None);
    }
}

async fn a_filter_sees_the_updates_before_it(db: Db) {
    let created = json!({"entityType": "Car", "entityId": "a", "exists": false,
                         "updatedAttributes": {"n": 1, "o": {"p": 1}}});
    let replaced = json!({"entityType": "Car", "entityId": "a", "operation": "replace",
                          "updatedAttributes": {"new": true}, "condition": "data.o.q == 2"});
    let items = [
        created.clone(),
        merge(
            "a",
            json!({"o": {"p": null, "q": 2}}),
            "data.n == 1 && data.o.p == 1 && version == 1",
        ),
        merge("b", json!({"n": 1}), "!has(data.n)"),
        replaced.clone(),
    ];
    // "b" does not exist yet
    assert_eq!(failed(&db.apply(&[event_of(1, &items)]).await[0]), absent(2));
    assert_eq!(db.entity("Car", "a").await, None);
    let items = [
        items[0].clone(),
        items[1].clone(),
        replaced,
        delete("a", "size(data) == 1 && data.new == true && version == 3"),
        created,
        merge("a", json!({}), "has(data.n) && !has(data.new)"),
    ];
    let made = [(1, true), (2, false), (3, false), (4, false), (5, true), (6, false)];
    let made = made.map(|(version, created)| NewVersion { version, created });
    assert_eq!(db.apply(&[event_of(2, &items)]).await, [Verdict::Applied(made.to_vec())]);

    let twice =
        [merge("a", json!({"n": 2}), "data.n == 1"), merge("a", json!({"n": 3}), "data.n == 1")];
    let (place, current, detail) = failed(&db.apply(&[event_of(3, &twice)]).await[0]);
    assert_eq!((place.as_str(), current), ("/eventBody/entities/1", Some(6)));
    assert_eq!(detail, "does not fulfil the condition in version 7 (with the updates before it)");
    assert_eq!(db.car("a").await.unwrap(), r#"{"n":1,"o":{"p":1}}"#);
}

async fn a_filter_decides_about_its_event_alone(db: Db) {
    db.apply(&[car(1, "a", r#"{"n":0}"#)]).await;
    let batch = [
        car(2, "b", r#"{"flat":1}"#),
        one(3, merge("a", json!({"n": 1}), "data.n == 0")),
        one(4, merge("a", json!({"n": 2}), "data.n == 0")),
        car(5, "a", r#"{"m":1}"#),
        one(6, merge("a", json!({"n": 3}), "data.n == 1 && data.m == 1 && version == 3")),
        one(7, delete("b", "data.flat == 2")),
        one(8, delete("b", "data.flat == 1")),
        // its uuid is free, since it was refused
        one(4, merge("b", json!({}), "version == 2")),
        car(4, "c", "{}"),
    ];
    let verdicts = db.apply(&batch).await;
    assert_eq!(verdicts[0], applied([1]));
    assert_eq!(verdicts[1], applied([2]));
    assert_eq!(failed(&verdicts[2]), unmet(0, 2));
    assert_eq!(verdicts[3..5], [applied([3]), applied([4])]);
    assert_eq!(failed(&verdicts[5]), unmet(0, 1));
    assert_eq!(verdicts[6], applied([2]));
    assert_eq!(failed(&verdicts[7]), absent(0));
    assert_eq!(verdicts[8], applied([1]));
    assert_eq!(db.car("a").await.unwrap(), r#"{"m":1,"n":3}"#);
}

async fn an_atomic_call_is_refused_as_a_whole(db: Db) {
    db.apply(&[car(1, "a", r#"{"n":0}"#)]).await;
    let mut writer = db.store.writer();
    let batch = [
        one(2, merge("a", json!({"n": 1}), "data.n == 0")),
        one(3, merge("a", json!({"n": 2}), "data.n == 0")),
        car(4, "c", "{}"),
    ];
    let verdicts = writer.apply(&batch, ApplyMode::Atomic).await.unwrap();
    let (_, current, _) = failed(&verdicts[1]);
    assert_eq!(current, Some(1), "the version without the call");
    assert_eq!(db.car("a").await.unwrap(), r#"{"n":0}"#);
    assert_eq!(db.entity("Car", "c").await, None);
    let batch = [
        one(2, merge("a", json!({"n": 1}), "data.n == 0")),
        one(3, merge("a", json!({"n": 2}), "data.n == 1")),
    ];
    let verdicts = writer.apply(&batch, ApplyMode::Atomic).await.unwrap();
    assert_eq!(verdicts, [applied([2]), applied([3])]);
}

async fn a_retry_is_a_duplicate_whatever_its_condition_says(db: Db) {
    db.apply(&[car(1, "a", r#"{"n":0}"#)]).await;
    let event = |condition: &str| one(2, merge("a", json!({"n": 1}), condition));
    assert_eq!(db.apply(&[event("data.n == 0")]).await, [applied([2])]);
    for condition in ["data.n == 0", "version == 77", "data.n == 1"] {
        assert_eq!(duplicate(&db.apply(&[event(condition)]).await[0]), [2], "{condition}");
    }
    let without = json!({"entityType": "Car", "entityId": "a", "updatedAttributes": {"n": 1.0}});
    assert_eq!(duplicate(&db.apply(&[one(2, without)]).await[0]), [2]);
    // in one batch too: the second is judged by its uuid alone
    let event = |condition: &str| one(3, merge("a", json!({"n": 2}), condition));
    let verdicts = db.apply(&[event("data.n == 1"), event("data.n == 1")]).await;
    assert_eq!((made(&verdicts[0]), duplicate(&verdicts[1])), (vec![3], vec![3]));
    let other = one(3, merge("a", json!({"n": 9}), "data.n == 1"));
    assert_eq!(db.apply(&[other]).await, [Verdict::Conflict]);
    db.apply(&[one(4, delete("a", "data.n == 2"))]).await;
    assert_eq!(
        duplicate(&db.apply(&[event("has(data.n)")]).await[0]),
        [3],
        "the entity is deleted"
    );
}

/// Its documents are read and written part by part.
async fn an_event_of_large_documents_is_judged_in_its_order(db: Db) {
    let ids: Vec<String> = (0..12).map(|n| format!("large{n}")).collect();
    for (n, id) in (0..).zip(&ids) {
        let full = json!({"a": "x".repeat((1 << 20) - 50), "n": n});
        let item = json!({"entityType": "Car", "entityId": id, "updatedAttributes": full});
        assert_eq!(db.apply(&[one(n, item)]).await, [applied([1])]);
    }
    let item =
        |(n, id): (usize, &String)| merge(id, json!({"o": {"n": 1}}), &format!("data.n == {n}"));
    let mut items: Vec<Value> = ids.iter().enumerate().map(item).collect();
    items.push(merge("large0", json!({"n": 100}), "data.o.n == 1 && data.a.startsWith('xxx')"));
    items.push(merge("large1", json!({}), "!has(data.o)"));
    let (place, current, _) = failed(&db.apply(&[event_of(100, &items)]).await[0]);
    assert_eq!((place.as_str(), current), ("/eventBody/entities/13", Some(1)));
    assert_eq!(db.entity("Car", "large0").await.unwrap().version, 1);
    items.pop();
    let versions: Vec<u64> = [[2; 12].as_slice(), &[3]].concat();
    assert_eq!(made(&db.apply(&[event_of(100, &items)]).await[0]), versions);
    assert_eq!(duplicate(&db.apply(&[event_of(100, &items)]).await[0]), versions);
}

async fn what_the_conditions_of_an_event_look_at_is_bounded(db: Db) {
    let ids: Vec<String> = (0..12).map(|n| format!("large{n}")).collect();
    for (n, id) in (0..).zip(&ids) {
        let full = json!({"a": "x".repeat((1 << 20) - 50)});
        let item = json!({"entityType": "Car", "entityId": id, "updatedAttributes": full});
        assert_eq!(db.apply(&[one(n, item)]).await, [applied([1])]);
    }
    // 32 conditions and 31 operators, each of which looks at the document
    let costly = vec!["data.b != 1"; 32].join(" && ");
    let (cheap, free) = ("!has(data.b)", "version > 0");
    let places = |verdict: &Verdict| {
        let Verdict::Invalid(violations) = verdict else { panic!("{verdict:?}") };
        violations.listed()[0].location.pointer()
    };
    // of one document, and of documents that are read in parts
    for (n, ids) in (0..).zip([vec!["large0"; 3], ids.iter().map(String::as_str).collect()]) {
        let items: Vec<Value> = ids.iter().map(|id| merge(id, json!({}), &costly)).collect();
        let refused = &db.apply(&[event_of(100 + n, &items)]).await[0];
        assert_eq!(places(refused), "/eventBody/entities/2/condition");
        let items: Vec<Value> = ids.iter().map(|id| merge(id, json!({}), cheap)).collect();
        assert_eq!(made(&db.apply(&[event_of(200 + n, &items)]).await[0]).len(), ids.len());
    }
    // each event has as much, and what does not read the document costs nothing
    let batch = |first: u128| -> Vec<Event> {
        (first..first + 4).map(|n| one(n, merge("large0", json!({}), &costly))).collect()
    };
    assert!(db.apply(&batch(300)).await.iter().all(Verdict::is_stored));
    let verdicts = db.store.writer().apply(&batch(310), ApplyMode::Atomic).await.unwrap();
    assert_eq!(places(&verdicts[2]), "/eventBody/entities/0/condition");
    let many: Vec<Value> = (0..500).map(|_| merge("large0", json!({}), free)).collect();
    assert_eq!(made(&db.apply(&[event_of(400, &many)]).await[0]).len(), 500);
}

const LOOPS: u64 = 64;
const EACH: u64 = 5;

/// Each reads the value, and writes the next one if it is still the same.
async fn compare_and_swap_by_value_has_one_winner_for_each(db: Db) {
    db.apply(&[car(1, "hot", r#"{"n":0}"#)]).await;
    let db = Arc::new(db);
    // as two processes
    let mut ingests = Vec::new();
    for _ in 0..2 {
        let store = db.again(START).await;
        ingests.push(Ingest::start(store, limits(), &Handle::current()));
    }
    let tasks = (0..LOOPS).map(|who| {
        let (db, ingest) = (Arc::clone(&db), ingests[usize::try_from(who % 2).unwrap()].clone());
        tokio::spawn(async move {
            let (mut won, mut attempt) = (Vec::new(), 0);
            while won.len() < usize::try_from(EACH).unwrap() {
                attempt += 1;
                let state: Value = serde_json::from_str(&db.car("hot").await.unwrap()).unwrap();
                let n = state["n"].as_u64().unwrap();
                let item = merge("hot", json!({"n": n + 1}), &format!("data.n == {n}"));
                let event = one(u128::from(who) * 100_000 + 10 + attempt, item);
                match ingest.submit(event).await {
                    Ok(_) => won.push(n + 1),
                    Err(problem) => {
                        assert_eq!(problem.kind, ProblemKind::PreconditionFailed, "{problem}");
                    }
                }
            }
            won
        })
    });
    let mut won = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        won.extend(task.await.unwrap());
    }
    won.sort_unstable();
    assert_eq!(won, (1..=LOOPS * EACH).collect::<Vec<_>>());
    let entity = db.entity("Car", "hot").await.unwrap();
    assert_eq!(support::without_spaces(&entity.data), format!(r#"{{"n":{}}}"#, LOOPS * EACH));
    assert_eq!(entity.version, LOOPS * EACH + 1);
}
