//! Traces, as a receiver of OpenTelemetry gets them from the real services.

use std::time::Duration;

use futures_util::future::join_all;
use producer_e2e::{
    Binary, Certificate, CertificateFiles, Database, Outcome, Receiver, SentEvent, SentSpan,
    Service, eventually, proto,
};
use reqwest::Response;
use serde_json::json;
use tokio::net::TcpListener;
use tonic::Request;
use tonic::metadata::MetadataValue;
use uuid::Uuid;

/// A caller's span, as it stands in `traceparent`.
#[derive(Debug, Clone)]
struct Caller {
    trace: String,
    span: String,
}

impl Caller {
    fn new() -> Self {
        let span = Uuid::new_v4().simple().to_string();
        Self { trace: Uuid::new_v4().simple().to_string(), span: span[..16].into() }
    }

    fn header(&self, flags: &str) -> String {
        format!("00-{}-{}-{flags}", self.trace, self.span)
    }

    fn id(&self) -> (String, String) {
        (self.trace.clone(), self.span.clone())
    }
}

fn car(id: &str) -> SentEvent {
    SentEvent::new("Car", id, json!({"km": 1}))
}

async fn start(
    binary: Binary,
    database: &Database,
    receiver: &str,
    more: &[(&str, &str)],
) -> Service {
    let mut settings = database.settings().to_vec();
    settings.push(("OTEL_EXPORTER_OTLP_ENDPOINT", receiver));
    settings.push(("OTEL_BSP_SCHEDULE_DELAY", "50"));
    settings.extend(more);
    Service::start(binary, &settings).await
}

async fn post(service: &Service, traceparent: &str, id: &str) -> Response {
    let rest = service.rest();
    let request = rest.http.post(rest.url("/api/v1/events")).json(&car(id).json());
    let request = request.header("traceparent", traceparent).header("x-request-id", id);
    request.send().await.unwrap()
}

fn with_caller<T>(message: T, caller: &Caller) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(caller.header("01")).unwrap();
    request.metadata_mut().insert("traceparent", value);
    request
}

/// The span of the caller's request, with all that hangs on it as it should.
async fn whole_trace(receiver: &Receiver, caller: &Caller, name: &str) -> SentSpan {
    let request = receiver.span(name, |span| span.parent() == caller.id()).await;
    let queue = receiver.span("queue", |span| span.parent() == request.id()).await;
    let batch = receiver.span("batch", |span| span.links().contains(&request.id())).await;
    assert_eq!(queue.links(), [batch.id()]);
    assert!(queue.span.start_time_unix_nano >= request.span.start_time_unix_nano);
    let commit = receiver.span("commit", |span| span.parent() == batch.id()).await;
    assert!(commit.span.end_time_unix_nano <= batch.span.end_time_unix_nano);
    request
}

#[tokio::test]
async fn a_callers_trace_goes_on_over_rest() {
    let (database, receiver) = (Database::sqlite(), Receiver::start().await);
    let service = start(Binary::Rest, &database, &receiver.endpoint(), &[]).await;
    let caller = Caller::new();
    assert_eq!(post(&service, &caller.header("01"), "car-1").await.status(), 200);
    let request = whole_trace(&receiver, &caller, "POST /api/v1/events").await;
    assert_eq!(request.service, "producer-rest");
    assert_eq!(request.attribute("http.response.status_code").as_deref(), Some("200"));
    assert_eq!(request.attribute("producer.request_id").as_deref(), Some("car-1"));
    let batch = receiver.span("batch", |span| span.parent() == request.id()).await;
    assert_eq!(batch.attribute("producer.events").as_deref(), Some("1"));
    service.stop().await;
}

