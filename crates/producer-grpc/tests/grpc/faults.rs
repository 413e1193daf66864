//! Faults: a defect of ours, a database that stops, clients that stall or disconnect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use producer_core::Clock;
use producer_grpc::proto::v1::{
    EntityUpdate, EventRequest, EventResult, EventStatus, HealthRequest,
};
use producer_test_support::{Postgres, sqlite_file};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use crate::app::{Service, client_of, error_info, event, event_of};
use crate::raw::{PROCESS, STREAM, endless, framed, send, stalled, unframed};

const DEADLINE: Duration = Duration::from_secs(30);
/// What an answer may take beyond its deadline.
const SLACK: Duration = Duration::from_secs(2);
const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

/// A clock that panics once after it is armed. It is asked for the uuid of an event without one.
fn defective() -> (Clock, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let (system, trigger) = (Clock::system(), Arc::clone(&armed));
    let clock = Clock::from_fn(move || {
        assert!(!trigger.swap(false, Ordering::SeqCst), "a defect with a secret");
        system.now()
    });
    (clock, armed)
}

fn is_internal(status: &Status, request_id: &str) {
    assert_eq!(status.code(), Code::Internal, "{status}");
    let info = error_info(status);
    assert_eq!(
        (info.reason.as_str(), info.metadata["request_id"].as_str()),
        ("INTERNAL", request_id)
    );
    for internals in ["secret", "panic", ".rs"] {
        assert!(!format!("{status:?}").contains(internals), "{status:?}");
    }
}

async fn next(results: &mut Streaming<EventResult>) -> Result<Option<EventResult>, Status> {
    timeout(DEADLINE, results.message()).await.expect("in time")
}

#[tokio::test]
async fn a_defect_is_internal_and_affects_no_other_call() {
    let (clock, armed) = defective();
    let file = sqlite_file();
    let service = Service::with_clock(clock, &file.url(), &[]).await;
    let mut client = service.client().await;
    let (neighbour, events) = mpsc::channel(1);
    neighbour.send(event("", "1", "{}")).await.expect("room");
    let results = client.stream_events(ReceiverStream::new(events)).await;
    let mut results = results.expect("a stream").into_inner();
    assert!(next(&mut results).await.expect("fine").is_some());

    armed.store(true, Ordering::SeqCst);
    let mut call = Request::new(event("", "2", "{}"));
    call.metadata_mut().insert("x-request-id", "mine".parse().expect("ASCII"));
    is_internal(&client.process_event(call).await.expect_err("a defect"), "mine");

    // the same connection takes calls, and the stream on it events
    client.process_event(event("", "3", "{}")).await.expect("a receipt");
    neighbour.send(event("", "1", "{}")).await.expect("room");
    let result = next(&mut results).await.expect("fine").expect("a result");
    assert_eq!((result.index, result.status()), (1, EventStatus::Processed));
    assert_eq!(service.entity("Loan", "2").await, None);
}

#[tokio::test]
async fn a_defect_ends_a_stream_after_the_results_before_it() {
    let (clock, armed) = defective();
    let file = sqlite_file();
    let service = Service::with_clock(clock, &file.url(), &[]).await;
    let mut client = service.client().await;
    let (sender, events) = mpsc::channel(1);
    let mut call = Request::new(ReceiverStream::new(events));
    call.metadata_mut().insert("x-request-id", "mine".parse().expect("ASCII"));
    sender.send(event("", "1", "{}")).await.expect("room");
    let mut results = client.stream_events(call).await.expect("a stream").into_inner();
    let first = next(&mut results).await.expect("fine").expect("a result");
    assert_eq!(first.status(), EventStatus::Processed);
    armed.store(true, Ordering::SeqCst);
    sender.send(event("", "2", "{}")).await.expect("room");
    is_internal(&next(&mut results).await.expect_err("a defect"), "mine");
    client.process_event(event("", "3", "{}")).await.expect("a receipt");
}

