//! Health.

use producer_test_support::Postgres;
use serde_json::json;

use crate::app::{TestApp, answer};

#[tokio::test]
async fn healthy_while_the_database_answers() {
    let app = TestApp::sqlite().await;
    let health = answer(app.get("/api/v1/events/health")).await;
    assert_eq!(health.status, 200);
    let told = json!({"status": "healthy", "message": "Producer API is healthy", "database": "up"});
    assert_eq!(health.body, told);
    assert_eq!(answer(app.get("/readyz")).await.status, 200);
    assert_eq!(answer(app.get("/livez")).await.status, 200);
}

#[tokio::test]
async fn draining_is_not_ready_but_alive() {
    let app = TestApp::sqlite().await;
    app.ingest.drain();
    for path in ["/api/v1/events/health", "/readyz"] {
        let health = answer(app.get(path)).await;
        assert_eq!((health.status, &health.body["status"]), (503, &json!("unhealthy")));
    }
    assert_eq!(answer(app.get("/livez")).await.status, 200);
}

#[tokio::test]
async fn a_database_that_is_gone_is_unreachable_and_back_up() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let app = TestApp::on(database.url()).await;
    server.stop();
    let health = answer(app.get("/api/v1/events/health")).await;
    assert_eq!((health.status, &health.body["database"]), (503, &json!("unreachable")));
    assert_eq!(answer(app.get("/livez")).await.status, 200);
    let event = crate::app::car_event("c1", json!({}));
    let refused = app.send(&event).await;
    assert_eq!((refused.status, refused.problem()), (503, "unavailable"));
    assert!(refused.body["eventId"].is_string());
    server.start();
    let deadline = std::time::Instant::now() + crate::app::TIMEOUT;
    while app.send(&event).await.status != 200 {
        assert!(std::time::Instant::now() < deadline, "does not recover");
    }
}
