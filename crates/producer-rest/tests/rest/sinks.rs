//! `/api/v1/sinks` and what is below it.

use producer_core::feed::Token;
use producer_core::worker::{Report, Role};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Answer, TestApp, answer, car_event};
use crate::workers::{
    AT, add, caught_up, end_of_log, refused, register, report, run, stuck, waiting,
};

const SINKS: &str = "/api/v1/sinks";
const SINK: &str = "/api/v1/sinks/order-events";
const FOREIGN: &str = "https://foreign.example";

async fn post(app: &TestApp, action: &str, body: Option<Value>) -> Answer {
    let request = app.post(&format!("{SINK}/{action}"));
    answer(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

#[track_caller]
fn assert_refused(answered: &Answer, status: u16, kind: &str, detail: &str) {
    assert_eq!((answered.status, answered.problem()), (status, kind), "{answered:?}");
    let found = answered.body["detail"].as_str().unwrap();
    assert!(found.contains(detail), "{found}");
}

async fn a_sink_is_seen(app: TestApp) {
    assert_refused(&answer(app.get(SINK)).await, 404, "not-found", "no such sink");
    assert_eq!(answer(app.get(SINKS)).await.body, json!({"sinks": []}));

    register(&app, Role::Sink, "order-events").await;
    let token = end_of_log(&app).await.to_string();
    let expected = json!({
        "name": "order-events", "kind": "redis-stream", "state": "unassigned", "token": token,
        "lagChanges": 0, "lagSeconds": 0.0, "caughtUp": false, "breaker": "closed", "deadLetters": 0
    });
    let unassigned = answer(app.get(SINK)).await;
    assert_eq!((unassigned.status, &unassigned.body), (200, &expected));
    assert_eq!(unassigned.header("cache-control"), "no-store");
    assert_eq!(answer(app.get(SINKS)).await.body, json!({"sinks": [expected]}));

    let lease = run(&app, Role::Sink, "order-events").await;
    report(&app, &lease, &caught_up()).await;
    let running = answer(app.get(SINK)).await.body;
    assert_eq!((&running["state"], &running["worker"]), (&json!("running"), &json!("worker-1")));
    assert_eq!(running["caughtUp"], true);
    assert!(running.get("current").is_none() && running.get("lastError").is_none());

    for n in 0..2 {
        app.send(&car_event("c1", json!({"n": n}))).await;
    }
    report(&app, &lease, &stuck(&token)).await;
    add(&app, &lease, &[refused(1, "a", 1), waiting(2, "a", 2)]).await;
    let stuck = answer(app.get(SINK)).await.body;
    assert_eq!((&stuck["state"], &stuck["breaker"]), (&json!("retrying"), &json!("open")));
    let current = json!({"token": token, "entityType": "Order", "entityId": "4711", "tries": 12});
    assert_eq!(stuck["current"], current);
    let error = json!({"at": AT, "detail": "the connection was refused"});
    assert_eq!(stuck["lastError"], error);
    assert_eq!((&stuck["lagChanges"], &stuck["deadLetters"]), (&json!(2), &json!(2)));
    assert!(stuck["lagSeconds"].as_f64() >= Some(0.0), "{stuck}");
    assert_eq!(stuck["caughtUp"], false);

    // one of another role has its own names
    let none = answer(app.get("/api/v1/sources/order-events")).await;
    assert_refused(&none, 404, "not-found", "no such source");
    register(&app, Role::Sink, "a").await;
    let listed = answer(app.get(SINKS)).await.body;
    let names = listed["sinks"].as_array().unwrap().iter().map(|sink| &sink["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["a", "order-events"]);
    let head = answer(app.request("HEAD", SINK)).await;
    assert_eq!(head.status, 200);
}

#[tokio::test]
async fn a_sink_is_seen_on_sqlite() {
    a_sink_is_seen(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_sink_is_seen_on_postgres() {
    a_sink_is_seen(TestApp::postgres().await).await;
}

async fn a_sink_is_paused_and_resumed(app: TestApp) {
    let lease = run(&app, Role::Sink, "order-events").await;
    for (action, state, paused) in [
        ("resume", "running", false),
        ("pause", "paused", true),
        ("pause", "paused", true),
        ("resume", "running", false),
    ] {
        let answered = post(&app, action, None).await;
        assert_eq!((answered.status, &answered.body["state"]), (200, &json!(state)));
        assert_eq!(answered.header("cache-control"), "no-store");
        let control = report(&app, &lease, &Report::default()).await;
        assert_eq!(control.paused, paused, "{action}");
    }
    // a pause outlives its worker
    post(&app, "pause", None).await;
    app.store.release(&lease).await.unwrap();
    let left = answer(app.get(SINK)).await.body;
    assert_eq!((&left["state"], left.get("worker")), (&json!("paused"), None));
    assert_eq!(post(&app, "resume", None).await.body["state"], "unassigned");
}

#[tokio::test]
async fn a_sink_is_paused_and_resumed_on_sqlite() {
    a_sink_is_paused_and_resumed(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_sink_is_paused_and_resumed_on_postgres() {
    a_sink_is_paused_and_resumed(TestApp::postgres().await).await;
}

async fn only_the_current_change_is_skipped(app: TestApp) {
    let skip = |token: &str| post(&app, "skip", Some(json!({"token": token})));
    assert_refused(&skip("t").await, 404, "not-found", "no such sink");
    let lease = run(&app, Role::Sink, "order-events").await;
    let none = "the sink has no current change that it can't get past";
    assert_refused(&skip("t").await, 412, "precondition-failed", none);
    report(&app, &lease, &stuck("t1")).await;
    let other = skip("t").await;
    assert_refused(
        &other,
        412,
        "precondition-failed",
        "the sink's current change has another token",
    );
    assert!(other.body.get("currentVersion").is_none(), "it is no entity's");
    assert_eq!(report(&app, &lease, &stuck("t1")).await.skip, None);
    let skipped = skip("t1").await;
    assert_eq!((skipped.status, &skipped.body["state"]), (200, &json!("retrying")));
    assert_eq!(report(&app, &lease, &stuck("t1")).await.skip.as_deref(), Some("t1"));
}

#[tokio::test]
async fn only_the_current_change_is_skipped_on_sqlite() {
    only_the_current_change_is_skipped(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn only_the_current_change_is_skipped_on_postgres() {
    only_the_current_change_is_skipped(TestApp::postgres().await).await;
}

async fn a_sink_is_put_elsewhere(app: TestApp) {
    let reset = |from: &str| post(&app, "reset", Some(json!({"from": from})));
    assert_refused(&reset("now").await, 404, "not-found", "no such sink");
    app.send(&car_event("c1", json!({"n": 1}))).await;
    let first = end_of_log(&app).await;
    app.send(&car_event("c1", json!({"n": 2}))).await;
    let now = end_of_log(&app).await;
    let lease = run(&app, Role::Sink, "order-events").await;
    let (first, now) = (first.to_string(), now.to_string());
    let start = Token::in_log(Token::parse(&now).unwrap().epoch, 0).to_string();
    let mut generation = lease.generation;
    for (from, token, lag) in [
        ("start", &*start, 2),
        ("now", &now, 0),
        ("2001-01-01T00:00:00Z", &start, 2),
        ("978307200000", &start, 2),
        (&first, &first, 1),
        ("snapshot", "snapshot", 0),
    ] {
        let answered = reset(from).await;
        assert_eq!((answered.status, &answered.body["token"]), (200, &json!(token)), "{from}");
        assert_eq!(answered.body["lagChanges"], lag, "{from}");
        let control = report(&app, &lease, &Report::default()).await;
        assert!(control.generation > generation, "{from}");
        generation = control.generation;
        let moved = app.store.advance(&lease, &now, 2).await.unwrap();
        assert!(!moved, "what was delivered from the old position moves nothing");
    }
    for (from, kind, detail) in [
        ("sometime", "validation", "/from must be a token, start, now, snapshot, or a time"),
        ("", "validation", "/from must be a token, start, now, snapshot, or a time"),
        (&*Token::in_log(Uuid::nil(), 1).to_string(), "gone", "the token is of another log"),
    ] {
        let status = if kind == "gone" { 410 } else { 422 };
        assert_refused(&reset(from).await, status, kind, detail);
    }
    assert_eq!(answer(app.get(SINK)).await.body["token"], "snapshot");
    app.prune().await;
    assert_refused(&reset(&first).await, 410, "gone", "were pruned; begin again");
}

#[tokio::test]
async fn a_sink_is_put_elsewhere_on_sqlite() {
    a_sink_is_put_elsewhere(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_sink_is_put_elsewhere_on_postgres() {
    a_sink_is_put_elsewhere(TestApp::postgres().await).await;
}

async fn a_sink_is_forgotten(app: TestApp) {
    let delete = || answer(app.request("DELETE", SINK));
    assert_refused(&delete().await, 404, "not-found", "no such sink");
    let lease = run(&app, Role::Sink, "order-events").await;
    add(&app, &lease, &[refused(1, "a", 1)]).await;
    assert_refused(&delete().await, 409, "in-use", "the worker worker-1 runs the sink");
    assert_eq!(answer(app.get(SINK)).await.status, 200);
    app.store.release(&lease).await.unwrap();
    let deleted = app.request("DELETE", SINK).send().await.unwrap();
    assert_eq!((deleted.status().as_u16(), deleted.text().await.unwrap().as_str()), (204, ""));
    for answered in [answer(app.get(SINK)).await, delete().await] {
        assert_refused(&answered, 404, "not-found", "no such sink");
    }
    assert_eq!(answer(app.get("/api/v1/dead-letters")).await.body, json!({"deadLetters": []}));
}

#[tokio::test]
async fn a_sink_is_forgotten_on_sqlite() {
    a_sink_is_forgotten(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_sink_is_forgotten_on_postgres() {
    a_sink_is_forgotten(TestApp::postgres().await).await;
}

#[tokio::test]
async fn bodies_that_break_rules_are_refused_with_pointers() {
    let app = TestApp::sqlite().await;
    for (action, body, pointers, detail) in [
        ("skip", json!([]), &[""][..], "must be a JSON object"),
        ("skip", json!({}), &["/token"], "/token is required"),
        ("skip", json!({"token": 1}), &["/token"], "/token must be a string"),
        ("reset", json!({}), &["/from"], "/from is required"),
        ("reset", json!({"from": null}), &["/from"], "/from must be a string"),
        (
            "reset",
            json!({"from": "now", "dryRun": true}),
            &["/dryRun"],
            "/dryRun is unknown; the only member is from",
        ),
        ("reset", json!({"token": "t"}), &["/token", "/from"], "(and 1 more)"),
    ] {
        let refused = post(&app, action, Some(body)).await;
        assert_refused(&refused, 422, "validation", detail);
        assert_eq!(refused.pointers(), pointers);
    }
}

#[tokio::test]
async fn bodies_and_addresses_have_the_rules_of_other_routes() {
    let app = TestApp::sqlite_with(&["--max-body-bytes", "64KiB"]).await;
    let request = |method: &str, path: &str| app.request(method, path);
    let skip = |body: &str| request("POST", &format!("{SINK}/skip")).body(body.to_owned());
    let text = r#"{"token":"t"}"#;
    let pause = format!("{SINK}/pause");
    let rule = "/name must have 1 to 63 characters of a-z, 0-9 and -";
    for (request, status, detail) in [
        (skip(""), 400, "line 1 of the body"),
        (skip("{\"token\" 1}"), 400, "line 1 of the body, column 10: not valid JSON"),
        (skip("{} {}"), 400, "line 1 of the body"),
        (skip(&" ".repeat(65 << 10)), 413, "the body is larger than 65536 bytes"),
        (skip(text).header("content-type", "application/xml"), 415, "the content type"),
        (skip(text).header("accept", "text/html"), 406, "the answers are"),
        (
            request("POST", &format!("{SINK}/skip?x=1")).body(text),
            400,
            "the query parameter \"x\" is not known",
        ),
        (request("POST", &pause).body("{}"), 400, "the request must have no body"),
        (request("POST", &format!("{pause}?x=1")), 400, "the query parameter \"x\""),
        (request("DELETE", SINK).body("{}"), 400, "the request must have no body"),
        (request("GET", &format!("{SINKS}?x")), 400, "the query parameter \"x\" is not known"),
        (request("GET", &format!("{SINK}?x")), 400, "the query parameter \"x\" is not known"),
        (request("GET", &format!("{SINKS}/Order_Events")), 400, rule),
        (request("DELETE", &format!("{SINKS}/{}", "x".repeat(64))), 400, rule),
        (request("POST", &format!("{SINKS}/a%20b/pause")), 400, rule),
        (request("GET", &format!("{SINKS}/%FF")), 400, "a path value is not percent-encoded"),
        (request("PUT", SINK), 405, "this route doesn't support the method"),
        (request("GET", &pause), 405, "this route doesn't support the method"),
        (request("POST", "/api/v1/sources/a/skip"), 404, "no such route"),
    ] {
        let refused = answer(request).await;
        let found = refused.body["detail"].as_str();
        assert!(found.is_some_and(|text| text.starts_with(detail)), "{detail}: {refused:?}");
        assert_eq!(refused.status, status, "{detail}");
    }
    let named = answer(request("GET", &format!("{SINKS}/Order_Events"))).await;
    assert_eq!(named.pointers(), ["/name"]);
}

#[tokio::test]
async fn scripts_of_other_origins_steer_nothing() {
    let app = TestApp::sqlite().await;
    let lease = run(&app, Role::Sink, "order-events").await;
    for (method, path) in [
        ("POST", &*format!("{SINK}/pause")),
        ("POST", &format!("{SINK}/skip")),
        ("POST", &format!("{SINK}/reset")),
        ("DELETE", SINK),
        ("POST", "/api/v1/dead-letters/1/replay"),
        ("POST", "/api/v1/dead-letters/replay?sink=order-events"),
        ("DELETE", "/api/v1/dead-letters/1"),
        ("DELETE", "/api/v1/dead-letters?sink=order-events"),
    ] {
        let refused = answer(app.request(method, path).header("origin", FOREIGN)).await;
        assert_eq!((refused.status, refused.problem()), (403, "forbidden"), "{method} {path}");
        assert_eq!(refused.header("access-control-allow-origin"), "");
    }
    let own = format!("http://{}", app.address);
    let paused = answer(app.post(&format!("{SINK}/pause")).header("origin", &own)).await;
    assert_eq!((paused.status, paused.header("access-control-allow-origin")), (200, &*own));
    assert!(report(&app, &lease, &Report::default()).await.paused);
}
