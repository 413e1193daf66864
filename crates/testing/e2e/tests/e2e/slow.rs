//! The log line of a slow request, and its durations.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use producer_e2e::{Binary, Database, SentEvent, Service, eventually};
use prost::Message;
use reqwest::Body;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::sleep;
use tonic::Request;

/// How long the tests delay a request; longer than `SLOW_REQUEST`.
const DELAY: Duration = Duration::from_millis(800);
const SLOW: (&str, &str) = ("SLOW_REQUEST", "300ms");

/// The log line of a request, which must not contain its data.
async fn line(service: &Service, id: &str) -> Value {
    let mut found = Vec::new();
    eventually("the log line of a slow request", async || {
        found = service.logged("slow request");
        found.retain(|line| line["request_id"] == id);
        !found.is_empty()
    })
    .await;
    assert_eq!(found.len(), 1, "{found:?}");
    let line = found.remove(0);
    for secret in ["secret", "slow-1"] {
        assert!(!line.to_string().contains(secret), "{line}");
    }
    line
}

/// The sum of these durations in milliseconds.
fn ms(line: &Value, names: &[&str]) -> u64 {
    names.iter().map(|name| line[*name].as_u64().unwrap_or_else(|| panic!("{name}: {line}"))).sum()
}

fn mostly(line: &Value, names: &[&str]) {
    let total = ms(line, &["duration_ms"]);
    assert!(u128::from(total) >= SLOW_MILLIS, "{line}");
    assert!(ms(line, names) > total / 2, "{line}");
    let parts = ms(line, &["body_ms", "queue_ms", "database_ms", "rest_ms"]);
    assert!(parts.abs_diff(total) <= 10, "{line}");
}

const SLOW_MILLIS: u128 = 300;

fn event() -> SentEvent {
    SentEvent::new("Slow", "slow-1", json!({"secret": true}))
}

