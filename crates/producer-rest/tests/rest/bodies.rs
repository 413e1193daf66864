//! Bodies that are too large, too slow, truncated, or encoded otherwise than declared.

use std::time::Duration;

use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use crate::app::{Answer, TestApp, answer, car_event};

async fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzipEncoder::new(plain).read_to_end(&mut out).await.unwrap();
    out
}

async fn zstd(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ZstdEncoder::new(plain).read_to_end(&mut out).await.unwrap();
    out
}

async fn send_coded(app: &TestApp, coding: &str, body: Vec<u8>) -> Answer {
    answer(app.post("/api/v1/events").header("content-encoding", coding).body(body)).await
}

#[tokio::test]
async fn gzip_and_zstd_are_accepted() {
    let app = TestApp::sqlite().await;
    let event = car_event("c1", json!({"a": 1})).to_string();
    assert_eq!(send_coded(&app, "gzip", gzip(event.as_bytes()).await).await.status, 200);
    assert_eq!(send_coded(&app, "zstd", zstd(event.as_bytes()).await).await.status, 200);
    let broken = send_coded(&app, "gzip", event.into_bytes()).await;
    assert_eq!((broken.status, broken.problem()), (400, "malformed"));
    let unknown = send_coded(&app, "br", vec![]).await;
    assert_eq!((unknown.status, unknown.problem()), (415, "media-type"));
    assert!(unknown.body["detail"].as_str().unwrap().contains("gzip, zstd"));
}

#[tokio::test]
async fn a_truncated_compressed_body_is_malformed() {
    let app = TestApp::sqlite().await;
    let event = car_event("c1", json!({"a": 1})).to_string();
    for (coding, mut body) in
        [("gzip", gzip(event.as_bytes()).await), ("zstd", zstd(event.as_bytes()).await)]
    {
        body.truncate(body.len() / 2);
        let cut = send_coded(&app, coding, body).await;
        assert_eq!((cut.status, cut.problem()), (400, "malformed"), "{coding}");
    }
}

#[tokio::test]
async fn bombs_end_at_the_limit() {
    let app = TestApp::sqlite_with(&["--max-body-bytes", "1MiB"]).await;
    let zeros = vec![b' '; 64 << 20];
    for (coding, bomb) in [("gzip", gzip(&zeros).await), ("zstd", zstd(&zeros).await)] {
        assert!(bomb.len() < 1 << 20);
        let refused = send_coded(&app, coding, bomb).await;
        assert_eq!((refused.status, refused.problem()), (413, "too-large"), "{coding}");
    }
    // frames without output are limited by their encoded bytes
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 0xf8, 0xff, 0x0f, 0x00][..], &[0; 0xffff8]].concat();
    let refused = send_coded(&app, "zstd", [skippable.clone(), skippable].concat()).await;
    assert_eq!((refused.status, refused.problem()), (413, "too-large"));
}

