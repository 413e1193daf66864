//! Invalid events among valid ones, and more events than memory.

use futures_util::{StreamExt, stream};
use producer_e2e::proto::EventStatus;
use producer_e2e::{Binary, Database, Rest, SentEvent, Service};
use producer_test_support::http_client_builder;
use reqwest::Body;
use serde_json::{Value, json};

use crate::macros::on_both_databases;
use crate::rebuild_is_clean;

on_both_databases!(
    poisoned_events_of_an_array_affect_no_other,
    poisoned_lines_affect_no_other,
    poisoned_messages_of_a_stream_affect_no_other,
);

const NDJSON: &str = "application/x-ndjson";

/// The status of each event of [`poisoned`].
const STATUSES: [&str; 7] =
    ["processed", "invalid", "processed", "conflict", "duplicate", "invalid", "processed"];

/// Valid events for one entity and invalid ones between them: an empty id, a reused uuid, a document
/// that jsonb would refuse; and one event twice.
fn poisoned() -> Vec<SentEvent> {
    let good = |n: u64| SentEvent::new("Car", "car-1", json!({ format!("good{n}"): n }));
    let first = good(1);
    let mut conflict = good(99);
    conflict.uuid = first.uuid;
    vec![
        first.clone(),
        SentEvent::new("Car", "", json!({})),
        good(2).and("Loan", "loan-1", json!({"a": {"b": 1}})),
        conflict,
        first,
        SentEvent::new("Loan", "loan-1", json!({"bad": "\u{0}"})).and(
            "Car",
            "car-1",
            json!({"bad": 1}),
        ),
        good(3),
    ]
}

fn statuses(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("no results: {answer}"));
    results.iter().map(|result| result["status"].as_str().unwrap()).collect()
}

async fn assert_only_valid_events_applied(rest: &Rest) {
    let car = rest.entity("Car", "car-1").await;
    assert_eq!(car, (3, json!({"good1": 1, "good2": 2, "good3": 3})));
    assert_eq!(rest.entity("Loan", "loan-1").await, (1, json!({"a": {"b": 1}})));
}

async fn poisoned_events_of_an_array_affect_no_other(database: &Database) {
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let events: Vec<_> = poisoned().iter().map(SentEvent::json).collect();
    let body = Value::Array(events).to_string();
    let (status, answer) = rest.rest().post("/api/v1/events/bulk", "application/json", body).await;
    assert_eq!((status, statuses(&answer)), (200, STATUSES.to_vec()));
    assert_eq!(answer["success"], false);
    assert_eq!((&answer["processedCount"], &answer["failedCount"]), (&json!(4), &json!(3)));
    assert_only_valid_events_applied(&rest.rest()).await;
}

async fn poisoned_lines_affect_no_other(database: &Database) {
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let mut lines: Vec<_> =
        poisoned().iter().map(|event| event.json().to_string().into_bytes()).collect();
    lines.push(b"{no json}".to_vec());
    lines.push(b"\"\xff\"".to_vec());
    lines.push(Vec::new());
    lines.push(
        SentEvent::new("Car", "car-2", json!({"last": true})).json().to_string().into_bytes(),
    );
    let (status, answer) =
        rest.rest().post("/api/v1/events/bulk", NDJSON, lines.join(&b"\r\n"[..])).await;
    let expected = [&STATUSES[..], &["invalid", "invalid", "processed"]].concat();
    assert_eq!((status, statuses(&answer)), (200, expected));
    assert_only_valid_events_applied(&rest.rest()).await;
    assert_eq!(rest.rest().entity("Car", "car-2").await, (1, json!({"last": true})));
}

async fn poisoned_messages_of_a_stream_affect_no_other(database: &Database) {
    let (rest, grpc) = Service::start_both(&database.settings()).await;
    let messages: Vec<_> = poisoned().iter().map(SentEvent::message).collect();
    let results = grpc.grpc().client.stream_events(stream::iter(messages)).await.unwrap();
    let results: Vec<_> = results.into_inner().map(Result::unwrap).collect().await;
    let words: Vec<_> = results
        .iter()
        .map(|result| match result.status() {
            EventStatus::Processed => "processed",
            EventStatus::Duplicate => "duplicate",
            EventStatus::Invalid => "invalid",
            EventStatus::Conflict => "conflict",
            _ => "other",
        })
        .collect();
    assert_eq!(words, STATUSES);
    assert!(results.iter().zip(0..).all(|(result, index)| result.index == index));
    assert_only_valid_events_applied(&rest.rest()).await;
}

/// About 200 MB.
const LINES: usize = 2_000;
/// Bytes of padding per line, in a field that the service ignores.
const PADDING: usize = 90_000;
/// Bytes per line that are stored in the log.
const ATTRIBUTE: usize = 10_000;
/// The memory limit of the service.
const MAX_MEMORY: u64 = 150 << 20;

#[tokio::test]
async fn more_lines_than_memory_are_processed_in_bounded_memory() {
    let database = Database::sqlite();
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let body = Body::wrap_stream(stream::iter((0..LINES).map(line)));
    // without a timeout: speed is not tested here
    let http = http_client_builder().no_proxy().build().unwrap();
    let url = rest.rest().url("/api/v1/events/bulk?results=none");
    let answer = http.post(url).header("content-type", NDJSON).body(body).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["processedCount"], LINES, "{answer}");
    assert_eq!(answer["success"], true, "{answer}");
    let peak = rest.peak_memory();
    assert!(peak < MAX_MEMORY, "{} MiB at its peak", peak >> 20);
    let (version, _) = rest.rest().entity("Car", "car-7").await;
    assert_eq!(version, LINES as u64 / 20);
    rest.stop().await;
    rebuild_is_clean(&database).await;
}

fn line(n: usize) -> Result<String, std::io::Error> {
    let attributes = json!({ "text": n.to_string().repeat(ATTRIBUTE / 4), "last": n });
    let mut event = SentEvent::new("Car", &format!("car-{}", n % 20), attributes).json();
    event["padding"] = Value::String("x".repeat(PADDING));
    Ok(format!("{event}\n"))
}
