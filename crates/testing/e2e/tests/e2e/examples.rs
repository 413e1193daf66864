//! `examples/cars.py`, as in the README's first minute.

use std::path::Path;

use futures_util::{StreamExt, stream};
use producer_e2e::proto::{EntityUpdate, EventBody, EventHeader, EventRequest, EventStatus};
use producer_e2e::{Binary, Database, Service};
use serde_json::Value;
use tokio::process::Command;

/// Events of the script's 406 cars.
const EVENTS: usize = 1962;

/// Runs the script and returns its output.
async fn cars(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/cars.py");
    let output = Command::new("python3").arg(script).args(arguments).output().await;
    let output = output.expect("python3 (3.8 or newer) runs examples/cars.py: install it");
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{printed}{errors}", output.status);
    printed
}

/// Sends the cars over one interface, which also checks every entity; then again over another, which
/// must change nothing.
async fn send(way: &str, again: &str) {
    let rest = Service::start(Binary::Rest, &[]).await;
    let url = format!("http://{}", rest.address());
    let printed = cars(&["--url", &url, "--way", way]).await;
    assert!(printed.contains(&format!("{EVENTS} new, 0 duplicates")), "{printed}");
    let printed = cars(&["--url", &url, "--way", again]).await;
    assert!(printed.contains(&format!("0 new, {EVENTS} duplicates")), "{printed}");
}

#[tokio::test]
async fn cars_as_single_posts() {
    send("single", "bulk").await;
}

#[tokio::test]
async fn cars_as_bulk() {
    send("bulk", "ndjson").await;
}

#[tokio::test]
async fn cars_as_ndjson() {
    send("ndjson", "single").await;
}

/// The stream is sent by the tests' client, since grpcurl may be missing; the script checks the result.
#[tokio::test]
async fn cars_as_a_grpc_stream() {
    let database = Database::sqlite();
    let (rest, grpc) = Service::start_both(&database.settings()).await;
    let lines = cars(&["--events"]).await;
    let messages: Vec<_> = lines.lines().map(message).collect();
    assert_eq!(messages.len(), EVENTS);
    let results = grpc.grpc().client.stream_events(stream::iter(messages)).await.unwrap();
    let results: Vec<_> = results.into_inner().map(Result::unwrap).collect().await;
    assert_eq!(results.len(), EVENTS);
    assert!(results.iter().all(|result| result.status() == EventStatus::Processed));
    let url = format!("http://{}", rest.address());
    let printed = cars(&["--url", &url, "--way", "bulk"]).await;
    assert!(printed.contains(&format!("0 new, {EVENTS} duplicates")), "{printed}");
}

fn message(line: &str) -> EventRequest {
    let event: Value = serde_json::from_str(line).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let header = &event["eventHeader"];
    let updates = event["eventBody"]["entities"].as_array().unwrap().iter();
    let updates = updates.map(|update| EntityUpdate {
        entity_type: text(&update["entityType"]),
        entity_id: text(&update["entityId"]),
        attributes_json: Some(update["updatedAttributes"].to_string()),
        ..Default::default()
    });
    EventRequest {
        event_header: Some(EventHeader {
            uuid: text(&header["uuid"]),
            event_name: text(&header["eventName"]),
            event_type: text(&header["eventType"]),
            created_date: text(&header["createdDate"]),
            ..Default::default()
        }),
        event_body: Some(EventBody { entities: updates.collect() }),
    }
}