#[tokio::test]
async fn a_zstd_window_over_8_mib_is_refused() {
    let app = TestApp::sqlite().await;
    // magic, a frame header that asks for a 128 MiB window, an empty last block
    let body = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0x00, 0x00];
    let refused = send_coded(&app, "zstd", body).await;
    assert_eq!((refused.status, refused.problem()), (400, "malformed"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_its_sender_gets_the_answer() {
    let app = TestApp::sqlite_with(&["--max-body-bytes", "64KiB"]).await;
    let large = car_event("c1", json!({"a": "x".repeat(4 << 20)}));
    let refused = app.send(&large).await;
    assert_eq!((refused.status, refused.problem()), (413, "too-large"));
    let mut raw = app.connect().await;
    raw.write("POST /api/v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..64 {
        raw.write(format!("8000\r\n{}\r\n", " ".repeat(0x8000))).await;
    }
    raw.write("0\r\n\r\n").await;
    assert!(raw.read_until("too-large").await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn an_upload_that_no_route_accepts_gets_its_answer() {
    let app = TestApp::sqlite().await;
    for (target, accept, status) in [
        ("POST /nope", "*/*", "404"),
        ("PUT /api/v1/events", "*/*", "405"),
        ("POST /api/v1/events", "text/html", "406"),
    ] {
        let mut raw = app.connect().await;
        raw.write(format!(
            "{target} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\ncontent-length: {}\r\n\r\n",
            12 << 20
        ))
        .await;
        raw.write(vec![b' '; 12 << 20]).await;
        let answered = raw.read_until("requestId").await;
        assert!(answered.starts_with(&format!("HTTP/1.1 {status}")), "{answered}");
    }
}

/// Neither if the answer waits for the body nor if it comes before it.
#[tokio::test]
async fn a_body_may_take_longer_than_a_head() {
    let app = TestApp::sqlite_with(&["--header-timeout", "200ms"]).await;
    let mut raw = app.connect().await;
    let event = car_event("c1", json!({})).to_string();
    for (target, answer) in [("/nope", "not-found"), ("/api/v1/events", "eventId")] {
        let length = event.len();
        raw.write(format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"))
            .await;
        let (begin, end) = event.split_at(length / 2);
        for part in [begin, end] {
            sleep(Duration::from_millis(500)).await;
            raw.write(part).await;
        }
        raw.read_until(answer).await;
        // nor does the head's deadline apply between requests
        sleep(Duration::from_millis(500)).await;
    }
    raw.write("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(raw.read_to_end().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_slow_body_times_out_with_nothing_applied() {
    let app = TestApp::sqlite_with(&["--body-timeout", "200ms"]).await;
    let mut raw = app.connect().await;
    raw.write("POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{").await;
    let answered = raw.read_until("problem:timeout").await;
    assert!(answered.starts_with("HTTP/1.1 408"), "{answered}");
}

#[tokio::test]
async fn a_client_that_disconnects_midway_stores_nothing() {
    let app = TestApp::sqlite().await;
    let event = car_event("c1", json!({"a": 1})).to_string();
    let mut raw = app.connect().await;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        event.len()
    );
    raw.write(head + &event[..event.len() - 1]).await;
    drop(raw);
    assert_eq!(app.send(&car_event("c2", json!({}))).await.status, 200);
    assert_eq!(answer(app.get("/api/v1/entities/Car/c1")).await.status, 404);
}

#[tokio::test]
async fn the_answer_to_an_unsupported_media_type_names_supported_ones() {
    let app = TestApp::sqlite().await;
    let event = car_event("c1", json!({})).to_string();
    for media in ["text/plain", "application/x-ndjson", "application/xml", "nonsense"] {
        let request = app.post("/api/v1/events").header("content-type", media);
        let refused = answer(request.body(event.clone())).await;
        assert_eq!((refused.status, refused.problem()), (415, "media-type"), "{media}");
        assert!(refused.body["detail"].as_str().unwrap().contains("application/json"));
    }
    for media in ["application/json; charset=utf-8", "Application/JSON", ""] {
        let request = app.post("/api/v1/events").header("content-type", media);
        assert_eq!(answer(request.body(event.clone())).await.status, 200, "{media}");
    }
}

#[tokio::test]
async fn a_body_over_the_shared_budget_is_overloaded() {
    let app = TestApp::sqlite_with(&["--body-buffer-bytes", "1KiB"]).await;
    let refused = app.send(&car_event("c1", json!({"a": "x".repeat(2000)}))).await;
    assert_eq!((refused.status, refused.problem()), (503, "overloaded"));
    assert_eq!(app.send(&car_event("c1", json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_request_over_the_concurrency_limit_is_overloaded_and_health_still_answers() {
    let app = TestApp::sqlite_with(&["--max-concurrent-requests", "1"]).await;
    let event = car_event("c1", json!({})).to_string();
    let mut raw = app.connect().await;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        event.len()
    );
    raw.write(head).await;
    raw.read_until("100 Continue\r\n\r\n").await;
    let refused = app.send(&car_event("c2", json!({}))).await;
    assert_eq!((refused.status, refused.problem()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), "1");
    for path in ["/api/v1/entities/Car/c1", "/api/v1/events/550e8400-e29b-41d4-a716-446655440000"] {
        assert_eq!(answer(app.get(path)).await.problem(), "overloaded", "{path}");
    }
    for (method, path) in [
        ("POST", "/api/v1/entities/Car"),
        ("PUT", "/api/v1/entities/Car/c1"),
        ("PATCH", "/api/v1/entities/Car/c1"),
        ("DELETE", "/api/v1/entities/Car/c1"),
    ] {
        assert_eq!(answer(app.request(method, path)).await.problem(), "overloaded", "{method}");
    }
    for path in ["/livez", "/readyz", "/api/v1/events/health", "/metrics"] {
        assert_eq!(app.get(path).send().await.unwrap().status(), 200, "{path}");
    }
    raw.write(&event).await;
    assert_eq!(raw.read_success().await["success"], true, "the admitted request is served");
    assert_eq!(app.send(&car_event("c2", json!({}))).await.status, 200, "its slot is free");
}
