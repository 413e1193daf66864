//! `POST /api/v1/events/bulk` with NDJSON.

use producer_test_support::Postgres;
use serde_json::{Value, json};

use crate::app::{TestApp, car_event, car_event_with_uuid};

const NDJSON: &str = "application/x-ndjson";
const HEAD: &str = "POST /api/v1/events/bulk HTTP/1.1\r\nhost: x\r\n\
    content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn lines_are_items_and_empty_ones_are_skipped() {
    let app = TestApp::sqlite().await;
    let line = |n: u64| car_event("c1", json!({"n": n})).to_string();
    let body = format!("{}\r\n\n\r\n \t \n{}\nnonsense\n{}\n ", line(1), line(2), line(3));
    for media in [NDJSON, "application/jsonl"] {
        let answered = app.bulk("", media, body.clone()).await;
        assert_eq!(answered.status, 200);
        assert_eq!(answered.statuses(), ["processed", "processed", "invalid", "processed"]);
    }
    assert_eq!(app.car("c1").await, json!({"n": 3}));
}

#[tokio::test]
async fn an_invalid_line_affects_no_other() {
    let app = TestApp::sqlite_with(&["--max-body-bytes", "200KiB"]).await;
    let good = car_event("c1", json!({})).to_string();
    let long = " ".repeat(300 << 10);
    let body = [good.as_bytes(), b"\n\xff\xfe\n", long.as_bytes(), b"\n", good.as_bytes()].concat();
    let request = app.post("/api/v1/events/bulk").header("content-type", NDJSON).body(body);
    let answered = crate::app::answer(request).await;
    assert_eq!(answered.statuses(), ["processed", "invalid", "invalid", "processed"]);
}

#[tokio::test]
async fn an_error_names_the_line_of_the_body() {
    let app = TestApp::sqlite_with(&["--max-body-bytes", "200KiB"]).await;
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    let first = car_event_with_uuid(uuid, "c1", json!({"n": 1})).to_string();
    let conflict = car_event_with_uuid(uuid, "c1", json!({"n": 2})).to_string();
    let invalid = car_event("", json!({})).to_string();
    let long = "7".repeat(300 << 10);
    let body = format!("\n{first}\r\n \r\n{first}\n{conflict}\n\n{invalid}\n{{\"a\" 1}}\n{long}");
    let answered = app.bulk("", NDJSON, body).await;
    let expected = ["processed", "duplicate", "conflict", "invalid", "invalid", "invalid"];
    assert_eq!(answered.statuses(), expected);
    assert_eq!(
        (&answered.body["processedCount"], &answered.body["duplicateCount"]),
        (&json!(2), &json!(1))
    );
    let errors: Vec<_> =
        (2..6).map(|at| answered.body["results"][at]["error"].as_str().unwrap()).collect();
    assert_eq!(
        errors,
        [
            "line 5 of the body: the uuid or idempotency key is already used by an event with other content",
            "line 7 of the body: /eventBody/entities/0/entityId must not be empty",
            "line 8 of the body, column 6: not valid JSON, expected ':'",
            "line 9 of the body: longer than 204800 bytes (MAX_BODY_BYTES)",
        ]
    );
    let pointer = &answered.body["results"][3]["errors"][0]["pointer"];
    assert_eq!(pointer, "/eventBody/entities/0/entityId", "pointers stay relative to the item");
}

#[tokio::test]
async fn a_body_without_lines_is_422_and_atomic_400() {
    let app = TestApp::sqlite().await;
    let empty = app.bulk("", NDJSON, "\n\r\n").await;
    assert_eq!((empty.status, empty.problem()), (422, "validation"));
    let atomic = app.bulk("?mode=atomic", NDJSON, "{}").await;
    assert_eq!((atomic.status, atomic.problem()), (400, "malformed"));
}

#[tokio::test]
async fn events_are_applied_while_the_client_keeps_sending() {
    let app = TestApp::sqlite().await;
    let mut raw = app.connect().await;
    raw.write(HEAD).await;
    raw.write(chunk(&format!("{}\n", car_event("early", json!({"here": true}))))).await;
    app.until_car("early", json!({"here": true})).await;
    raw.write(chunk(&car_event("late", json!({})).to_string())).await;
    raw.write("0\r\n\r\n").await;
    assert!(raw.read_until("\"results\":[").await.contains("\"processedCount\":2"));
}

