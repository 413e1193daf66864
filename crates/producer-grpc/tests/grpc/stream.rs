//! `StreamEvents`: order, flow control, and how it ends.

use std::time::Duration;

use producer_grpc::proto::v1::event_service_client::EventServiceClient;
use producer_grpc::proto::v1::{EventRequest, EventStatus};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::iter;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::app::{Service, error_info, event, on_both, send_until_no_room};

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn results_come_in_order_also_of_invalid_events() {
    on_both(|service| async move {
        let events = (0..3000).map(|i| match i % 7 {
            3 => EventRequest::default(),
            _ => event("", &(i % 10).to_string(), &format!(r#"{{"i":{i}}}"#)),
        });
        let mut client = service.client().await;
        let results = client.stream_events(iter(events.collect::<Vec<_>>())).await;
        let mut results = results.expect("a stream").into_inner();
        let mut count = 0;
        while let Some(result) = results.message().await.expect("no error") {
            assert_eq!(result.index, count);
            let expected =
                if count % 7 == 3 { EventStatus::Invalid } else { EventStatus::Processed };
            assert_eq!(result.status(), expected, "{result:?}");
            count += 1;
        }
        assert_eq!(count, 3000);
        let last = (0..3000).rev().find(|i| i % 10 == 5 && i % 7 != 3).expect("one");
        let (_, document) = service.entity("Loan", "5").await.expect("it is there");
        assert_eq!(document.replace(' ', ""), format!(r#"{{"i":{last}}}"#));
    })
    .await;
}

#[tokio::test]
async fn a_result_comes_while_the_client_keeps_the_stream_open() {
    let service = Service::start_with(&["--body-timeout", "50ms"]).await;
    let (sender, events) = mpsc::channel(1);
    let mut client = service.client().await;
    sender.send(event("", "1", "{}")).await.expect("room");
    let mut results =
        client.stream_events(ReceiverStream::new(events)).await.expect("a stream").into_inner();
    for index in 0..3 {
        let result = timeout(DEADLINE, results.message()).await.expect("in time").expect("fine");
        assert_eq!(result.map(|result| result.index), Some(index));
        sender.send(event("", "1", "{}")).await.expect("room");
    }
}

/// `HEADER_TIMEOUT` and `IDLE_TIMEOUT` are HTTP/1's.
#[tokio::test]
async fn a_stream_may_idle_between_messages() {
    let flags = ["--header-timeout", "200ms", "--idle-timeout", "200ms"];
    let service = Service::start_with(&flags).await;
    let (sender, events) = mpsc::channel(1);
    let mut client = service.client().await;
    sender.send(event("", "1", "{}")).await.expect("room");
    let mut results =
        client.stream_events(ReceiverStream::new(events)).await.expect("a stream").into_inner();
    for index in 0..2 {
        let result = timeout(DEADLINE, results.message()).await.expect("in time").expect("fine");
        assert_eq!(result.map(|result| result.index), Some(index));
        tokio::time::sleep(Duration::from_millis(600)).await;
        sender.send(event("", "1", "{}")).await.expect("room");
    }
}

#[tokio::test]
async fn a_client_that_reads_no_results_is_not_read_from() {
    let service = Service::start().await;
    let (sender, events) = mpsc::channel(1);
    let endpoint = Channel::from_shared(format!("http://{}", service.address)).expect("a URL");
    // results that nobody reads fill at most this on the client's side
    let endpoint = endpoint.initial_stream_window_size(65_535);
    let mut client = EventServiceClient::new(endpoint.connect().await.expect("a connection"));
    let call = tokio::spawn(async move { client.stream_events(ReceiverStream::new(events)).await });
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(1000));
    let entities: Vec<_> = (0..1000).map(|i| event("", &i.to_string(), &long)).collect();
    // far more than flow control and the call's share of the queue let through
    let most = 100_000;
    let next = |sent: usize| entities[sent % 1000].clone();
    let sent = send_until_no_room(&sender, &service.client().await, next, most).await;
    assert!(sent < most, "the server must stop reading");
    drop(sender);
    let mut results = call.await.expect("no panic").expect("a stream").into_inner();
    let mut received = 0;
    while let Some(result) = results.message().await.expect("no error") {
        assert_eq!(result.status(), EventStatus::Processed);
        received += 1;
    }
    assert!(received >= sent, "{received} of {sent}");
}

#[tokio::test]
async fn an_event_that_is_too_large_ends_a_stream_after_the_results_before_it() {
    let service = Service::start_with(&["--max-body-bytes", "64KiB"]).await;
    let large = event("", "1", &format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000)));
    let events = iter([event("", "1", "{}"), event("", "2", "{}"), large, event("", "3", "{}")]);
    let mut client = service.client().await;
    let results = client.stream_events(Request::new(events)).await.expect("a stream");
    let mut results = results.into_inner();
    for index in 0..2 {
        let result = results.message().await.expect("a result").expect("a result");
        assert_eq!((result.index, result.status()), (index, EventStatus::Processed));
    }
    let status = results.message().await.expect_err("it ends with the reason");
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::OutOfRange, "TOO_LARGE")
    );
    assert_eq!(service.entity("Loan", "3").await, None);
}

#[tokio::test]
async fn a_draining_service_sends_the_results_of_what_it_read_and_ends_the_stream() {
    let service = Service::start().await;
    let (sender, events) = mpsc::channel(10);
    let mut client = service.client().await;
    sender.send(event("", "1", "{}")).await.expect("room");
    let results = client.stream_events(ReceiverStream::new(events)).await.expect("a stream");
    let mut results = results.into_inner();
    let first = results.message().await.expect("a result").expect("a result");
    assert_eq!(first.status(), EventStatus::Processed);
    service.drain();
    let status = timeout(DEADLINE, results.message()).await.expect("in time").expect_err("it ends");
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::Unavailable, "UNAVAILABLE")
    );

    drop((results, client, sender));
    timeout(DEADLINE, service.stopped()).await.expect("the shutdown isn't delayed");
}

#[tokio::test]
async fn an_event_whose_condition_fails_gets_its_result_and_the_stream_goes_on() {
    on_both(|service| async move {
        let expecting = |version: u64, id: &str| {
            let mut sent = event("", id, "{}");
            sent.event_body.as_mut().expect("a body").entities[0].expected_version = Some(version);
            sent
        };
        let events =
            [event("", "1", "{}"), expecting(9, "1"), expecting(1, "2"), expecting(1, "1")];
        let mut client = service.client().await;
        let results = client.stream_events(iter(events)).await.expect("a stream");
        let mut results = results.into_inner();
        let mut got = Vec::new();
        while let Some(result) = results.message().await.expect("no error") {
            assert!(!result.event_id.is_empty());
            let violation = result.violations.first();
            let violation = violation.map(|one| (one.pointer.clone(), one.current_version));
            got.push((result.status(), violation));
        }
        let unmet = |version| {
            let violation = ("/eventBody/entities/0".to_owned(), version);
            (EventStatus::PreconditionFailed, Some(violation))
        };
        let processed = (EventStatus::Processed, None);
        assert_eq!(got, [processed.clone(), unmet(Some(1)), unmet(None), processed]);
    })
    .await;
}
