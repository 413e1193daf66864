//! Events that replace, delete and demand, on every way in.

use serde_json::{Value, json};

use crate::app::{Answer, TestApp, answer, car_event, car_event_with_uuid};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

/// An event of these updates of cars, whose attributes may be absent.
fn event(updates: &[Value]) -> Value {
    let updates: Vec<_> = updates
        .iter()
        .map(|update| {
            let mut update = update.clone();
            update["entityType"] = "Car".into();
            update
        })
        .collect();
    json!({"eventHeader": {"eventName": "CarChanged"}, "eventBody": {"entities": updates}})
}

fn merge(id: &str, attributes: Value) -> Value {
    json!({"entityId": id, "updatedAttributes": attributes})
}

fn replace(id: &str, attributes: Value) -> Value {
    json!({"entityId": id, "operation": "replace", "updatedAttributes": attributes})
}

fn delete(id: &str) -> Value {
    json!({"entityId": id, "operation": "delete"})
}

fn versions(answered: &Answer) -> Vec<(u64, bool)> {
    let entities = answered.body["entities"].as_array().unwrap().iter();
    entities.map(|one| (one["version"].as_u64().unwrap(), one["created"] == true)).collect()
}

async fn one_event_deletes_and_makes_anew(app: TestApp) {
    app.send(&car_event("c1", json!({"old": 1}))).await;
    let before = answer(app.get("/api/v1/entities/Car/c1")).await.body;
    let mut both = event(&[
        delete("c1"),
        merge("c1", json!({"a": {"b": 1}})),
        replace("c1", json!({"c": null, "d": 2})),
        replace("c2", json!({"new": true})),
    ]);
    both["eventHeader"]["uuid"] = UUID.into();
    both["eventHeader"]["source"] = "dealer".into();
    both["eventHeader"]["actor"] = "ada".into();
    let applied = app.send(&both).await;
    assert_eq!(versions(&applied), [(2, false), (3, true), (4, false), (1, true)]);
    assert_eq!(app.car("c1").await, json!({"d": 2}));
    let after = answer(app.get("/api/v1/entities/Car/c1")).await.body;
    assert!(after["createdAt"].as_str() > before["createdAt"].as_str());

    let logged = answer(app.get(&format!("/api/v1/events/{UUID}"))).await.body;
    let header = &logged["eventHeader"];
    assert_eq!((&header["source"], &header["actor"]), (&json!("dealer"), &json!("ada")));
    let updates = logged["eventBody"]["entities"].as_array().unwrap();
    let operations: Vec<_> = updates.iter().map(|one| one["operation"].as_str()).collect();
    assert_eq!(operations, [Some("delete"), None, Some("replace"), Some("replace")]);
    assert_eq!(updates[0]["updatedAttributes"], json!({}));

    // an operation is content, a condition, a source and an actor are not
    let mut again = both.clone();
    again["eventHeader"]["source"] = "other".into();
    again["eventBody"]["entities"][0]["expectedVersion"] = 1.into();
    again["eventBody"]["entities"][0]["updatedAttributes"] = json!({});
    let again = app.send(&again).await;
    assert_eq!(again.body["duplicate"], true);
    assert_eq!(versions(&again), versions(&applied));
    let mut other = both;
    other["eventBody"]["entities"][3]["operation"] = "merge".into();
    assert_eq!(app.send(&other).await.problem(), "conflict");
}