#[tokio::test]
async fn a_database_that_stops_ends_a_stream_after_the_results_of_what_was_read() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.expect("a server");
    let database = server.fresh_database().await;
    let service = Service::on(database.url(), &[]).await;
    let mut client = service.client().await;
    let sent: Vec<_> =
        (0..4).map(|i| event(&UUID.replace('0', &i.to_string()), &i.to_string(), "{}")).collect();
    let (sender, events) = mpsc::channel(sent.len());
    sender.send(sent[0].clone()).await.expect("room");
    let results = client.stream_events(ReceiverStream::new(events)).await;
    let mut results = results.expect("a stream").into_inner();
    let first = next(&mut results).await.expect("fine").expect("a result");
    assert_eq!(first.status(), EventStatus::Processed);

    server.stop();
    let stopped = Instant::now();
    for event in &sent[1..] {
        // it may have ended already
        let _ = sender.send(event.clone()).await;
    }
    let mut received = Vec::new();
    let end = loop {
        match next(&mut results).await {
            Ok(Some(result)) => received.push(result),
            Ok(None) => panic!("no status at the end"),
            Err(status) => break status,
        }
    };
    assert!(stopped.elapsed() < Duration::from_secs(3) + SLACK, "{:?}", stopped.elapsed());
    assert!(!received.is_empty());
    for (result, index) in received.iter().zip(1..) {
        assert_eq!(result.index, index);
        assert!(matches!(result.status(), EventStatus::Unavailable | EventStatus::Unknown));
        assert!(!result.event_id.is_empty());
    }
    let is_unknown = received.iter().any(|result| result.status() == EventStatus::Unknown);
    let (code, reason) = match is_unknown {
        true => (Code::DeadlineExceeded, "OUTCOME_UNKNOWN"),
        false => (Code::Unavailable, "UNAVAILABLE"),
    };
    assert_eq!((end.code(), error_info(&end).reason.as_str()), (code, reason));
    assert_eq!(end.get_details_retry_info().is_some(), !is_unknown);

    // once it is back, all of it may be sent again
    server.start();
    for (event, id) in sent.into_iter().zip(0..) {
        let deadline = Instant::now() + DEADLINE;
        while let Err(status) = client.process_event(event.clone()).await {
            assert!(Instant::now() < deadline, "{status}");
        }
        let version = service.entity("Loan", &id.to_string()).await.map(|found| found.0);
        assert_eq!(version, Some(1));
    }
}

#[tokio::test]
async fn a_message_that_stops_midway_times_out_with_nothing_applied() {
    let service = Service::start_with(&["--body-timeout", "200ms"]).await;
    let whole = framed(0, &event("", "1", "{}").encode_to_vec());
    let half = &whole[..whole.len() - 1];
    let started = Instant::now();
    let (status, _) = stalled(service.address, PROCESS, half.to_vec()).await;
    let got = (status.code(), error_info(&status).reason);
    assert_eq!(got, (Code::Unavailable, "TIMEOUT".to_owned()));
    assert!(status.get_details_retry_info().is_some());
    assert_eq!(service.entity("Loan", "1").await, None);

    let (status, results) = stalled(service.address, STREAM, [&whole[..], half].concat()).await;
    assert_eq!(error_info(&status).reason, "TIMEOUT");
    let results = unframed::<EventResult>(results);
    assert_eq!((results.len(), results[0].status()), (1, EventStatus::Processed));
    assert!(started.elapsed() < 2 * (Duration::from_millis(200) + SLACK));
}

/// An event under a uuid, on two entities of its own.
fn pair(n: u64) -> EventRequest {
    let update = |id: String| EntityUpdate {
        entity_type: "Pair".into(),
        entity_id: id,
        ..EntityUpdate::default()
    };
    let uuid = format!("550e8400-e29b-41d4-a716-{n:012}");
    event_of(&uuid, vec![update(format!("{n}-a")), update(format!("{n}-b"))])
}

async fn clients_that_disconnect(service: Service) {
    let whole = framed(0, &pair(0).encode_to_vec());
    let half = endless(whole[..whole.len() - 1].to_vec());
    let mut other = service.client().await;
    tokio::select! {
        _ = send(service.address, PROCESS, &[], half) => panic!("half a message has no answer"),
        health = other.health_check(HealthRequest::default()) => drop(health.expect("an answer")),
    }
    for id in ["0-a", "0-b"] {
        assert_eq!(service.entity("Pair", id).await, None);
    }

    // disconnect after more and more answers to another client
    for n in 1..40 {
        let mut client = client_of(service.address).await;
        let answers = async {
            for _ in 0..n / 4 {
                other.health_check(HealthRequest::default()).await.expect("an answer");
            }
        };
        tokio::select! {
            biased;
            _ = client.process_event(pair(n)) => {}
            () = answers => {}
        }
    }
    for n in 1..40 {
        let ids = [format!("{n}-a"), format!("{n}-b")];
        // stored or not, it may be sent again and takes effect once
        let receipt = other.process_event(pair(n)).await.expect("a receipt").into_inner();
        assert!(receipt.entities.iter().all(|made| made.version == 1), "{receipt:?}");
        for id in ids {
            assert_eq!(service.entity("Pair", &id).await, Some((1, "{}".into())), "{id}");
        }
    }
}

#[tokio::test]
async fn clients_that_disconnect_leave_no_partial_event_on_sqlite() {
    clients_that_disconnect(Service::start().await).await;
}

#[tokio::test]
async fn clients_that_disconnect_leave_no_partial_event_on_postgres() {
    let database = Postgres::shared().fresh_database().await;
    // so few connections that a poisoned one would be used again at once
    clients_that_disconnect(
        Service::on(database.url(), &["--database-max-connections", "2"]).await,
    )
    .await;
}
