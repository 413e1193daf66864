//! `POST /api/v1/events/bulk` with an array.

use std::time::Instant;

use serde_json::{Value, json};

use crate::app::{TIMEOUT, TestApp, answer, car_event, car_event_with_uuid};

const JSON: &str = "application/json";
const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

async fn items_are_applied_in_order_and_independently(app: TestApp) {
    let items = json!([
        car_event_with_uuid(UUID, "c1", json!({"n": 1})),
        car_event("", json!({})),
        car_event("c1", json!({"n": 2})),
        car_event_with_uuid(UUID, "c1", json!({"n": 1})),
        car_event_with_uuid(UUID, "c1", json!({"n": 9})),
        7,
    ]);
    let answered = app.bulk("", JSON, items.to_string()).await;
    assert_eq!(answered.status, 200);
    let expected = ["processed", "invalid", "processed", "duplicate", "conflict", "invalid"];
    assert_eq!(answered.statuses(), expected);
    assert_eq!(answered.body["message"], "Processed 3 events, 3 failed");
    assert_eq!(answered.body["success"], false);
    assert_eq!(answered.body["processedCount"], 3);
    assert_eq!(answered.body["failedCount"], 3);
    assert_eq!(answered.body["duplicateCount"], 1);
    assert!(answered.body["batchId"].is_string() && answered.body["processingTimeMs"].is_u64());
    let invalid = &answered.body["results"][1];
    assert_eq!(invalid["errors"][0]["pointer"], "/eventBody/entities/0/entityId");
    assert_eq!(answered.body["results"][2]["entities"][0]["version"], 2);
    assert_eq!(app.car("c1").await, json!({"n": 2}));
}

#[tokio::test]
async fn items_are_applied_in_order_and_independently_on_sqlite() {
    items_are_applied_in_order_and_independently(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn items_are_applied_in_order_and_independently_on_postgres() {
    items_are_applied_in_order_and_independently(TestApp::postgres().await).await;
}

#[tokio::test]
async fn results_can_be_narrowed() {
    let app = TestApp::sqlite().await;
    let items = json!([car_event("c1", json!({})), 7]).to_string();
    for (query, listed) in [
        ("?results=all", vec!["processed", "invalid"]),
        ("?results=failed", vec!["invalid"]),
        ("?results=none", vec![]),
        ("?results=none&other=1", vec![]),
    ] {
        assert_eq!(app.bulk(query, JSON, items.clone()).await.statuses(), listed, "{query}");
    }
    for query in ["?results=some", "?mode=fast"] {
        let bad = app.bulk(query, JSON, items.clone()).await;
        assert_eq!((bad.status, bad.problem()), (400, "malformed"), "{query}");
    }
}

#[tokio::test]
async fn a_body_other_than_an_array_of_1_to_10_000_applies_nothing() {
    let app = TestApp::sqlite().await;
    let event = car_event("c1", json!({})).to_string();
    let many = format!("[{}]", vec![event.as_str(); 10_001].join(","));
    for body in ["[]".to_owned(), String::new(), event.clone(), many] {
        let refused = app.bulk("", JSON, body).await;
        assert_eq!((refused.status, refused.problem()), (422, "validation"));
    }
    let cut = app.bulk("", JSON, format!("[{event},{{")).await;
    assert_eq!((cut.status, cut.problem()), (400, "malformed"));
    assert_eq!(answer(app.get("/api/v1/entities/Car/c1")).await.status, 404);
}

async fn atomic_is_all_or_nothing(app: TestApp) {
    let good = car_event_with_uuid(UUID, "c1", json!({"n": 1}));
    let all = app.bulk("?mode=atomic", JSON, json!([good, car_event("c2", json!({}))]).to_string());
    assert_eq!(all.await.statuses(), ["processed", "processed"]);
    let again = app.bulk("?mode=atomic", JSON, json!([good]).to_string()).await;
    assert_eq!(again.statuses(), ["duplicate"]);

    let third = car_event("c3", json!({}));
    let invalid = json!([third, car_event("", json!({}))]).to_string();
    let refused = app.bulk("?mode=atomic", JSON, invalid).await;
    assert_eq!((refused.status, refused.problem()), (422, "validation"));
    assert_eq!(refused.pointers(), ["/1/eventBody/entities/0/entityId"]);
    let conflict = json!([third, car_event_with_uuid(UUID, "c1", json!({"n": 9}))]).to_string();
    let refused = app.bulk("?mode=atomic", JSON, conflict).await;
    assert_eq!((refused.status, refused.problem()), (409, "conflict"));
    assert_eq!(app.car("c3").await, Value::Null);
}

#[tokio::test]
async fn atomic_is_all_or_nothing_on_sqlite() {
    atomic_is_all_or_nothing(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn atomic_is_all_or_nothing_on_postgres() {
    atomic_is_all_or_nothing(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_bulk_answer_lists_a_thousand_violations_at_most() {
    let app = TestApp::sqlite().await;
    let bad = json!({"eventHeader": {"eventName": ""},
        "eventBody": {"entities": vec![json!({}); 60]}});
    let answered = app.bulk("", JSON, json!(vec![bad; 20]).to_string()).await;
    let results = answered.body["results"].as_array().unwrap();
    let errors = |item: &Value| item["errors"].as_array().map_or(0, Vec::len);
    assert_eq!(results.iter().map(errors).sum::<usize>(), 1000);
    assert_eq!(results.len(), 20);
}

#[tokio::test]
async fn a_refused_atomic_array_lists_a_thousand_violations_at_most() {
    let app = TestApp::sqlite().await;
    let bad = json!({"eventHeader": {"eventName": ""},
        "eventBody": {"entities": vec![json!({}); 60]}});
    let refused = app.bulk("?mode=atomic", JSON, json!(vec![&bad; 20]).to_string()).await;
    assert_eq!((refused.status, refused.problem()), (422, "validation"));
    assert_eq!(refused.pointers().len(), 1000);
    // the name, and type, id and attributes of each entity
    assert_eq!(refused.body["errorCount"], 20 * (1 + 60 * 3), "all are counted");
    let alone = app.send(&bad).await;
    assert_eq!((alone.pointers().len(), &alone.body["errorCount"]), (100, &json!(181)));
}

#[tokio::test]
async fn an_array_takes_its_bytes_from_the_shared_budget() {
    let app = TestApp::sqlite_with(&["--body-buffer-bytes", "64KiB"]).await;
    let array = |id| json!([car_event(id, json!({"a": "x".repeat(40 << 10)}))]).to_string();
    let beyond = format!("[{}]", vec![car_event("c0", json!({})).to_string(); 600].join(","));
    let refused = app.bulk("", JSON, beyond).await;
    assert_eq!((refused.status, refused.problem()), (503, "overloaded"));

    // while one is being received there is no room for another
    let first = array("c1");
    let mut raw = app.connect().await;
    let head = format!(
        "POST /api/v1/events/bulk HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        first.len()
    );
    raw.write(head + &first[..first.len() - 1]).await;
    let deadline = Instant::now() + TIMEOUT;
    let refused = loop {
        let answered = app.bulk("", JSON, array("c2")).await;
        if answered.status != 200 {
            break answered;
        }
        assert!(Instant::now() < deadline, "there is room for both");
    };
    assert_eq!((refused.status, refused.problem()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), "1");
    raw.write(&first[first.len() - 1..]).await;
    assert_eq!(raw.read_success().await["processedCount"], 1);
    assert_eq!(app.bulk("", JSON, array("c2")).await.status, 200, "its bytes are returned");
    assert_eq!(app.car("c0").await, Value::Null);
}