async fn post(service: &Service, id: &str, body: impl Into<Body>) -> u16 {
    let rest = service.rest();
    let request = rest.http.post(rest.url("/api/v1/events")).header("x-request-id", id);
    request.body(body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_row_locked_by_another_session_counts_as_queue_and_database() {
    let database = Database::postgres().await;
    let settings = [database.settings()[0], SLOW];
    let (rest, grpc) = Service::start_both(&settings).await;
    assert_eq!(post(&rest, "first", event().json().to_string()).await, 200);

    let mut other = PgConnection::connect(database.url()).await.unwrap();
    let lock = "BEGIN; SELECT FROM entities WHERE entity_type = 'Slow' FOR UPDATE";
    other.execute(lock).await.unwrap();
    let mut call = Request::new(event().message());
    call.metadata_mut().insert("x-request-id", "over-grpc".parse().unwrap());
    let mut client = grpc.grpc().client;
    let release = async {
        sleep(DELAY).await;
        other.execute("ROLLBACK").await.unwrap();
    };
    let body = event().json().to_string();
    let (status, answer, (), ()) = tokio::join!(
        post(&rest, "over-rest", body),
        client.process_event(call),
        disconnect(&rest, "disconnected"),
        release
    );
    assert_eq!(status, 200);
    answer.unwrap();

    let of_rest = line(&rest, "over-rest").await;
    mostly(&of_rest, &["queue_ms", "database_ms"]);
    let fields = (&of_rest["method"], &of_rest["route"], &of_rest["status"], &of_rest["level"]);
    assert_eq!(fields, (&json!("POST"), &json!("/api/v1/events"), &json!("200"), &json!("WARN")));
    let of_grpc = line(&grpc, "over-grpc").await;
    mostly(&of_grpc, &["queue_ms", "database_ms"]);
    assert_eq!(of_grpc["route"], "/producer.v1.EventService/ProcessEvent");
    assert_eq!(of_grpc["status"], "OK");
    let of_disconnected = line(&rest, "disconnected").await;
    mostly(&of_disconnected, &["queue_ms", "database_ms"]);
    assert_eq!(of_disconnected["status"], "cancelled");
}

/// A client that disconnects before the response.
async fn disconnect(service: &Service, id: &str) {
    let rest = service.rest();
    let request = rest.http.post(rest.url("/api/v1/events")).header("x-request-id", id);
    let request = request.body(event().json().to_string()).timeout(DELAY / 2);
    assert!(request.send().await.unwrap_err().is_timeout());
}

/// Both halves of `body`.
fn halves(body: Vec<u8>) -> [Bytes; 2] {
    let mut whole = Bytes::from(body);
    let first = whole.split_to(whole.len() / 2);
    [first, whole]
}

#[tokio::test]
async fn a_slow_body_counts_as_body() {
    let database = Database::sqlite();
    let service = Service::start(Binary::Rest, &[database.settings()[0], SLOW]).await;
    let [first, last] = halves(event().json().to_string().into_bytes());
    let late = async move {
        sleep(DELAY).await;
        Ok::<_, std::io::Error>(last)
    };
    let body = stream::unfold((Some(first), Some(Box::pin(late))), |(first, last)| async move {
        match (first, last) {
            (Some(first), last) => Some((Ok(first), (None, last))),
            (None, Some(last)) => Some((last.await, (None, None))),
            (None, None) => None,
        }
    });
    assert_eq!(post(&service, "slow-body", Body::wrap_stream(body)).await, 200);
    mostly(&line(&service, "slow-body").await, &["body_ms"]);
}

#[tokio::test]
async fn a_slow_grpc_message_counts_as_body() {
    let database = Database::sqlite();
    let service = Service::start(Binary::Grpc, &[database.settings()[0], SLOW]).await;
    let stream = tokio::net::TcpStream::connect(service.address()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let path = "/producer.v1.EventService/ProcessEvent";
    let request = http::Request::post(format!("http://{}{path}", service.address()))
        .header("content-type", "application/grpc")
        .header("x-request-id", "slow-body")
        .body(())
        .unwrap();
    let (answer, mut sender) = client.send_request(request, false).unwrap();
    let message = event().message().encode_to_vec();
    let len = u32::try_from(message.len()).unwrap();
    let [first, last] = halves([&[0], &len.to_be_bytes()[..], &message].concat());
    sender.send_data(first, false).unwrap();
    sleep(DELAY).await;
    sender.send_data(last, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    mostly(&line(&service, "slow-body").await, &["body_ms"]);
}

#[tokio::test]
async fn ndjson_is_never_slow_and_zero_disables_the_log_line() {
    let database = Database::sqlite();
    let settings = [database.settings()[0], ("SLOW_REQUEST", "1ms")];
    let service = Service::start(Binary::Rest, &settings).await;
    let rest = service.rest();
    let line_of_event = format!("{}\n", event().json());
    let path = "/api/v1/events/bulk?results=none";
    let many = line_of_event.repeat(500);
    assert_eq!(rest.post(path, "application/x-ndjson", many.clone()).await.0, 200);
    let array = format!("[{}]", vec![event().json().to_string(); 500].join(","));
    assert_eq!(rest.post(path, "application/json", array).await.0, 200);
    eventually("the log line of the array", async || {
        let lines = service.logged("slow request");
        lines.iter().any(|line| line["route"] == "/api/v1/events/bulk")
    })
    .await;
    let of_bulk = service.logged("slow request");
    let of_bulk = of_bulk.iter().filter(|line| line["route"] == "/api/v1/events/bulk");
    assert_eq!(of_bulk.count(), 1, "only that of the array");

    let off = [database.settings()[0], ("SLOW_REQUEST", "0")];
    let service = Service::start(Binary::Rest, &off).await;
    assert_eq!(service.rest().post(path, "application/x-ndjson", many).await.0, 200);
    let [first, _] = halves(event().json().to_string().into_bytes());
    assert_eq!(post(&service, "broken", first).await, 400);
    assert_eq!(service.logged("slow request"), Vec::<Value>::new());
}
