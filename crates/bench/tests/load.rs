//! The load test must fail if the service does: here a proxy in front of a real service falsifies
//! some responses, which the runner must detect.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use producer_e2e::{Binary, Database, Service};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

/// The proxy falsifies the response of one in this many events.
const INTERVAL: u64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Falsify {
    Nothing,
    /// The response has a version that the entity doesn't have.
    WrongVersion,
    /// The event is acknowledged but not stored.
    LostEvent,
}

struct Proxy {
    falsify: Falsify,
    upstream: String,
    http: reqwest::Client,
    events: AtomicU64,
}

impl Proxy {
    async fn start(service: &Service, falsify: Falsify) -> SocketAddr {
        let upstream = service.rest().url("/api/v1/events");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let proxy = Arc::new(Self { falsify, upstream, http, events: AtomicU64::new(0) });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let app = Router::new().fallback(forward_or_falsify).with_state(proxy);
        tokio::spawn(async { axum::serve(listener, app).await });
        address
    }

    async fn forward(&self, body: Bytes) -> (StatusCode, Value) {
        let request = self.http.post(&self.upstream).header("content-type", "application/json");
        let answer = request.body(body).send().await.expect("an answer of the service");
        let status = answer.status();
        (status, answer.json().await.expect("a document"))
    }
}

async fn forward_or_falsify(State(proxy): State<Arc<Proxy>>, body: Bytes) -> (StatusCode, String) {
    let unchanged = !proxy.events.fetch_add(1, Ordering::Relaxed).is_multiple_of(INTERVAL);
    let (status, answer) = match proxy.falsify {
        Falsify::LostEvent if !unchanged => (StatusCode::OK, acknowledgement(&body)),
        Falsify::WrongVersion if !unchanged => {
            let (status, mut answer) = proxy.forward(body).await;
            answer["entities"][0]["version"] = json!(7);
            (status, answer)
        }
        _ => proxy.forward(body).await,
    };
    (status, answer.to_string())
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

/// A short smoke test through the proxy: its exit status, its output, its report as Markdown.
async fn load_test(falsify: Falsify) -> (ExitStatus, String, String) {
    let database = Database::sqlite();
    let service = Service::start(Binary::Rest, &database.settings()).await;
    let proxy = Proxy::start(&service, falsify).await;
    let results = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_producer-bench"))
        .args(["load", "smoke", "rest", "--service", &proxy.to_string()])
        .args(["--database-url", database.url()])
        .arg("--results")
        .arg(results.path())
        .env("PHASE_SECONDS", "3")
        .env("EVENT_MIX", "new:1")
        .env("PAYLOAD_SIZE", "400")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the runner starts");
    let folder = results.path().join("smoke-given");
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