#[tokio::test]
async fn a_request_without_a_caller_begins_a_trace_and_the_sampler_decides() {
    let (database, receiver) = (Database::sqlite(), Receiver::start().await);
    let service = start(Binary::Rest, &database, &receiver.endpoint(), &[]).await;
    assert!(matches!(service.rest().send(&car("car-1")).await, Outcome::Done { .. }));
    let is_root = |span: &SentSpan| span.span.parent_span_id.is_empty();
    let request = receiver.span("POST /api/v1/events", is_root).await;
    receiver.span("batch", |span| span.links().contains(&request.id())).await;
    service.stop().await;

    let (none, receiver) = (("OTEL_TRACES_SAMPLER", "always_off"), Receiver::start().await);
    let service = start(Binary::Rest, &database, &receiver.endpoint(), &[none]).await;
    assert_eq!(post(&service, &Caller::new().header("01"), "car-2").await.status(), 200);
    service.stop().await;
    assert!(receiver.spans("POST /api/v1/events").is_empty());
}

#[tokio::test]
async fn a_callers_trace_goes_on_over_grpc() {
    let (database, receiver) = (Database::sqlite(), Receiver::start().await);
    let named = [("OTEL_SERVICE_NAME", "events")];
    let service = start(Binary::Grpc, &database, &receiver.endpoint(), &named).await;
    let mut client = service.grpc().client;

    let unary = Caller::new();
    client.process_event(with_caller(car("car-1").message(), &unary)).await.unwrap();
    let rpc = "producer.v1.EventService/ProcessEvent";
    let request = whole_trace(&receiver, &unary, rpc).await;
    assert_eq!(request.service, "events");
    assert_eq!(request.attribute("rpc.response.status_code").as_deref(), Some("OK"));

    let many = Caller::new();
    let events = (0..20).map(|n| car(&format!("car-{n}")).message()).collect();
    let message = proto::ProcessEventsRequest { events, atomic: false };
    client.process_events(with_caller(message, &many)).await.unwrap();
    whole_trace(&receiver, &many, "producer.v1.EventService/ProcessEvents").await;

    let stream = Caller::new();
    let events = tokio_stream::iter((0..20).map(|n| car(&format!("car-{n}")).message()));
    let answer = client.stream_events(with_caller(events, &stream)).await.unwrap();
    let mut results = answer.into_inner();
    while results.message().await.unwrap().is_some() {}
    whole_trace(&receiver, &stream, "producer.v1.EventService/StreamEvents").await;
    service.stop().await;
}

#[tokio::test]
async fn spans_go_over_tls_to_a_receiver_whose_certificate_is_trusted() {
    let (database, certificate) = (Database::sqlite(), Certificate::new());
    let receiver = Receiver::start_with_tls(&certificate).await;
    let files = CertificateFiles::new(&certificate);
    let trusted = files.cert().display().to_string();
    let trust = [("OTEL_EXPORTER_OTLP_CERTIFICATE", &*trusted)];
    let service = start(Binary::Rest, &database, &receiver.endpoint(), &trust).await;
    let caller = Caller::new();
    assert_eq!(post(&service, &caller.header("01"), "car-1").await.status(), 200);
    whole_trace(&receiver, &caller, "POST /api/v1/events").await;
    service.stop().await;

    let untrusting = start(Binary::Rest, &database, &receiver.endpoint(), &[]).await;
    assert_eq!(post(&untrusting, &Caller::new().header("01"), "car-2").await.status(), 200);
    let lines = || untrusting.logged("traces can't be delivered");
    eventually("a line in the log", async || !lines().is_empty()).await;
    let error = lines()[0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("invalid peer certificate"), "{error}");
    untrusting.stop().await;
}

#[tokio::test]
async fn a_receiver_that_comes_back_is_logged_once() {
    let database = Database::sqlite();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let service = start(Binary::Rest, &database, &format!("http://{address}"), &[]).await;
    let send = async || post(&service, &Caller::new().header("01"), "car-1").await.status();
    assert_eq!(send().await, 200);
    let failing = || service.logged("traces can't be delivered").len();
    eventually("it can't be reached", async || failing() > 0).await;
    let receiver = Receiver::start_at(address).await;
    eventually("spans come", async || {
        assert_eq!(send().await, 200);
        !receiver.spans("batch").is_empty()
    })
    .await;
    let back = || service.logged("traces are delivered again").len();
    eventually("it is back", async || back() > 0).await;
    assert_eq!((failing(), back()), (1, 1));
    service.stop().await;
}

