//! The service's metrics.

use serde_json::json;

use crate::app::{TestApp, answer, car_event, car_event_with_uuid};

/// The value of a series, which must be there.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    assert!(value.is_some(), "{series} in {text}");
    value.unwrap().parse().unwrap()
}

#[track_caller]
fn events(text: &str, result: &str) -> f64 {
    value(text, &format!("producer_events_total{{result=\"{result}\"}}"))
}

#[track_caller]
fn requests(text: &str, route: &str, method: &str, status: &str) -> f64 {
    let labels = format!("api=\"rest\",method=\"{method}\",route=\"{route}\",status=\"{status}\"");
    value(text, &format!("producer_requests_total{{{labels}}}"))
}

async fn metrics(app: &TestApp) -> String {
    let answer = app.get("/metrics").header("accept", "text/plain").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let media = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(media.starts_with("text/plain; version=0.0.4"), "{media}");
    answer.text().await.unwrap()
}

#[tokio::test]
async fn events_are_counted_by_the_result_that_their_sender_got() {
    let app = TestApp::sqlite().await;
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    app.send(&car_event_with_uuid(uuid, "c1", json!({"km": 1}))).await;
    app.send(&car_event("c1", json!({"km": 2}))).await;
    app.send(&car_event_with_uuid(uuid, "c1", json!({"km": 1}))).await;
    app.send(&car_event_with_uuid(uuid, "c1", json!({"km": 9}))).await;
    app.send(&car_event("", json!({}))).await;
    let lines = format!("{}\nno json\n", car_event("c2", json!({})));
    app.bulk("", "application/x-ndjson", lines).await;
    let array = json!([car_event("c3", json!({})), {}]).to_string();
    app.bulk("?mode=atomic", "application/json", array).await;
    app.ingest.drain();
    app.send(&car_event("c1", json!({}))).await;

    let text = metrics(&app).await;
    let results = ["created", "updated", "duplicate", "conflict", "invalid", "refused", "unknown"];
    let counts = results.map(|result| events(&text, result));
    assert_eq!(counts, [2.0, 1.0, 1.0, 1.0, 4.0, 1.0, 0.0], "{text}");
    assert_eq!(value(&text, "producer_entity_updates_total"), 3.0);
    assert_eq!(value(&text, "producer_ingest_queue_events"), 0.0);
    assert_eq!(value(&text, "producer_ingest_queue_bytes"), 0.0);
    assert_eq!(value(&text, "producer_ingest_queue_oldest_age_seconds"), 0.0);
    assert_eq!(value(&text, "producer_ingest_batch_events_sum"), 5.0);
    assert_eq!(value(&text, "producer_ingest_commit_duration_seconds_count"), 5.0);
    assert!(value(&text, "producer_ingest_commit_duration_seconds_sum") > 0.0);
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let app = TestApp::sqlite().await;
    app.send(&car_event("c1", json!({}))).await;
    app.send(&car_event("", json!({}))).await;
    for id in ["c1", "none", "none"] {
        answer(app.get(&format!("/api/v1/entities/Car/{id}"))).await;
    }
    answer(app.get("/nowhere/at-all")).await;
    answer(app.request("BREW", "/api/v1/events")).await;
    metrics(&app).await;

    let text = metrics(&app).await;
    assert_eq!(requests(&text, "/api/v1/events", "POST", "200"), 1.0);
    assert_eq!(requests(&text, "/api/v1/events", "POST", "422"), 1.0);
    assert_eq!(requests(&text, "/api/v1/entities/{type}/{id}", "GET", "200"), 1.0);
    assert_eq!(requests(&text, "/api/v1/entities/{type}/{id}", "GET", "404"), 2.0);
    assert_eq!(requests(&text, "other", "GET", "404"), 1.0);
    assert_eq!(requests(&text, "/api/v1/events", "other", "405"), 1.0);
    assert_eq!(requests(&text, "/metrics", "GET", "200"), 1.0, "this one isn't answered yet");
    assert_eq!(value(&text, "producer_requests_in_flight"), 1.0);
    let labels = "api=\"rest\",method=\"POST\",route=\"/api/v1/events\"";
    let duration = format!("producer_request_duration_seconds_count{{{labels}}}");
    assert_eq!(value(&text, &duration), 2.0);
    assert!(!text.contains("c1") && !text.contains("at-all"), "no ids as labels: {text}");
}

