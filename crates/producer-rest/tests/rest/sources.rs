//! `/api/v1/sources` and what is below it.

use producer_core::worker::{Report, Role};
use serde_json::json;

use crate::app::{TestApp, answer};
use crate::workers::{add, caught_up, no_event, report, run};

const SOURCES: &str = "/api/v1/sources";
const SOURCE: &str = "/api/v1/sources/shop";

async fn a_source_is_seen_steered_and_forgotten(app: TestApp) {
    let none = answer(app.get(SOURCE)).await;
    assert_eq!((none.status, none.problem()), (404, "not-found"));
    assert_eq!(none.body["detail"], "no such source");
    assert_eq!(answer(app.get(SOURCES)).await.body, json!({"sources": []}));

    let lease = run(&app, Role::Source, "shop").await;
    let waiting = Report { waiting: Some(7), waiting_seconds: Some(1.5), ..caught_up() };
    report(&app, &lease, &waiting).await;
    add(&app, &lease, &[no_event("orders:events 1-0", b"{}")]).await;
    let expected = json!({
        "name": "shop", "kind": "redis-stream", "state": "running", "lagChanges": 7,
        "lagSeconds": 1.5, "caughtUp": true, "breaker": "closed", "deadLetters": 1,
        "worker": "worker-1"
    });
    assert_eq!(answer(app.get(SOURCE)).await.body, expected);
    assert_eq!(answer(app.get(SOURCES)).await.body, json!({"sources": [expected]}));
    assert_eq!(answer(app.get("/api/v1/sinks")).await.body, json!({"sinks": []}));

    for (action, state) in [("pause", "paused"), ("pause", "paused"), ("resume", "running")] {
        let answered = answer(app.post(&format!("{SOURCE}/{action}"))).await;
        assert_eq!((answered.status, &answered.body["state"]), (200, &json!(state)));
        let control = report(&app, &lease, &waiting).await;
        assert_eq!(control.paused, state == "paused");
    }

    let refused = answer(app.request("DELETE", SOURCE)).await;
    assert_eq!((refused.status, refused.problem()), (409, "in-use"));
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("the worker worker-1 runs the source;"), "{detail}");
    app.store.release(&lease).await.unwrap();
    assert_eq!(answer(app.request("DELETE", SOURCE)).await.status, 204);
    for path in [SOURCE, &format!("{SOURCE}/pause"), &format!("{SOURCE}/resume")] {
        let method = if path == SOURCE { "DELETE" } else { "POST" };
        assert_eq!(answer(app.request(method, path)).await.problem(), "not-found", "{path}");
    }
    assert_eq!(answer(app.get("/api/v1/dead-letters")).await.body, json!({"deadLetters": []}));
}

#[tokio::test]
async fn a_source_is_seen_steered_and_forgotten_on_sqlite() {
    a_source_is_seen_steered_and_forgotten(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_source_is_seen_steered_and_forgotten_on_postgres() {
    a_source_is_seen_steered_and_forgotten(TestApp::postgres().await).await;
}