#[tokio::test]
async fn a_stalled_body_ends_there_and_what_came_before_stands() {
    let app = TestApp::sqlite_with(&["--body-timeout", "200ms"]).await;
    let mut raw = app.connect().await;
    raw.write(HEAD).await;
    let event = car_event("c1", json!({"n": 1}));
    raw.write(chunk(&format!("{event}\n{{\"eventHeader\""))).await;
    let answered = raw.read_success().await;
    assert_eq!(answered["success"], false);
    assert_eq!(answered["results"][1]["status"], "invalid");
    let error = "line 2 of the body: the body came too slowly";
    assert_eq!(answered["results"][1]["error"], error);
    assert_eq!((&answered["processedCount"], &answered["failedCount"]), (&json!(1), &json!(1)));
    assert_eq!(app.car("c1").await, json!({"n": 1}));
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_ends_there() {
    let app = TestApp::sqlite().await;
    let request = app.post("/api/v1/events/bulk").header("content-type", NDJSON);
    let answered =
        crate::app::answer(request.header("content-encoding", "gzip").body("no gzip")).await;
    assert_eq!((answered.status, answered.statuses()), (200, vec!["invalid"]));
}

#[tokio::test]
async fn more_than_ten_thousand_results_keep_the_failures() {
    let app = TestApp::sqlite().await;
    let good = car_event("c1", json!({})).to_string();
    let body = format!("{}nonsense", format!("{good}\n").repeat(10_005));
    let answered = app.bulk("", NDJSON, body).await;
    assert_eq!(answered.body["processedCount"], 10_005);
    assert_eq!(answered.body["resultsOmitted"], 6);
    let results = answered.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 10_000);
    assert_eq!(results[9_998]["index"], 9_998);
    assert_eq!(
        (&results[9_999]["index"], &results[9_999]["status"]),
        (&json!(10_005), &json!("invalid"))
    );
}

#[tokio::test]
async fn all_lines_together_list_a_thousand_violations_at_most() {
    let app = TestApp::sqlite().await;
    let bad = json!({"eventHeader": {"eventName": ""},
        "eventBody": {"entities": vec![json!({}); 60]}});
    let answered = app.bulk("", NDJSON, format!("{bad}\n").repeat(20)).await;
    let results = answered.body["results"].as_array().unwrap();
    let listed = |item: &Value| item["errors"].as_array().map_or(0, Vec::len);
    assert_eq!((results.len(), results.iter().map(listed).sum::<usize>()), (20, 1000));
    assert_eq!(listed(&results[9]), 100);
    let last = results[19]["error"].as_str().unwrap();
    assert!(last.ends_with("(and 180 more)"), "all are counted: {last}");
}

#[tokio::test]
async fn draining_answers_what_was_read() {
    let app = TestApp::sqlite().await;
    let mut raw = app.connect().await;
    raw.write(HEAD).await;
    raw.write(chunk(&format!("{}\n", car_event("c1", json!({"n": 1}))))).await;
    app.until_car("c1", json!({"n": 1})).await;
    app.shutdown.cancel();
    app.ingest.drain();
    let answered = raw.read_success().await;
    assert_eq!((&answered["success"], &answered["processedCount"]), (&json!(false), &json!(1)));
    raw.write("0\r\n\r\n").await;
    app.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_far_over_every_limit_streams_through() {
    let limits = ["--max-body-bytes", "300KiB", "--body-buffer-bytes", "1MiB"];
    // speed isn't tested here
    let timeout = ["--request-timeout", "60s"];
    let app = TestApp::sqlite_with(&[&limits[..], &timeout].concat()).await;
    let line = format!("{}\n", car_event("c1", json!({"text": "x".repeat(200 << 10)})));
    let mut raw = app.connect().await;
    raw.write(HEAD).await;
    for _ in 0..100 {
        raw.write(chunk(&line)).await;
    }
    raw.write("0\r\n\r\n").await;
    let answered = raw.read_success().await;
    assert_eq!(
        (&answered["success"], &answered["processedCount"]),
        (&json!(true), &json!(100)),
        "{answered}"
    );
}

#[tokio::test]
async fn a_database_that_stops_midway_is_answered_at_once() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let app = TestApp::on(database.url()).await;
    let mut raw = app.connect().await;
    raw.write(HEAD).await;
    raw.write(chunk(&format!("{}\n", car_event("c1", json!({"n": 1}))))).await;
    app.until_car("c1", json!({"n": 1})).await;
    server.stop();
    raw.write(chunk(&format!("{}\n", car_event("c1", json!({"n": 2}))))).await;
    // the answer comes although the body hasn't ended
    let answered = raw.read_success().await;
    assert_eq!((&answered["success"], &answered["processedCount"]), (&json!(false), &json!(1)));
    let second = &answered["results"][1];
    assert!(second["status"] == "unavailable" || second["status"] == "unknown", "{answered}");
    assert!(second["eventId"].is_string());
    // the rest of the body is read and dropped
    raw.write(chunk(&format!("{}\n", car_event("c1", json!({"n": 3}))))).await;
    raw.write("0\r\n\r\n").await;
    let again = app.bulk("", NDJSON, car_event("c1", json!({})).to_string()).await;
    assert_eq!(again.status, 503, "{again:?}");
}