#[tokio::test]
async fn writes_of_entities_are_counted_as_the_events_that_they_are() {
    let app = TestApp::sqlite().await;
    const CAR: &str = "/api/v1/entities/Car/c1";
    for (method, body) in [("PUT", "{}"), ("PATCH", "{}"), ("PATCH", "{\"a\" 1}"), ("PATCH", "[]")]
    {
        answer(app.request(method, CAR).body(body)).await;
    }
    for tag in ["\"1\"", "\"2\"", "*"] {
        answer(app.request("DELETE", CAR).header("if-match", tag)).await;
    }
    answer(app.request("DELETE", CAR)).await;
    answer(app.request("PUT", CAR).header("origin", "https://a.example").body("{}")).await;

    let text = metrics(&app).await;
    let results = ["created", "updated", "invalid", "refused"];
    assert_eq!(results.map(|result| events(&text, result)), [1.0, 2.0, 2.0, 0.0], "{text}");
    assert_eq!(value(&text, "producer_entity_updates_total"), 3.0);
    let route = "/api/v1/entities/{type}/{id}";
    for (method, status, count) in [
        ("PUT", "201", 1.0),
        ("PUT", "403", 1.0),
        ("PATCH", "200", 1.0),
        ("PATCH", "400", 1.0),
        ("PATCH", "422", 1.0),
        ("DELETE", "200", 1.0),
        ("DELETE", "412", 2.0),
        ("DELETE", "404", 1.0),
    ] {
        assert_eq!(requests(&text, route, method, status), count, "{method} {status}");
    }
}

#[tokio::test]
async fn reads_of_the_history_are_counted_by_their_routes() {
    const ENTITY: &str = "/api/v1/entities/{type}/{id}";
    let app = TestApp::sqlite().await;
    app.send(&car_event("c1", json!({"a": 1}))).await;
    for route in ["", "/history", "/diff", "/provenance"] {
        let good = if route == "/diff" { "?from=1" } else { "" };
        for (id, query) in [("c1", good), ("none", good), ("c1", "?version=0")] {
            answer(app.get(&format!("/api/v1/entities/Car/{id}{route}{query}"))).await;
        }
    }
    let text = metrics(&app).await;
    for route in ["", "/history", "/diff", "/provenance"] {
        for status in ["200", "400", "404"] {
            let count = requests(&text, &format!("{ENTITY}{route}"), "GET", status);
            assert_eq!(count, 1.0, "{route} {status}");
        }
    }
    assert!(!text.contains("c1"), "no ids as labels: {text}");
}

async fn pool_and_process_have_their_metrics(app: TestApp, max: f64) {
    answer(app.get("/api/v1/entities/Car/c1")).await;
    let text = metrics(&app).await;
    assert_eq!(value(&text, "producer_database_pool_max_connections"), max);
    let open = value(&text, "producer_database_pool_connections");
    let idle = value(&text, "producer_database_pool_idle_connections");
    assert!((1.0..=max).contains(&open) && idle <= open, "{text}");
    assert_eq!(value(&text, "producer_database_pool_used_connections"), open - idle);
    assert!(value(&text, "producer_database_pool_wait_seconds_count") >= 1.0);
    assert!(value(&text, "process_cpu_seconds_total") > 0.0);
    assert!(value(&text, "process_resident_memory_bytes") > f64::from(1 << 20));
    assert!(value(&text, "process_open_fds") > 3.0);
    assert!(value(&text, "process_max_fds") > 3.0);
    assert!(value(&text, "process_start_time_seconds") > 1.7e9);
}

#[tokio::test]
async fn pool_and_process_have_their_metrics_on_sqlite() {
    pool_and_process_have_their_metrics(TestApp::sqlite().await, 4.0).await;
}

#[tokio::test]
async fn pool_and_process_have_their_metrics_on_postgres() {
    pool_and_process_have_their_metrics(TestApp::postgres().await, 8.0).await;
}

#[tokio::test]
async fn with_an_admin_port_clients_see_no_metrics() {
    let app = TestApp::sqlite_with(&["--admin-port", "0"]).await;
    let hidden = answer(app.get("/metrics")).await;
    assert_eq!((hidden.status, hidden.problem()), (404, "not-found"));
    let document = answer(app.get("/openapi.json")).await.body;
    assert!(document["paths"].get("/metrics").is_none());
}
