//! What the log says about refused requests and silent wrong choices.

use producer_e2e::{Binary, Database, SentEvent, Service, eventually};
use producer_test_support::http_client;
use serde_json::{Value, json};

/// The first line with this message whose field has this value.
async fn line(service: &Service, message: &str, field: &str, value: &str) -> Value {
    let mut found = Vec::new();
    eventually(&format!("a line {message:?} with {field} {value}"), async || {
        found = service.logged(message);
        found.retain(|line| line[field] == value);
        !found.is_empty()
    })
    .await;
    found.remove(0)
}

async fn post(service: &Service, path: &str, id: &str, body: String) -> u16 {
    let rest = service.rest();
    let request = rest.http.post(rest.url(path)).header("x-request-id", id);
    request.body(body).send().await.unwrap().status().as_u16()
}

fn event_of(entity_id: &str) -> Value {
    SentEvent::new("Car", entity_id, json!({"secret": true})).json()
}

#[tokio::test]
async fn a_refused_request_is_logged_with_its_reason_and_its_client() {
    let rest = Service::start(Binary::Rest, &[]).await;
    assert_eq!(post(&rest, "/api/v1/events", "invalid", event_of("").to_string()).await, 422);
    let refused = line(&rest, "refused", "request_id", "invalid").await;
    assert_eq!(refused["level"], "INFO");
    assert_eq!((&refused["method"], &refused["status"]), (&json!("POST"), &json!("422")));
    assert_eq!(refused["route"], "/api/v1/events");
    assert_eq!(refused["problem"], "validation");
    assert_eq!(refused["detail"], "/eventBody/entities/0/entityId must not be empty");
    assert!(refused["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");
    assert!(!refused.to_string().contains("secret"), "{refused}");

    assert_eq!(post(&rest, "/api/v1/event", "misspelled", "{}".into()).await, 404);
    let unknown = line(&rest, "refused", "request_id", "misspelled").await;
    assert_eq!(unknown["detail"], "no such route: /api/v1/event");
    assert_eq!(post(&rest, "/livez", "method", String::new()).await, 405);
    assert_eq!(line(&rest, "refused", "request_id", "method").await["problem"], "method");

    let items = json!([event_of("c1"), event_of(""), event_of(".")]).to_string();
    assert_eq!(post(&rest, "/api/v1/events/bulk", "bulk", items).await, 200);
    let of_bulk = line(&rest, "refused", "request_id", "bulk").await;
    assert_eq!((&of_bulk["events"], &of_bulk["status"]), (&json!(2), &json!("200")));
    assert_eq!(of_bulk["detail"], "/eventBody/entities/0/entityId must not be empty");

    // an entity that isn't there is a usual answer
    let http = http_client();
    let missing = http.get(rest.rest().url("/api/v1/entities/Car/none"));
    assert_eq!(missing.header("x-request-id", "missing").send().await.unwrap().status(), 404);
    assert_eq!(post(&rest, "/api/v1/events", "last", "{".into()).await, 400);
    line(&rest, "refused", "request_id", "last").await;
    assert!(rest.logged("refused").iter().all(|line| line["request_id"] != "missing"));
}

#[tokio::test]
async fn a_refused_read_of_the_history_is_logged_with_its_route() {
    let rest = Service::start(Binary::Rest, &[]).await;
    let http = http_client();
    for (route, query, detail) in [
        (
            "",
            "version=0",
            "the query parameter version must be a version, which is a number from 1",
        ),
        ("/history", "pageSize=0", "the query parameter pageSize must be a number from 1"),
        ("/diff", "to=2", "the query parameter from is missing; it is a version"),
        ("/provenance", "path=balance", "the query parameter path must begin with data"),
    ] {
        let address = rest.rest().url(&format!("/api/v1/entities/Car/secret{route}?{query}"));
        let request = http.get(address).header("x-request-id", query);
        assert_eq!(request.send().await.unwrap().status(), 400, "{query}");
        let refused = line(&rest, "refused", "request_id", query).await;
        assert_eq!(refused["route"], format!("/api/v1/entities/{{type}}/{{id}}{route}"));
        assert_eq!(refused["detail"], detail);
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}

#[tokio::test]
async fn a_flood_of_refused_requests_does_not_fill_the_log() {
    let rest = Service::start(Binary::Rest, &[]).await;
    for _ in 0..200 {
        assert_eq!(post(&rest, "/api/v1/events", "flood", "{".into()).await, 400);
    }
    let (mut lines, mut omitted) = (0, 0);
    eventually("lines and counts of omitted ones for every request", async || {
        assert_eq!(post(&rest, "/api/v1/events", "late", "{".into()).await, 400);
        let logged = rest.logged("refused");
        lines = logged.len() as u64;
        omitted = logged.iter().filter_map(|line| line["omitted"].as_u64()).sum();
        lines + omitted >= 200
    })
    .await;
    assert!(omitted > 0, "{lines} lines");
    assert!(lines < 200, "{lines} lines");
}

#[tokio::test]
async fn grpc_logs_refused_calls_and_events() {
    let database = Database::sqlite();
    let grpc = Service::start(Binary::Grpc, &database.settings()).await;
    let mut client = grpc.grpc().client;
    let invalid = || SentEvent::new("Car", "", json!({})).message();
    client.process_event(invalid()).await.unwrap_err();
    let route = "/producer.v1.EventService/ProcessEvent";
    let refused = line(&grpc, "refused", "route", route).await;
    assert_eq!(refused["status"], "INVALID_ARGUMENT");
    assert_eq!(refused["problem"], "validation");
    assert_eq!(refused["detail"], "/eventBody/entities/0/entityId must not be empty");
    assert!(refused["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");

    let events = futures_util::stream::iter([invalid(), invalid()]);
    let mut results = client.stream_events(events).await.unwrap().into_inner();
    while let Some(result) = results.message().await.unwrap() {
        assert_ne!(result.message, "");
    }
    let route = "/producer.v1.EventService/StreamEvents";
    assert_eq!(line(&grpc, "refused", "route", route).await["events"], 2);
}

#[tokio::test]
async fn silent_wrong_choices_are_warned_of() {
    let rest = Service::start(Binary::Rest, &[]).await;
    let items = json!([event_of("c1")]).to_string();
    assert_eq!(post(&rest, "/api/v1/events/bulk?mod=atomic", "query", items).await, 200);
    let query = line(&rest, "unknown query parameter, ignored", "request_id", "query").await;
    assert_eq!((&query["parameter"], &query["level"]), (&json!("mod"), &json!("WARN")));
    assert_eq!(query["known"], "results, mode");

    let mut event = event_of("c2");
    event["eventHeader"]["createdDate"] = json!(1_705_314_605);
    event["eventHeader"]["event_type"] = json!("ignored");
    assert_eq!(post(&rest, "/api/v1/events", "seconds", event.to_string()).await, 200);
    let seconds = "createdDate is before 1980: it counts milliseconds, but seems to be in seconds";
    let warning = line(&rest, seconds, "request_id", "seconds").await;
    assert_eq!(warning["created_date"], "1970-01-20T17:41:54.605000Z");
    let ignored = line(&rest, "member of an event ignored", "request_id", "seconds").await;
    assert_eq!(
        (&ignored["found"], &ignored["expected"]),
        (&json!("event_type"), &json!("eventType"))
    );
}