/// Requests that share a batch: each finds the batch from its trace, and the batch finds each.
#[tokio::test]
async fn a_batch_links_to_every_request_that_it_serves() {
    let (database, receiver) = (Database::sqlite(), Receiver::start().await);
    let service = start(Binary::Rest, &database, &receiver.endpoint(), &[]).await;
    let callers: Vec<_> = (0..32).map(|_| Caller::new()).collect();
    let posts = callers.iter().enumerate().map(|(n, caller)| {
        let (service, id) = (&service, format!("car-{n}"));
        async move { post(service, &caller.header("01"), &id).await.status() }
    });
    assert!(join_all(posts).await.into_iter().all(|status| status == 200));
    for caller in &callers {
        whole_trace(&receiver, caller, "POST /api/v1/events").await;
    }
    assert!(receiver.spans("batch").len() <= callers.len());
    service.stop().await;
}

#[tokio::test]
async fn a_caller_that_does_not_sample_is_followed_and_the_end_sends_what_is_left() {
    let (database, receiver) = (Database::sqlite(), Receiver::start().await);
    let late = [("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let service = start(Binary::Rest, &database, &receiver.endpoint(), &late).await;
    let (without, with) = (Caller::new(), Caller::new());
    assert_eq!(post(&service, &without.header("00"), "car-1").await.status(), 200);
    assert_eq!(post(&service, &with.header("01"), "car-2").await.status(), 200);
    service.stop().await;
    whole_trace(&receiver, &with, "POST /api/v1/events").await;
    for name in ["POST /api/v1/events", "queue", "batch", "commit"] {
        let traces = receiver.spans(name).into_iter().map(|span| span.id().0);
        assert!(traces.into_iter().all(|trace| trace != without.trace), "{name}");
    }
}

/// More requests than the queue of spans holds, and then the end; nobody notices but the log.
async fn nobody_notices(receiver: &str) -> Service {
    let database = Database::sqlite();
    let mut service = start(Binary::Rest, &database, receiver, &[]).await;
    let rest = service.rest();
    let sender = |n: u32| {
        let rest = &rest;
        async move {
            for m in 0..50 {
                let outcome = rest.send(&car(&format!("car-{n}-{m}"))).await;
                assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
            }
        }
    };
    join_all((0..32).map(sender)).await;
    assert!(service.peak_memory() < 300 << 20);
    service.signal(producer_e2e::Signal::TERM);
    // a second to flush, and slack
    assert!(service.exit(Duration::from_secs(5)).await.success());
    service
}

#[tokio::test]
async fn a_receiver_that_refuses_is_nobodys_problem() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let service = nobody_notices(&format!("http://{free}")).await;
    assert_eq!(service.logged("traces can't be delivered").len(), 1, "told once");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_nobodys_problem() {
    // connections are made by the kernel, and nobody ever reads
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = nobody_notices(&format!("http://{}", silent.local_addr().unwrap())).await;
    assert_eq!(service.logged("the last spans could not be delivered").len(), 1);
}

/// Also where no spans are made.
#[tokio::test]
async fn lines_of_a_request_carry_its_id_and_its_trace() {
    let database = Database::sqlite();
    let settings = [database.settings()[0], ("LOG_LEVEL", "debug")];
    let (rest, grpc) = Service::start_both(&settings).await;
    let (here, there) = (Caller::new(), Caller::new());
    assert_eq!(post(&rest, &here.header("00"), "\"quoted\\").await.status(), 200);
    let mut request = with_caller(car("car-1").message(), &there);
    request.metadata_mut().insert("x-request-id", "r-2".parse().unwrap());
    grpc.grpc().client.process_event(request).await.unwrap();
    for (service, id, caller) in [(&rest, "\"quoted\\", here), (&grpc, "r-2", there)] {
        let lines = service.logged("event received");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(
            (&lines[0]["request_id"], &lines[0]["trace_id"]),
            (&json!(id), &json!(caller.trace))
        );
    }
}
