//! `POST /api/v1/events`, `GET /api/v1/events/{uuid}`.

use serde_json::json;

use crate::app::{TestApp, answer, car_event, car_event_with_uuid};

const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

async fn an_event_is_applied_once_and_read_back(app: TestApp) {
    let event = car_event_with_uuid(UUID, "c1", json!({"color": "red", "km": 1.50}));
    let first = app.send(&event).await;
    assert_eq!(first.status, 200);
    let made = json!([{"entityType": "Car", "entityId": "c1", "version": 1, "created": true}]);
    assert_eq!(
        first.body,
        json!({"success": true, "message": "Event processed successfully", "eventId": UUID,
               "duplicate": false, "entities": made})
    );
    let again = app.send(&event).await;
    assert_eq!((again.status, &again.body["duplicate"]), (200, &json!(true)));
    assert_eq!(again.body["entities"], made);
    let other = app.send(&car_event_with_uuid(UUID, "c1", json!({"color": "blue"}))).await;
    assert_eq!((other.status, other.problem()), (409, "conflict"));
    assert_eq!(app.car("c1").await, json!({"color": "red", "km": 1.5}));

    let logged = answer(app.get(&format!("/api/v1/events/{}", UUID.replace('-', "")))).await;
    assert_eq!(logged.status, 200);
    assert_eq!(logged.body["eventHeader"]["uuid"], UUID);
    assert_eq!(logged.body["eventHeader"]["eventName"], "CarChanged");
    assert!(logged.body["eventHeader"].get("createdDate").is_none());
    assert_eq!(logged.body["eventHeader"]["savedDate"], logged.body["committedAt"]);
    assert_eq!(logged.body["eventBody"]["entities"][0]["version"], 1);
    assert_eq!(logged.body["eventBody"]["entities"][0]["updatedAttributes"]["color"], "red");
}

#[tokio::test]
async fn an_event_is_applied_once_and_read_back_on_sqlite() {
    an_event_is_applied_once_and_read_back(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn an_event_is_applied_once_and_read_back_on_postgres() {
    an_event_is_applied_once_and_read_back(TestApp::postgres().await).await;
}

#[tokio::test]
async fn the_server_makes_a_uuid_if_none_is_given() {
    let app = TestApp::sqlite().await;
    let made = app.send(&car_event("c1", json!({}))).await;
    let uuid = made.body["eventId"].as_str().unwrap();
    assert_eq!(uuid.as_bytes()[14], b'7');
    assert_eq!(answer(app.get(&format!("/api/v1/events/{uuid}"))).await.status, 200);
}

#[tokio::test]
async fn a_broken_rule_is_listed_with_its_pointer() {
    let app = TestApp::sqlite().await;
    let refused = app.send(&car_event("", json!({}))).await;
    assert_eq!((refused.status, refused.problem()), (422, "validation"));
    assert_eq!(refused.pointers(), ["/eventBody/entities/0/entityId"]);
    assert_eq!(refused.body["errorCount"], 1);
}

#[tokio::test]
async fn an_unknown_event_is_not_found_and_a_bad_uuid_malformed() {
    let app = TestApp::sqlite().await;
    let unknown = answer(app.get(&format!("/api/v1/events/{UUID}"))).await;
    assert_eq!((unknown.status, unknown.problem()), (404, "not-found"));
    let bad = answer(app.get("/api/v1/events/no-uuid")).await;
    assert_eq!((bad.status, bad.problem()), (400, "malformed"));
}

#[tokio::test]
async fn draining_refuses_events_and_names_them() {
    let app = TestApp::sqlite().await;
    app.ingest.drain();
    let refused = app.send(&car_event_with_uuid(UUID, "c1", json!({}))).await;
    assert_eq!((refused.status, refused.problem()), (503, "unavailable"));
    assert_eq!(refused.body["eventId"], UUID);
    assert!(!refused.header("retry-after").is_empty());
}