#[tokio::test]
async fn one_event_deletes_and_makes_anew_on_sqlite() {
    one_event_deletes_and_makes_anew(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn one_event_deletes_and_makes_anew_on_postgres() {
    one_event_deletes_and_makes_anew(TestApp::postgres().await).await;
}

async fn what_does_not_hold_refuses_the_whole_event(app: TestApp) {
    app.send(&car_event("c1", json!({"n": 1}))).await;
    let mut versioned = merge("c1", json!({"n": 2}));
    versioned["expectedVersion"] = 2.into();
    let mut new = merge("c1", json!({"n": 2}));
    new["exists"] = false.into();
    let mut known = merge("c9", json!({}));
    known["exists"] = true.into();
    for (broken, current) in
        [(versioned, json!(1)), (new, json!(1)), (known, Value::Null), (delete("c9"), Value::Null)]
    {
        let refused = app.send(&event(&[merge("c2", json!({})), broken])).await;
        assert_eq!((refused.status, refused.problem()), (412, "precondition-failed"));
        assert_eq!(refused.pointers(), ["/eventBody/entities/1"]);
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.starts_with("/eventBody/entities/1 "), "{detail}");
        assert_eq!(refused.body["currentVersion"], current);
        assert_eq!(refused.body["retryable"], false);
    }
    assert_eq!(app.car("c2").await, Value::Null);
    assert_eq!(app.car("c1").await, json!({"n": 1}));
    // each is judged by what the former made
    let mut second = merge("c1", json!({"n": 3}));
    second["expectedVersion"] = 2.into();
    assert_eq!(app.send(&event(&[merge("c1", json!({})), second])).await.status, 200);
    let gone = app.send(&event(&[delete("c1"), delete("c1")])).await;
    assert_eq!((gone.status, gone.pointers()), (412, vec!["/eventBody/entities/1".to_owned()]));
    assert_eq!(gone.body["currentVersion"], 3, "the deletion is refused too");
    assert_eq!(app.car("c1").await, json!({"n": 3}));
}

#[tokio::test]
async fn what_does_not_hold_refuses_the_whole_event_on_sqlite() {
    what_does_not_hold_refuses_the_whole_event(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn what_does_not_hold_refuses_the_whole_event_on_postgres() {
    what_does_not_hold_refuses_the_whole_event(TestApp::postgres().await).await;
}

async fn bulk_items_fail_by_themselves(app: TestApp) {
    let mut stale = merge("c1", json!({"n": 9}));
    stale["expectedVersion"] = 1.into();
    let items = [
        event(&[merge("c1", json!({"n": 1}))]),
        event(&[replace("c1", json!({"m": 2}))]),
        event(&[stale]),
        event(&[delete("c1")]),
        event(&[delete("c1")]),
        event(&[merge("c1", json!({"again": true}))]),
    ];
    let expected = [
        "processed",
        "processed",
        "precondition-failed",
        "processed",
        "precondition-failed",
        "processed",
    ];
    let array = app.bulk("", JSON, json!(items).to_string()).await;
    assert_eq!((array.status, array.statuses()), (200, expected.to_vec()));
    let results = array.body["results"].as_array().unwrap();
    assert_eq!(results[2]["currentVersion"], 2);
    assert_eq!(results[2]["errors"][0]["pointer"], "/eventBody/entities/0");
    assert!(results[4].get("currentVersion").is_some_and(Value::is_null), "{}", results[4]);
    assert!(results[0].get("currentVersion").is_none());
    assert_eq!(array.body["failedCount"], 2);
    assert_eq!(results[5]["entities"][0]["created"], true);
    assert_eq!(app.car("c1").await, json!({"again": true}));

    let lines = [
        event(&[replace("c1", json!({"line": 1}))]).to_string(),
        event(&[delete("c1")]).to_string(),
        event(&[delete("c1")]).to_string(),
    ];
    let answered = app.bulk("", NDJSON, lines.join("\n")).await;
    assert_eq!(answered.statuses(), ["processed", "processed", "precondition-failed"]);
    let failed = &answered.body["results"][2];
    assert!(failed["error"].as_str().unwrap().starts_with("line 3 of the body: "), "{failed}");
    assert!(failed["currentVersion"].is_null() && failed.get("currentVersion").is_some());
    assert_eq!(app.car("c1").await, Value::Null);
}

#[tokio::test]
async fn bulk_items_fail_by_themselves_on_sqlite() {
    bulk_items_fail_by_themselves(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn bulk_items_fail_by_themselves_on_postgres() {
    bulk_items_fail_by_themselves(TestApp::postgres().await).await;
}

async fn an_atomic_array_is_refused_as_a_whole(app: TestApp) {
    app.send(&car_event_with_uuid(UUID, "c1", json!({"n": 1}))).await;
    let atomic =
        async |items: &[Value]| app.bulk("?mode=atomic", JSON, json!(items).to_string()).await;
    let stored = atomic(&[
        event(&[delete("c1")]),
        event(&[merge("c1", json!({"n": 2}))]),
        event(&[replace("c2", json!({}))]),
    ])
    .await;
    assert_eq!(stored.statuses(), ["processed"; 3]);
    assert_eq!(app.car("c1").await, json!({"n": 2}));

    let good = event(&[delete("c2")]);
    let unmet = event(&[merge("c3", json!({})), delete("c4")]);
    let conflict = car_event_with_uuid(UUID, "c1", json!({"n": 9}));
    let invalid = event(&[json!({"entityId": "c5", "operation": "erase"})]);
    for (items, status, problem, pointers) in [
        (&[&good, &unmet][..], 412, "precondition-failed", &["/1/eventBody/entities/1"][..]),
        (&[&unmet, &conflict], 409, "conflict", &["/1/eventHeader/uuid"]),
        (&[&conflict, &unmet, &invalid], 422, "validation", &["/2/eventBody/entities/0/operation"]),
    ] {
        let items: Vec<_> = items.iter().map(|&item| item.clone()).collect();
        let refused = atomic(&items).await;
        assert_eq!((refused.status, refused.problem()), (status, problem), "{refused:?}");
        assert_eq!(refused.pointers(), pointers);
        assert_eq!(refused.body.get("currentVersion").is_some(), status == 412);
    }
    assert_eq!(app.car("c2").await, json!({}), "nothing was applied");
}

#[tokio::test]
async fn an_atomic_array_is_refused_as_a_whole_on_sqlite() {
    an_atomic_array_is_refused_as_a_whole(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn an_atomic_array_is_refused_as_a_whole_on_postgres() {
    an_atomic_array_is_refused_as_a_whole(TestApp::postgres().await).await;
}

#[tokio::test]
async fn what_an_update_must_not_have_is_listed() {
    let app = TestApp::sqlite().await;
    for (member, value, pointer) in [
        ("operation", json!("erase"), "operation"),
        ("operation", json!(1), "operation"),
        ("expectedVersion", json!(0), "expectedVersion"),
        ("expectedVersion", json!("1"), "expectedVersion"),
        ("exists", json!("yes"), "exists"),
        ("condition", json!(1), "condition"),
    ] {
        let mut update = merge("c1", json!({}));
        update[member] = value;
        let refused = app.send(&event(&[update])).await;
        assert_eq!((refused.status, refused.problem()), (422, "validation"), "{member}");
        assert_eq!(refused.pointers(), [format!("/eventBody/entities/0/{pointer}")]);
    }
    let mut both = merge("c1", json!({}));
    both["expectedVersion"] = 1.into();
    both["exists"] = true.into();
    assert_eq!(app.send(&event(&[both])).await.status, 422);
    let mut attributes = delete("c1");
    attributes["updatedAttributes"] = json!({"a": 1});
    let refused = app.send(&event(&[attributes])).await;
    assert_eq!(refused.pointers(), ["/eventBody/entities/0/updatedAttributes"]);
}
