//! What updates do besides merging, and the conditions under which they do it, on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;

use producer_core::decode::{EntityMethod, EntityRequest, IdempotencyKey};
use producer_core::ingest::{ApplyMode, Verdict};
use producer_core::model::{NewVersion, Operation};
use producer_core::{Event, Field, Header, Patch, Precondition, Timestamp};
use serde_json::{Value, json};
use support::{Db, START, applied, apply_through, car, duplicate, event_of, made, uuid};
use tokio::sync::Barrier;

on_all!(
    a_replace_makes_an_entity_and_drops_what_it_had,
    a_deleted_entity_is_absent_and_its_version_goes_on,
    operations_of_one_batch_apply_in_order,
    conditions_are_judged_by_the_state,
    updates_of_one_event_are_judged_in_their_order,
    the_first_update_that_fails_decides,
    a_refused_event_changes_nothing,
    no_entity_has_version_0,
    a_merge_over_the_limit_is_refused_though_a_replace_follows,
    conditions_are_no_content_and_operations_are,
    atomic_events_are_refused_together,
    an_event_of_large_documents_is_judged_in_its_order,
    source_and_actor_are_kept,
    compare_and_swap_has_one_winner_for_each_version,
    no_update_is_lost_while_an_entity_is_deleted_and_made_anew,
);

fn merge(id: &str, attributes: Value) -> Value {
    json!({"entityType": "Car", "entityId": id, "updatedAttributes": attributes})
}

fn replace(id: &str, attributes: Value) -> Value {
    with(merge(id, attributes), json!({"operation": "replace"}))
}

fn delete(id: &str) -> Value {
    json!({"entityType": "Car", "entityId": id, "operation": "delete"})
}

/// The item with more members.
fn with(mut item: Value, members: Value) -> Value {
    let (Some(item_members), Value::Object(members)) = (item.as_object_mut(), members) else {
        panic!("no object")
    };
    item_members.extend(members);
    item
}

fn one(n: u128, item: Value) -> Event {
    event_of(n, &[item])
}

fn born(version: u64) -> Verdict {
    Verdict::Applied(vec![NewVersion { version, created: true }])
}

fn changed(version: u64) -> Verdict {
    Verdict::Applied(vec![NewVersion { version, created: false }])
}

/// The place and the current version of a condition that failed.
fn failed(verdict: &Verdict) -> (String, Option<u64>) {
    let Verdict::PreconditionFailed(violations, state) = verdict else { panic!("{verdict:?}") };
    assert_eq!(violations.count(), 1);
    (violations.listed()[0].location.pointer(), state.current_version)
}

fn at(ordinal: usize, current: Option<u64>) -> (String, Option<u64>) {
    (format!("/eventBody/entities/{ordinal}"), current)
}

