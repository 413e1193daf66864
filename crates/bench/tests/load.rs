//! The load test must fail where the service does: here a proxy before a real service lies now and
//! then, and the runner has to notice.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use e2e::{Binary, Database, Service};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

/// Every so many events the proxy lies.
const NOW_AND_THEN: u64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// The answer names a version that the entity doesn't have.
    WrongVersion,
    /// The event is acknowledged, and stored nowhere.
    LostEvent,
}

struct Proxy {
    lie: Lie,
    upstream: String,
    http: reqwest::Client,
    events: AtomicU64,
}

impl Proxy {
    async fn start(service: &Service, lie: Lie) -> SocketAddr {
        let upstream = service.rest().url("/api/v1/events");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let proxy = Arc::new(Self { lie, upstream, http, events: AtomicU64::new(0) });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let app = Router::new().fallback(pass_on).with_state(proxy);
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

async fn pass_on(State(proxy): State<Arc<Proxy>>, body: Bytes) -> (StatusCode, String) {
    let honest = !proxy.events.fetch_add(1, Ordering::Relaxed).is_multiple_of(NOW_AND_THEN);
    let (status, answer) = match proxy.lie {
        Lie::LostEvent if !honest => (StatusCode::OK, acknowledged(&body)),
        Lie::WrongVersion if !honest => {
            let (status, mut answer) = proxy.forward(body).await;
            answer["entities"][0]["version"] = json!(7);
            (status, answer)
        }
        _ => proxy.forward(body).await,
    };
    (status, answer.to_string())
}

/// What the service would say, had it stored the event.
fn acknowledged(body: &[u8]) -> Value {
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

/// A short smoke test through the proxy: its end, what it printed, its report as Markdown.
async fn load_test(lie: Lie) -> (ExitStatus, String, String) {
    let database = Database::sqlite();
    let service = Service::start(Binary::Rest, &database.settings()).await;
    let proxy = Proxy::start(&service, lie).await;
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
async fn an_honest_service_passes() {
    let (status, printed, report) = load_test(Lie::None).await;
    assert!(status.success(), "{printed}");
    assert!(report.contains("| REST | passed |"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_fails_the_test() {
    let (status, printed, report) = load_test(Lie::WrongVersion).await;
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("threshold crossed: wrong_answers: count==0"), "{printed}");
    assert!(report.contains("| REST | failed |"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_event_fails_the_test() {
    let (status, printed, report) = load_test(Lie::LostEvent).await;
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("every threshold holds"), "k6 alone can't see it: {printed}");
    assert!(printed.contains("accepted events are not in the log"), "{printed}");
    assert!(report.contains("| REST | failed |"), "{report}");
}
