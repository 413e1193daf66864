//! Services that get SIGTERM or SIGKILL.

use futures_util::StreamExt;
use producer_e2e::proto::{EventRequest, EventResult, EventStatus};
use producer_e2e::{
    ANSWER_DEADLINE, Binary, DEADLINE, Database, Load, Rest, SentEvent, Service, Signal, eventually,
};
use reqwest::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::macros::on_both_databases;
use crate::rebuild_is_clean;

on_both_databases!(
    killed_under_load_no_acknowledged_event_is_lost,
    terminated_under_load_every_request_in_flight_gets_a_response,
);

async fn killed_under_load_no_acknowledged_event_is_lost(database: &Database) {
    let mut rest = Service::start(Binary::Rest, &database.settings()).await;
    let mut grpc = Service::start(Binary::Grpc, &database.settings()).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    for _ in 0..3 {
        load.history().more_done(150).await;
        for service in [&mut rest, &mut grpc] {
            service.signal(Signal::KILL);
            service.exit(DEADLINE).await;
        }
        rest.restart().await;
        grpc.restart().await;
    }
    load.history().more_done(150).await;
    let history = load.stop().await;
    history.print_summary("services killed three times");
    history.check(&rest.rest()).await;
    rest.stop().await;
    grpc.stop().await;
    rebuild_is_clean(database).await;
}

async fn terminated_under_load_every_request_in_flight_gets_a_response(database: &Database) {
    let mut rest = Service::start(Binary::Rest, &database.settings()).await;
    let mut grpc = Service::start(Binary::Grpc, &database.settings()).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(200).await;
    let half = HalfRequest::send(&rest.rest(), "/api/v1/events", "application/json").await;
    let lines =
        HalfRequest::send(&rest.rest(), "/api/v1/events/bulk", "application/x-ndjson").await;
    let mut stream = OpenStream::send(&grpc).await;

    rest.signal(Signal::TERM);
    grpc.signal(Signal::TERM);
    // lines and messages that were read get a response although the request is incomplete
    let (status, answer) = lines.answer.await.unwrap();
    assert_eq!((status, &answer["processedCount"]), (200, &json!(1)), "{answer}");
    drop(lines.more);
    let end = stream.results.next().await.expect("a status, not just an end").unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    // an incomplete request gets a response, either way
    let (status, answer) = half.finish().await;
    assert!(status == 200 || status == 503, "{status} {answer}");
    assert!(rest.exit(DEADLINE).await.success());
    assert!(grpc.exit(DEADLINE).await.success());

    let history = load.stop().await;
    rest.restart().await;
    history.print_summary("services terminated");
    history.check(&rest.rest()).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_graceful_shutdown() {
    let mut rest = Service::start(Binary::Rest, &[]).await;
    let _unfinished = HalfRequest::send(&rest.rest(), "/api/v1/events", "application/json").await;
    rest.signal(Signal::TERM);
    let fresh = rest.rest();
    eventually("the service is draining", async || !fresh.ready().await).await;
    rest.signal(Signal::TERM);
    rest.exit(ANSWER_DEADLINE).await;
}

/// A request of which the service has read the first half.
struct HalfRequest {
    more: mpsc::Sender<Result<String, std::io::Error>>,
    second_half: String,
    answer: JoinHandle<(u16, Value)>,
}

impl HalfRequest {
    /// Sends half of an event; for NDJSON a complete line before it.
    async fn send(rest: &Rest, path: &'static str, content_type: &'static str) -> Self {
        let (more, body) = mpsc::channel(4);
        let client = rest.clone();
        let answer = tokio::spawn(async move {
            client.post(path, content_type, Body::wrap_stream(ReceiverStream::new(body))).await
        });
        let whole = SentEvent::new("Drained", "whole", json!({"a": 1})).json().to_string();
        if content_type == "application/x-ndjson" {
            more.send(Ok(format!("{whole}\n"))).await.unwrap();
            eventually("the first line is applied", async || {
                rest.entity("Drained", "whole").await.0 == 1
            })
            .await;
        }
        let second = SentEvent::new("Drained", "half", json!({"a": 1})).json().to_string();
        let (half, second_half) = second.split_at(second.len() / 2);
        more.send(Ok(half.to_owned())).await.unwrap();
        // an empty channel: the data was passed to the connection
        more.reserve_many(more.max_capacity()).await.unwrap();
        Self { more, second_half: second_half.to_owned(), answer }
    }

    /// Sends the other half and waits for the response.
    async fn finish(self) -> (u16, Value) {
        // the service may have responded and closed the connection already
        let _ = self.more.send(Ok(self.second_half)).await;
        drop(self.more);
        self.answer.await.unwrap()
    }
}

/// A stream that has received the result of its first event.
struct OpenStream {
    _more: mpsc::Sender<EventRequest>,
    results: Streaming<EventResult>,
}

impl OpenStream {
    async fn send(service: &Service) -> Self {
        let (more, requests) = mpsc::channel(4);
        let event = SentEvent::new("Drained", "streamed", json!({"a": 1}));
        more.send(event.message()).await.unwrap();
        let mut client = service.grpc().client;
        let results = client.stream_events(ReceiverStream::new(requests)).await;
        let mut results = results.unwrap().into_inner();
        let first: Result<_, Status> = results.next().await.unwrap();
        assert_eq!(first.unwrap().status(), EventStatus::Processed);
        Self { _more: more, results }
    }
}