async fn a_replace_makes_an_entity_and_drops_what_it_had(db: Db) {
    let first = replace("a", json!({"a": {"x": 1, "y": null}, "b": null, "c": 1}));
    assert_eq!(db.apply(&[one(1, first)]).await, [born(1)]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"a":{"x":1},"c":1}"#);
    let second = replace("a", json!({"a": {"z": 1}, "d": 2}));
    assert_eq!(db.apply(&[one(2, second)]).await, [changed(2)]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"a":{"z":1},"d":2}"#);
    assert_eq!(db.apply(&[one(3, replace("a", json!({})))]).await, [changed(3)]);
    assert_eq!(db.car("a").await.unwrap(), "{}");
    let logged = db.store.event(uuid(2)).await.unwrap().unwrap();
    assert_eq!(logged.updates[0].operation, Operation::Replace);
    assert_eq!(support::without_spaces(&logged.updates[0].patch), r#"{"a":{"z":1},"d":2}"#);
}

async fn a_deleted_entity_is_absent_and_its_version_goes_on(db: Db) {
    assert_eq!(failed(&db.apply(&[one(1, delete("a"))]).await[0]), at(0, None));
    db.apply(&[car(2, "a", r#"{"old":1}"#)]).await;
    assert_eq!(db.apply(&[one(3, delete("a"))]).await, [changed(2)]);
    assert_eq!(db.entity("Car", "a").await, None);
    assert_eq!(failed(&db.apply(&[one(4, delete("a"))]).await[0]), at(0, None));
    let logged = db.store.event(uuid(3)).await.unwrap().unwrap();
    assert_eq!(logged.updates[0].operation, Operation::Delete);
    assert_eq!((logged.updates[0].patch.as_str(), logged.updates[0].version), ("{}", 2));

    let later = db.again(START + 1_000_000).await;
    let verdicts = support::apply(&mut *later.writer(), &[car(5, "a", r#"{"new":1}"#)]).await;
    assert_eq!(verdicts, [born(3)]);
    let entity = db.entity("Car", "a").await.unwrap();
    assert_eq!(support::without_spaces(&entity.data), r#"{"new":1}"#);
    let now = Timestamp::from_micros(START + 1_000_000);
    assert_eq!((entity.version, entity.created_at, entity.updated_at), (3, now, now));
    assert!(db.store.event(uuid(5)).await.unwrap().unwrap().updates[0].created);
    assert_eq!(db.apply(&[car(5, "a", r#"{"new":1}"#)]).await.len(), 1);
    assert_eq!(db.apply(&[car(6, "a", r#"{"b":2}"#)]).await, [changed(4)]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"b":2,"new":1}"#);
}

async fn operations_of_one_batch_apply_in_order(db: Db) {
    let batch = [
        car(1, "a", r#"{"a":1}"#),
        one(2, replace("a", json!({"b": {"c": 1}}))),
        car(3, "a", r#"{"b":{"d":2}}"#),
        one(4, delete("a")),
        car(5, "a", r#"{"e":1}"#),
        car(6, "b", r#"{"flat":1}"#),
        one(7, delete("b")),
    ];
    let expected = [born(1), changed(2), changed(3), changed(4), born(5), born(1), changed(2)];
    assert_eq!(db.apply(&batch).await, expected);
    assert_eq!(db.car("a").await.unwrap(), r#"{"e":1}"#);
    assert_eq!(db.entity("Car", "b").await, None);
    // each is a duplicate now, and says what it created
    for (event, verdict) in batch.iter().zip(&expected) {
        let again = db.apply(std::slice::from_ref(event)).await;
        let Verdict::Duplicate { versions, .. } = &again[0] else { panic!("{again:?}") };
        assert_eq!(Verdict::Applied(versions.clone()), *verdict);
    }
}

async fn conditions_are_judged_by_the_state(db: Db) {
    db.apply(&[car(1, "a", "{}"), car(2, "a", r#"{"v":2}"#), car(3, "gone", "{}")]).await;
    db.apply(&[one(4, delete("gone"))]).await;
    let conditions = [
        (json!({"expectedVersion": 1}), [false, false, false]),
        (json!({"expectedVersion": 2}), [true, false, false]),
        (json!({"expectedVersion": u64::MAX}), [false, false, false]),
        (json!({"exists": true}), [true, false, false]),
        (json!({"exists": false}), [false, true, true]),
    ];
    let mut n = 100;
    for (condition, expected) in conditions {
        for (id, holds) in ["a", "never", "gone"].into_iter().zip(expected) {
            n += 1;
            // with another entity that fails always, so that nothing is ever stored
            let items = [
                with(merge(id, json!({"x": 1})), condition.clone()),
                with(merge("z", json!({})), json!({"exists": true})),
            ];
            let current = (id == "a").then_some(2);
            let expected = if holds { at(1, None) } else { at(0, current) };
            let verdicts = db.apply(&[event_of(n, &items)]).await;
            assert_eq!(failed(&verdicts[0]), expected, "{condition} of {id}");
        }
    }
    let update = |n, condition| one(n, with(merge("a", json!({"v": n as u64})), condition));
    let batch = [
        update(10, json!({"expectedVersion": 2})),
        update(11, json!({"expectedVersion": 2})),
        update(12, json!({"exists": true})),
        update(13, json!({"expectedVersion": 4})),
    ];
    let verdicts = db.apply(&batch).await;
    assert_eq!(failed(&verdicts[1]), at(0, Some(3)));
    assert_eq!([&verdicts[0], &verdicts[2], &verdicts[3]], [&changed(3), &changed(4), &changed(5)]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"v":13}"#);
}

async fn updates_of_one_event_are_judged_in_their_order(db: Db) {
    let items = [
        with(merge("a", json!({"a": 1})), json!({"exists": false})),
        with(merge("a", json!({"b": 1})), json!({"expectedVersion": 1})),
        with(delete("a"), json!({"expectedVersion": 2})),
        with(replace("a", json!({"c": 1})), json!({"exists": false})),
        with(merge("b", json!({})), json!({"exists": false})),
        delete("b"),
    ];
    let created = [true, false, false, true, true, false];
    let versions = [1, 2, 3, 4, 1, 2].into_iter().zip(created);
    let versions = versions.map(|(version, created)| NewVersion { version, created }).collect();
    assert_eq!(db.apply(&[event_of(1, &items)]).await, [Verdict::Applied(versions)]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"c":1}"#);
    assert_eq!(db.entity("Car", "b").await, None);
    let twice = [delete("a"), delete("a")];
    assert_eq!(failed(&db.apply(&[event_of(2, &twice)]).await[0]), at(1, Some(4)));
    let deleted_then_merged = [delete("a"), merge("a", json!({"d": 1}))];
    assert_eq!(made(&db.apply(&[event_of(3, &deleted_then_merged)]).await[0]), [5, 6]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"d":1}"#);
}

async fn the_first_update_that_fails_decides(db: Db) {
    let too_large = json!({"a": "x".repeat(1 << 20)});
    let condition = with(merge("b", json!({})), json!({"exists": true}));
    let verdicts =
        db.apply(&[event_of(1, &[merge("a", too_large.clone()), condition.clone()])]).await;
    let Verdict::Invalid(violations) = &verdicts[0] else { panic!("{:?}", verdicts[0]) };
    let place = violations.listed()[0].location.pointer();
    assert_eq!(place, "/eventBody/entities/0/updatedAttributes");
    let verdicts = db.apply(&[event_of(2, &[condition, replace("a", too_large.clone())])]).await;
    assert_eq!(failed(&verdicts[0]), at(0, None));
    let both = with(replace("a", too_large), json!({"exists": true}));
    assert_eq!(failed(&db.apply(&[one(3, both)]).await[0]), at(0, None));
}

/// By a write, since an event can't say it.
async fn no_entity_has_version_0(db: Db) {
    for (number, method) in
        (1..).zip([EntityMethod::Replace, EntityMethod::Merge, EntityMethod::Delete])
    {
        let request = EntityRequest {
            method,
            entity_type: "Car",
            entity_id: "a",
            header: Header::default(),
            key: Some(IdempotencyKey::parse("k").unwrap()),
            precondition: Precondition::Versions([0].into()),
            condition: Field::Absent,
            attributes: Patch::parse("{}"),
        };
        let write = request.into_write(&support::clock(START)).unwrap();
        let batches = [
            vec![write.event().clone()],
            vec![write.event().clone(), car(number, "b", r#"{"flat":1}"#)],
        ];
        for batch in batches {
            assert_eq!(failed(&db.apply(&batch).await[0]), at(0, None), "{method:?}");
            assert_eq!(db.entity("Car", "a").await, None);
        }
    }
}

async fn a_merge_over_the_limit_is_refused_though_a_replace_follows(db: Db) {
    let half = json!({"a": "x".repeat(700_000)});
    let other_half = json!({"b": "x".repeat(700_000)});
    for (n, follows) in (0..).zip([replace("a", json!({})), delete("a")]) {
        db.apply(&[one(10 * n + 1, replace("a", half.clone()))]).await;
        let items = [merge("a", other_half.clone()), follows];
        let one_event = [event_of(10 * n + 2, &items)];
        let two_events = [one(10 * n + 3, items[0].clone()), one(10 * n + 4, items[1].clone())];
        for batch in [&one_event[..], &two_events] {
            let verdicts = db.apply(batch).await;
            assert!(matches!(verdicts[0], Verdict::Invalid(_)), "{:?}", verdicts[0]);
        }
    }
}

async fn a_refused_event_changes_nothing(db: Db) {
    db.apply(&[car(1, "a", r#"{"a":1}"#), car(2, "b", r#"{"b":1}"#)]).await;
    let items = [
        replace("a", json!({"new": 1})),
        delete("b"),
        merge("c", json!({})),
        with(merge("a", json!({})), json!({"expectedVersion": 1})),
    ];
    let batch = [event_of(3, &items), car(4, "a", r#"{"after":{}}"#), car(5, "c", "{}")];
    let verdicts = db.apply(&batch).await;
    // its own updates don't count: they are refused too
    assert_eq!(failed(&verdicts[0]), at(3, Some(1)));
    assert_eq!(verdicts[1..], [applied([2]), applied([1])]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"a":1,"after":{}}"#);
    assert_eq!(db.car("b").await.unwrap(), r#"{"b":1}"#);
    assert_eq!(db.store.event(uuid(3)).await.unwrap(), None);
    // its uuid is free
    assert_eq!(db.apply(&[one(3, merge("d", json!({})))]).await, [born(1)]);
}

async fn conditions_are_no_content_and_operations_are(db: Db) {
    let first = with(replace("a", json!({"a": 1})), json!({"exists": false}));
    assert_eq!(db.apply(&[one(1, first)]).await, [born(1)]);
    db.apply(&[car(2, "a", "{}")]).await;
    for condition in [json!({"exists": false}), json!({"expectedVersion": 7}), json!({})] {
        let again = one(1, with(replace("a", json!({"a": 1.0})), condition));
        assert_eq!(duplicate(&db.apply(&[again]).await[0]), [1]);
    }
    assert_eq!(db.apply(&[one(1, merge("a", json!({"a": 1})))]).await, [Verdict::Conflict]);
    db.apply(&[one(3, delete("a"))]).await;
    assert_eq!(duplicate(&db.apply(&[one(3, delete("a"))]).await[0]), [3]);
    assert_eq!(db.apply(&[one(3, replace("a", json!({})))]).await, [Verdict::Conflict]);
}

async fn atomic_events_are_refused_together(db: Db) {
    db.apply(&[car(1, "a", "{}")]).await;
    let batch = [
        one(2, delete("a")),
        one(3, with(merge("a", json!({"b": 1})), json!({"exists": true}))),
        car(4, "c", "{}"),
    ];
    let mut writer = db.store.writer();
    let verdicts = writer.apply(&batch, ApplyMode::Atomic).await.unwrap();
    assert_eq!(failed(&verdicts[1]), at(0, Some(1)));
    assert_eq!(db.entity("Car", "a").await.unwrap().version, 1);
    assert_eq!(db.entity("Car", "c").await, None);
    let batch = [
        one(2, delete("a")),
        one(3, with(merge("a", json!({"b": 1})), json!({"exists": false}))),
        one(5, with(merge("a", json!({"c": 1})), json!({"expectedVersion": 3}))),
    ];
    let verdicts = writer.apply(&batch, ApplyMode::Atomic).await.unwrap();
    assert_eq!(verdicts, [changed(2), born(3), changed(4)]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"b":1,"c":1}"#);
}

/// Its documents are read and written part by part.
async fn an_event_of_large_documents_is_judged_in_its_order(db: Db) {
    let ids: Vec<String> = (0..12).map(|n| format!("large{n}")).collect();
    for (n, id) in (0..).zip(&ids) {
        let full = json!({"a": "x".repeat((1 << 20) - 50)});
        assert_eq!(db.apply(&[one(n, merge(id, full))]).await, [born(1)]);
    }
    let expected =
        |id: &String| with(merge(id, json!({"o": {"n": 1}})), json!({"expectedVersion": 1}));
    let mut items: Vec<Value> = ids.iter().map(expected).collect();
    items.push(with(delete("large0"), json!({"expectedVersion": 2})));
    items.push(with(merge("large0", json!({"small": 1})), json!({"exists": false})));
    items.push(with(merge("large1", json!({})), json!({"expectedVersion": 1})));
    let verdicts = db.apply(&[event_of(100, &items)]).await;
    assert_eq!(failed(&verdicts[0]), at(14, Some(1)));
    assert_eq!(db.entity("Car", "large0").await.unwrap().version, 1);

    items.pop();
    let versions: Vec<u64> = [[2; 12].as_slice(), &[3, 4]].concat();
    assert_eq!(made(&db.apply(&[event_of(100, &items)]).await[0]), versions);
    assert_eq!(db.car("large0").await.unwrap(), r#"{"small":1}"#);
    assert_eq!(duplicate(&db.apply(&[event_of(100, &items)]).await[0]), versions);
}

async fn source_and_actor_are_kept(db: Db) {
    for (n, patch) in [(1, r#"{"flat":1}"#), (2, r#"{"deep":{}}"#), (3, r#"{"flat":2}"#)] {
        let body = format!(
            r#"{{"eventHeader":{{"uuid":"{}","eventName":"Tested","source":"fleet","actor":"{n}"}},
                "eventBody":{{"entities":[
                    {{"entityType":"Car","entityId":"a","updatedAttributes":{patch}}},
                    {{"entityType":"Car","entityId":"b","updatedAttributes":{patch}}}]}}}}"#,
            uuid(n)
        );
        let event = producer_core::decode::event(body.as_bytes(), &support::clock(START)).unwrap();
        let batch = if n == 3 { vec![event, car(4, "c", "{}")] } else { vec![event] };
        db.apply(&batch).await;
        let logged = db.store.event(uuid(n)).await.unwrap().unwrap();
        assert_eq!(logged.source.as_deref(), Some("fleet"));
        assert_eq!(logged.actor, Some(n.to_string()));
    }
    let logged = db.store.event(uuid(4)).await.unwrap().unwrap();
    assert_eq!((logged.source, logged.actor), (None, None));
}

const WRITERS: u128 = 8;

async fn compare_and_swap_has_one_winner_for_each_version(db: Db) {
    const EACH: u64 = 10;
    db.apply(&[car(1, "hot", r#"{"count":0}"#)]).await;
    let db = Arc::new(db);
    let start = Arc::new(Barrier::new(usize::try_from(WRITERS).unwrap()));
    let loops = (0..WRITERS).map(|who| {
        let (db, start) = (Arc::clone(&db), Arc::clone(&start));
        tokio::spawn(async move {
            let store = db.again(START).await;
            let mut writer = store.writer();
            start.wait().await;
            let (mut won, mut n) = (Vec::new(), 0);
            while won.len() < usize::try_from(EACH).unwrap() {
                n += 1;
                let now = db.entity("Car", "hot").await.unwrap();
                let count: Value = serde_json::from_str(&now.data).unwrap();
                let next = json!({"count": count["count"].as_u64().unwrap() + 1});
                let condition = json!({"expectedVersion": now.version});
                let event = one(who * 100_000 + 10 + n, with(merge("hot", next), condition));
                match &apply_through(&mut *writer, &[event]).await[0] {
                    Verdict::Applied(versions) => won.push(versions[0].version),
                    verdict => assert!(failed(verdict).1.unwrap() > now.version),
                }
            }
            store.close().await;
            won
        })
    });
    let mut won = Vec::new();
    for task in loops.collect::<Vec<_>>() {
        won.extend(task.await.unwrap());
    }
    won.sort_unstable();
    let total = u64::try_from(WRITERS).unwrap() * EACH;
    assert_eq!(won, (2..total + 2).collect::<Vec<_>>());
    assert_eq!(db.car("hot").await.unwrap(), format!(r#"{{"count":{total}}}"#));
}

/// Some writers merge, some delete: every version is made once, and what was merged since the last delete
/// is there.
async fn no_update_is_lost_while_an_entity_is_deleted_and_made_anew(db: Db) {
    let db = Arc::new(db);
    let start = Arc::new(Barrier::new(usize::try_from(WRITERS).unwrap()));
    let writers = (0..WRITERS).map(|who| {
        let (db, start) = (Arc::clone(&db), Arc::clone(&start));
        tokio::spawn(async move {
            let store = db.again(START).await;
            let mut writer = store.writer();
            start.wait().await;
            let mut applied = Vec::new();
            for n in 0..15 {
                let name = format!("w{who}n{n}");
                let item = match (who + n) % 8 {
                    0 => delete("hot"),
                    1 => replace("hot", json!({ &name: 1 })),
                    2 => merge("hot", json!({ &name: {"deep": 1} })),
                    _ => merge("hot", json!({ &name: 1 })),
                };
                let is_delete = item["operation"] == "delete";
                let event = one(who * 1000 + n, item);
                match apply_through(&mut *writer, &[event]).await.remove(0) {
                    Verdict::Applied(versions) => applied.push((versions[0], is_delete, name)),
                    verdict => assert!(is_delete && failed(&verdict).1.is_none()),
                }
            }
            store.close().await;
            applied
        })
    });
    let mut applied = Vec::new();
    for task in writers.collect::<Vec<_>>() {
        applied.extend(task.await.unwrap());
    }
    applied.sort_by_key(|(new, ..)| new.version);
    let mut exists = false;
    for (expected, (new, is_delete, name)) in (1..).zip(&applied) {
        assert_eq!((new.version, new.created), (expected, !exists), "{name}");
        exists = !is_delete;
    }
    let state = db.car("hot").await;
    assert_eq!(state.is_some(), exists);
    if let Some(state) = state {
        let (_, _, last) = applied.last().unwrap();
        assert!(state.contains(last.as_str()), "{last} is missing in {state}");
    }
}
