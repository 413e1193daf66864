//! Errors outside of the routes, and what every answer has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use producer_core::Clock;
use serde_json::json;

use crate::app::{TestApp, answer, car_event};

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let app = TestApp::sqlite().await;
    let unknown = answer(app.get("/api/v2/events")).await;
    assert_eq!((unknown.status, unknown.problem()), (404, "not-found"));
    let method = answer(app.get("/api/v1/events")).await;
    assert_eq!((method.status, method.problem()), (405, "method"));
    assert_eq!(method.header("allow"), "POST");
    let method = answer(app.request("POST", "/api/v1/entities/Car/c1")).await;
    assert_eq!((method.status, method.problem()), (405, "method"));
    assert_eq!(method.header("allow"), "GET,HEAD,PUT,PATCH,DELETE");
}

#[tokio::test]
async fn a_client_that_excludes_json_gets_406() {
    let app = TestApp::sqlite().await;
    let refused = answer(app.get("/livez").header("accept", "text/html")).await;
    assert_eq!((refused.status, refused.problem()), (406, "not-acceptable"));
    for accept in ["*/*", "application/*", "text/html, application/json;q=0.5"] {
        assert_eq!(answer(app.get("/livez").header("accept", accept)).await.status, 200);
    }
}

#[tokio::test]
async fn the_most_specific_range_decides_whether_json_is_accepted() {
    let app = TestApp::sqlite().await;
    for (accept, status) in [
        ("application/json;q=0, */*", 406),
        ("*/*, application/*;q=0", 406),
        ("application/json, */*;q=0", 200),
        ("text/html;q=0, */*;q=0.1", 200),
    ] {
        let answered = answer(app.get("/livez").header("accept", accept)).await;
        assert_eq!(answered.status, status, "{accept}");
    }
}

#[tokio::test]
async fn a_client_that_refuses_all_encodings_is_answered_unencoded() {
    let app = TestApp::sqlite().await;
    let event = car_event("c1", json!({"text": "x".repeat(5000)}));
    for (accept, encoding) in [
        ("identity;q=0", ""),
        ("*;q=0", ""),
        ("br, *;q=0.000", ""),
        ("gzip;q=0, Identity; q=0", ""),
        ("identity;q=0, gzip;q=0.5", "gzip"),
        ("zstd;q=0.1, *;q=0", "zstd"),
    ] {
        let stored =
            answer(app.post("/api/v1/events").header("accept-encoding", accept).json(&event)).await;
        assert_eq!(stored.status, 200, "{accept}");
        let read = app.get("/api/v1/entities/Car/c1").header("accept-encoding", accept);
        let read = answer(read).await;
        assert_eq!((read.status, read.header("content-encoding")), (200, encoding), "{accept}");
    }
}

#[tokio::test]
async fn a_valid_request_id_is_returned_and_an_invalid_one_replaced() {
    let app = TestApp::sqlite().await;
    let kept = answer(app.get("/nowhere").header("x-request-id", "mine-1")).await;
    assert_eq!((kept.problem(), kept.header("x-request-id")), ("not-found", "mine-1"));
    let long = "x".repeat(129);
    let made = answer(app.get("/livez").header("x-request-id", &long)).await;
    assert!((1..=128).contains(&made.header("x-request-id").len()));
}

/// A clock that panics once after it is armed. It is asked for the uuid of an event without one.
pub(crate) fn defective() -> (Clock, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let (system, trigger) = (Clock::system(), Arc::clone(&armed));
    let clock = Clock::from_fn(move || {
        assert!(!trigger.swap(false, Ordering::SeqCst), "a defect with a secret");
        system.now()
    });
    (clock, armed)
}

#[tokio::test]
async fn a_defect_is_a_problem_without_internals_and_the_connection_goes_on() {
    let (clock, armed) = defective();
    let app = TestApp::sqlite_with_clock(clock).await;
    let mut raw = app.connect().await;
    for (path, array) in [("", false), ("/bulk", true)] {
        let event = car_event("c1", json!({"path": path}));
        let body = if array { json!([event]) } else { event }.to_string();
        let request = format!(
            "POST /api/v1/events{path} HTTP/1.1\r\nhost: x\r\nx-request-id: mine\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        armed.store(true, Ordering::SeqCst);
        raw.write(&request).await;
        let answered = raw.read_until("}").await;
        assert!(answered.starts_with("HTTP/1.1 500"), "{answered}");
        assert!(
            answered.contains("x-request-id: mine") && answered.contains(r#""requestId":"mine""#)
        );
        assert!(
            answered.contains("application/problem+json") && answered.contains("problem:internal")
        );
        for internals in ["secret", "panic", ".rs"] {
            assert!(!answered.contains(internals), "{answered}");
        }
        // the same connection, the same request
        raw.write(&request).await;
        assert_eq!(raw.read_success().await["success"], true);
        assert_eq!(app.car("c1").await, json!({"path": path}));
    }
}
