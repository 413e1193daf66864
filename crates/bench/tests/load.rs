//! The load test must fail if the service does: here a proxy in front of a real service falsifies
//! some responses, which the runner must detect.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use producer_e2e::{Binary, Database, Service};
use producer_test_support::http_client_builder;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

/// The proxy falsifies the response to one in this many requests.
const INTERVAL: u64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Falsify {
    Nothing,
    /// The response has a version that the entity doesn't have.
    WrongVersion,
    /// The event is acknowledged but not stored.
    LostEvent,
    /// A read has the document of an earlier version.
    OldDocument,
}

/// The response of a service.
type Answer = (StatusCode, HeaderMap, Vec<u8>);

struct Proxy {
    falsify: Falsify,
    upstream: String,
    http: reqwest::Client,
    requests: AtomicU64,
}

impl Proxy {
    async fn start(service: &Service, falsify: Falsify) -> SocketAddr {
        let upstream = service.rest().url("");
        let http = http_client_builder().no_proxy().build().expect("a client");
        let proxy = Arc::new(Self { falsify, upstream, http, requests: AtomicU64::new(0) });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let app = Router::new().fallback(forward_or_falsify).with_state(proxy);
        tokio::spawn(async { axum::serve(listener, app).await });
        address
    }

    async fn forward(&self, method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Answer {
        let request = self.http.request(method, format!("{}{uri}", self.upstream));
        let answer = request.headers(headers).body(body).send().await;
        let answer = answer.expect("an answer of the service");
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.bytes().await.expect("its body").into())
    }
}

async fn forward_or_falsify(
    State(proxy): State<Arc<Proxy>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let unchanged = !proxy.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(INTERVAL);
    if !unchanged && proxy.falsify == Falsify::LostEvent {
        return (StatusCode::OK, HeaderMap::new(), acknowledgement(&body).to_string().into());
    }
    let is_read = method == Method::GET;
    let (status, mut headers, body) = proxy.forward(method, &uri, headers, body).await;
    let falsified = match proxy.falsify {
        _ if unchanged => None,
        Falsify::WrongVersion => Some(changed(&body, "/entities/0/version")),
        Falsify::OldDocument if is_read => Some(changed(&body, "/data/revision")),
        Falsify::OldDocument | Falsify::LostEvent | Falsify::Nothing => None,
    };
    if falsified.is_some() {
        headers.remove("content-length"); // another one
    }
    (status, headers, falsified.unwrap_or(body))
}

/// The document with another number at this place.
fn changed(document: &[u8], pointer: &str) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(document).expect("a document");
    *document.pointer_mut(pointer).expect(pointer) = json!(1_000_000);
    document.to_string().into()
}

/// The response of a service that has stored the event.
fn acknowledgement(body: &[u8]) -> Value {
    let event: Value = serde_json::from_slice(body).expect("an event");
    let entity = &event["eventBody"]["entities"][0];
    json!({
        "success": true,
        "message": "Event processed successfully",
        "eventId": event["eventHeader"]["uuid"],
        "duplicate": false,
        "entities": [{
            "entityType": entity["entityType"],
            "entityId": entity["entityId"],
            "version": 1,
            "created": true,
        }],
    })
}

/// A short smoke test with events through the proxy: its exit status, its output, its report as
/// Markdown.
async fn load_test(falsify: Falsify) -> (ExitStatus, String, String) {
    load_test_of("event", falsify).await
}

/// The same with another operation.
async fn load_test_of(operation: &str, falsify: Falsify) -> (ExitStatus, String, String) {
    let database = Database::sqlite();
    let service = Service::start(Binary::Rest, &database.settings()).await;
    let proxy = Proxy::start(&service, falsify).await;
    let results = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_producer-bench"))
        .args(["load", "smoke", "rest", "--service", &proxy.to_string()])
        .args(["--database-url", database.url()])
        .arg("--results")
        .arg(results.path())
        .env("OPERATION", operation)
        .env("PHASE_SECONDS", "3")
        .env("EVENT_MIX", "new:1")
        .env("PAYLOAD_SIZE", "400")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the runner starts");
    let folder = results.path().join(match operation {
        "event" => "smoke-given".to_owned(),
        _ => format!("smoke-given-{operation}"),
    });
    let report = std::fs::read_to_string(folder.join("report.md")).unwrap_or_default();
    let printed = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&printed).into_owned(), report)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correct_service_passes() {
    let (status, printed, report) = load_test(Falsify::Nothing).await;
    assert!(status.success(), "{printed}");
    assert!(report.contains("| REST | passed |"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_response_fails_the_test() {
    let (status, printed, report) = load_test(Falsify::WrongVersion).await;
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("threshold crossed: wrong_responses: count==0"), "{printed}");
    assert!(report.contains("| REST | failed |"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_event_fails_the_test() {
    let (status, printed, report) = load_test(Falsify::LostEvent).await;
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("all thresholds passed"), "k6 can't detect it: {printed}");
    assert!(printed.contains("accepted events are not in the log"), "{printed}");
    assert!(report.contains("| REST | failed |"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_on_single_entities_is_tried() {
    let (status, printed, report) = load_test_of("mixed", Falsify::Nothing).await;
    assert!(status.success(), "{printed}");
    assert!(report.contains("| REST | passed |"), "{report}");
    for operation in ["create", "get", "merge", "replace", "delete", "event"] {
        let row = report.lines().find(|line| line.starts_with(&format!("| {operation} | REST |")));
        assert!(row.is_some_and(|row| row.contains("| 0 % |")), "{operation}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_an_old_document_fails_the_test() {
    let (status, printed, report) = load_test_of("get", Falsify::OldDocument).await;
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("threshold crossed: errors{operation:get}"), "{printed}");
    assert!(report.contains("| REST | failed |"), "{report}");
}

#[test]
fn an_unknown_operation_is_an_error_that_lists_the_known_ones() {
    let tool = std::process::Command::new(env!("CARGO_BIN_EXE_producer-bench"))
        .args(["load", "smoke"])
        .env("OPERATION", "upsert")
        .output();
    let output = tool.expect("the tool starts");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(printed.contains("upsert") && printed.contains("mixed"), "{printed}");
}
