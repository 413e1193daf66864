//! The first minute: a binary, no settings, no database.

use std::time::{Duration, Instant};

use e2e::{Api, Binary, Outcome, SentEvent, Service};
use serde_json::json;

/// From the start of the process to the answer to its first event.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// Only the port is set, so that tests don't meet on one.
async fn first_event(binary: Binary, api: impl Fn(&Service) -> Api) -> Service {
    let start = Instant::now();
    let service = Service::start(binary, &[]).await;
    let event = SentEvent::new("Loan", "loan-1", json!({"balance": 24439.75}));
    let outcome = api(&service).send(&event).await;
    assert_eq!(outcome, Outcome::Done { duplicate: false, versions: vec![1] });
    assert!(start.elapsed() < FIRST_ANSWER, "{:?}", start.elapsed());
    assert!(service.folder().join("data/producer.db").is_file());
    service
}

#[tokio::test]
async fn rest_without_settings_serves_from_a_file_of_its_own() {
    let service = first_event(Binary::Rest, |service| service.rest().into()).await;
    let entity = service.rest().entity("Loan", "loan-1").await;
    assert_eq!(entity, (1, json!({"balance": 24439.75})));
    assert!(service.log_tail().contains("producer.db"), "the log says where the data is");
    service.stop().await;
}

#[tokio::test]
async fn grpc_without_settings_serves_from_a_file_of_its_own() {
    let service = first_event(Binary::Grpc, |service| service.grpc().into()).await;
    service.stop().await;
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let mut service = first_event(Binary::Rest, |service| service.rest().into()).await;
    service.signal(e2e::Signal::TERM);
    assert!(service.exit(e2e::DEADLINE).await.success());
    service.restart().await;
    assert_eq!(service.rest().entity("Loan", "loan-1").await.0, 1);
}
