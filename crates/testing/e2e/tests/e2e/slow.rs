//! Slow requests: the line that names one, and where its time went.

use std::time::Duration;

use bytes::Bytes;
use e2e::{Binary, Database, SentEvent, Service, eventually};
use futures_util::stream;
use prost::Message;
use reqwest::Body;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::sleep;
use tonic::Request;

/// How long the tests hold a request up; `SLOW_REQUEST` is less.
const HELD: Duration = Duration::from_millis(800);
const SLOW: (&str, &str) = ("SLOW_REQUEST", "300ms");

/// The one line about a request, of which nothing but its figures may tell anything.
async fn line(service: &Service, id: &str) -> Value {
    let mut found = Vec::new();
    eventually("the line of a slow request", async || {
        found = service.logged("slow request");
        found.retain(|line| line["request_id"] == id);
        !found.is_empty()
    })
    .await;
    assert_eq!(found.len(), 1, "{found:?}");
    let line = found.remove(0);
    for secret in ["secret", "held-1"] {
        assert!(!line.to_string().contains(secret), "{line}");
    }
    line
}

/// Milliseconds that the line says.
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

fn held() -> SentEvent {
    SentEvent::new("Held", "held-1", json!({"secret": true}))
}

async fn post(service: &Service, id: &str, body: impl Into<Body>) -> u16 {
    let rest = service.rest();
    let request = rest.http.post(rest.url("/api/v1/events")).header("x-request-id", id);
    request.body(body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_row_that_a_foreign_session_holds_shows_as_waiting_for_the_database() {
    let database = Database::postgres().await;
    let settings = [database.settings()[0], SLOW];
    let (rest, grpc) = Service::start_both(&settings).await;
    assert_eq!(post(&rest, "first", held().json().to_string()).await, 200);

    let mut foreign = PgConnection::connect(database.url()).await.unwrap();
    let lock = "BEGIN; SELECT FROM entities WHERE entity_type = 'Held' FOR UPDATE";
    foreign.execute(lock).await.unwrap();
    let mut call = Request::new(held().message());
    call.metadata_mut().insert("x-request-id", "over-grpc".parse().unwrap());
    let mut client = grpc.grpc().client;
    let release = async {
        sleep(HELD).await;
        foreign.execute("ROLLBACK").await.unwrap();
    };
    let body = held().json().to_string();
    let (status, answer, (), ()) = tokio::join!(
        post(&rest, "over-rest", body),
        client.process_event(call),
        leave(&rest, "left"),
        release
    );
    assert_eq!(status, 200);
    answer.unwrap();

    let of_rest = line(&rest, "over-rest").await;
    mostly(&of_rest, &["queue_ms", "database_ms"]);
    let told = (&of_rest["method"], &of_rest["route"], &of_rest["status"], &of_rest["level"]);
    assert_eq!(told, (&json!("POST"), &json!("/api/v1/events"), &json!("200"), &json!("WARN")));
    let of_grpc = line(&grpc, "over-grpc").await;
    mostly(&of_grpc, &["queue_ms", "database_ms"]);
    assert_eq!(of_grpc["route"], "/producer.v1.EventService/ProcessEvent");
    assert_eq!(of_grpc["status"], "OK");
    let of_one_that_left = line(&rest, "left").await;
    mostly(&of_one_that_left, &["queue_ms", "database_ms"]);
    assert_eq!(of_one_that_left["status"], "cancelled");
}

/// A client that doesn't wait for the answer.
async fn leave(service: &Service, id: &str) {
    let rest = service.rest();
    let request = rest.http.post(rest.url("/api/v1/events")).header("x-request-id", id);
    let request = request.body(held().json().to_string()).timeout(HELD / 2);
    assert!(request.send().await.unwrap_err().is_timeout());
}

/// Half of `body` at once, the rest late.
fn halves(body: Vec<u8>) -> [Bytes; 2] {
    let mut whole = Bytes::from(body);
    let first = whole.split_to(whole.len() / 2);
    [first, whole]
}

#[tokio::test]
async fn a_client_that_dribbles_its_body_shows_as_reading_it() {
    let database = Database::sqlite();
    let service = Service::start(Binary::Rest, &[database.settings()[0], SLOW]).await;
    let [first, last] = halves(held().json().to_string().into_bytes());
    let late = async move {
        sleep(HELD).await;
        Ok::<_, std::io::Error>(last)
    };
    let body = stream::unfold((Some(first), Some(Box::pin(late))), |(first, last)| async move {
        match (first, last) {
            (Some(first), last) => Some((Ok(first), (None, last))),
            (None, Some(last)) => Some((last.await, (None, None))),
            (None, None) => None,
        }
    });
    assert_eq!(post(&service, "dribbled", Body::wrap_stream(body)).await, 200);
    mostly(&line(&service, "dribbled").await, &["body_ms"]);
}

#[tokio::test]
async fn a_caller_that_dribbles_its_message_shows_as_reading_it() {
    let database = Database::sqlite();
    let service = Service::start(Binary::Grpc, &[database.settings()[0], SLOW]).await;
    let stream = tokio::net::TcpStream::connect(service.address()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let path = "/producer.v1.EventService/ProcessEvent";
    let request = http::Request::post(format!("http://{}{path}", service.address()))
        .header("content-type", "application/grpc")
        .header("x-request-id", "dribbled")
        .body(())
        .unwrap();
    let (answer, mut sender) = client.send_request(request, false).unwrap();
    let message = held().message().encode_to_vec();
    let len = u32::try_from(message.len()).unwrap();
    let [first, last] = halves([&[0], &len.to_be_bytes()[..], &message].concat());
    sender.send_data(first, false).unwrap();
    sleep(HELD).await;
    sender.send_data(last, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    mostly(&line(&service, "dribbled").await, &["body_ms"]);
}

#[tokio::test]
async fn ndjson_is_as_long_as_its_client_makes_it_and_zero_is_off() {
    let database = Database::sqlite();
    let settings = [database.settings()[0], ("SLOW_REQUEST", "1ms")];
    let service = Service::start(Binary::Rest, &settings).await;
    let rest = service.rest();
    let line_of_event = format!("{}\n", held().json());
    let path = "/api/v1/events/bulk?results=none";
    let many = line_of_event.repeat(500);
    assert_eq!(rest.post(path, "application/x-ndjson", many.clone()).await.0, 200);
    let array = format!("[{}]", vec![held().json().to_string(); 500].join(","));
    assert_eq!(rest.post(path, "application/json", array).await.0, 200);
    eventually("the array's line", async || {
        let lines = service.logged("slow request");
        lines.iter().any(|line| line["route"] == "/api/v1/events/bulk")
    })
    .await;
    let of_bulk = service.logged("slow request");
    let of_bulk = of_bulk.iter().filter(|line| line["route"] == "/api/v1/events/bulk");
    assert_eq!(of_bulk.count(), 1, "the array's alone");

    let off = [database.settings()[0], ("SLOW_REQUEST", "0")];
    let service = Service::start(Binary::Rest, &off).await;
    assert_eq!(service.rest().post(path, "application/x-ndjson", many).await.0, 200);
    let [first, _] = halves(held().json().to_string().into_bytes());
    assert_eq!(post(&service, "broken", first).await, 400);
    assert_eq!(service.logged("slow request"), Vec::<Value>::new());
}
