//! Clients that are so slow, or whose network is, that the service must give up on them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use h2::client::{ResponseFuture, SendRequest};
use producer_e2e::proto::event_service_client::EventServiceClient;
use producer_e2e::{DEADLINE, Database, NetworkConditions, Outcome, Proxy, SentEvent, Service};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::abuse::Environment;

/// Half-open connections of each kind.
const OF_EACH_KIND: usize = 25;
/// HTTP/2's keepalive: a ping after 20 s, and 20 s for its response. Plus slack.
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(45);
/// A client that reads nothing is closed after 60 s. Plus slack.
const WRITE_DEADLINE: Duration = Duration::from_secs(75);

/// Connections in every state on a stalled network: each is closed in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_to_the_services() {
    let database = Database::postgres().await;
    let timeouts = [("HEADER_TIMEOUT", "3s"), ("BODY_TIMEOUT", "3s"), ("IDLE_TIMEOUT", "5s")];
    let settings = [&database.settings()[..], &timeouts].concat();
    let (rest, grpc) = Service::start_both(&settings).await;
    let (to_rest, to_grpc) = (Proxy::new(rest.address()).await, Proxy::new(grpc.address()).await);
    let (idle, head) = ("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", "GET /livez HTTP/1.1\r\nhost:");
    let body = "POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    let (mut http1, mut http2) = (Vec::new(), Vec::new());
    for _ in 0..OF_EACH_KIND {
        for said in [idle, head, body] {
            let mut connection = TcpStream::connect(to_rest.address()).await.unwrap();
            connection.write_all(said.as_bytes()).await.unwrap();
            http1.push(connection);
        }
        http2.push(open_stream(to_rest.address(), "/api/v1/events/bulk").await);
        http2.push(open_stream(to_grpc.address(), "/producer.v1.EventService/StreamEvents").await);
    }
    let open = || (rest.connections(), grpc.connections());
    assert!(open().0 > 2 * OF_EACH_KIND && open().1 >= OF_EACH_KIND, "{:?}", open());

    let stalled = NetworkConditions::stalled();
    to_rest.set(stalled);
    to_grpc.set(stalled);
    let start = Instant::now();
    while open() != (0, 0) {
        assert!(start.elapsed() < KEEPALIVE_DEADLINE, "REST and gRPC still have {:?}", open());
        sleep(Duration::from_millis(100)).await;
    }
    let took = start.elapsed();
    println!("FIGURES {} half-open connections, closed within {took:.2?}", 5 * OF_EACH_KIND);
    for api in [rest.rest().into(), producer_e2e::Api::from(grpc.grpc())] {
        let event = SentEvent::new("Car", "car-1", json!({}));
        assert!(matches!(api.send(&event).await, Outcome::Done { .. }));
    }
    drop((http1, http2));
}

/// A connection, and the handles that keep its stream open.
type OpenStream = (SendRequest<Bytes>, ResponseFuture, h2::SendStream<Bytes>);

/// Opens an HTTP/2 connection with an incomplete request.
async fn open_stream(address: SocketAddr, path: &str) -> OpenStream {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{address}{path}")).header(
        "content-type",
        if path.contains("bulk") { "application/x-ndjson" } else { "application/grpc" },
    );
    let (answer, body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let client = client.ready().await.unwrap();
    (client, answer, body)
}

/// Clients with a large bulk request each. Half of them read the response slowly, half not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_bulk_responses() {
    const CLIENTS: usize = 20;
    let environment = Environment::new().await;
    let lines = "{\"eventHeader\":{},\"eventBody\":{}}\n".repeat(10_000);
    let head = "POST /api/v1/events/bulk HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{lines}", lines.len());
    let before = environment.rest.connections();
    let (mut silent, mut slow) = (Vec::new(), JoinSet::new());
    for place in 0..CLIENTS {
        let mut client = with_a_small_buffer(environment.rest.address()).await;
        client.write_all(request.as_bytes()).await.unwrap();
        if place % 2 == 0 {
            silent.push(client);
        } else {
            slow.spawn(read_slowly(client));
        }
    }
    for client in &silent {
        client.peek(&mut [0]).await.unwrap();
    }
    let begin = Instant::now();
    environment.load.history().more_done(100).await;
    // slow readers are still served; those that read nothing are closed
    while environment.rest.connections() > before + CLIENTS / 2 {
        assert!(begin.elapsed() < WRITE_DEADLINE, "{} are open", environment.rest.connections());
        sleep(Duration::from_millis(100)).await;
    }
    let ended = begin.elapsed();
    slow.shutdown().await;
    drop(silent);
    environment
        .check(&format!(
            "{CLIENTS} slow readers of bulk responses, those that read nothing closed after {ended:.0?}"
        ))
        .await;
}

async fn with_a_small_buffer(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(address).await.unwrap()
}

async fn read_slowly(mut client: TcpStream) {
    let mut pace = interval(Duration::from_secs(1));
    let mut buffer = [0; 1 << 10];
    while client.read(&mut buffer).await.is_ok_and(|read| read > 0) {
        pace.tick().await;
    }
}

/// Clients that stream events without end and read no result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_stream_results() {
    const CLIENTS: usize = 50;
    let environment = Environment::new().await;
    let mut event = SentEvent::new("Car", "car-1", json!({})).message();
    event.event_header = None;
    let mut unread = Vec::new();
    for _ in 0..CLIENTS {
        let url = format!("http://{}", environment.grpc.address());
        let mut client = EventServiceClient::connect(url).await.unwrap();
        let results = client.stream_events(stream::repeat(event.clone())).await.unwrap();
        unread.push((client, results.into_inner()));
    }
    environment.load.history().more_done(500).await;
    environment.check(&format!("{CLIENTS} streams whose results nobody reads")).await;
    drop(unread);
}

/// HTTP/2 clients that request much more on one connection than they read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_many_concurrent_responses() {
    const CLIENTS: usize = 4;
    const STREAMS: usize = 500;
    const SIZE: usize = 900_000;
    let environment = Environment::new().await;
    let large = SentEvent::new("Large", "one", json!({"text": "x".repeat(SIZE)}));
    assert!(matches!(environment.rest.rest().send(&large).await, Outcome::Done { .. }));
    let mut unread = Vec::new();
    for _ in 0..CLIENTS {
        let address = environment.rest.address();
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..STREAMS {
            client = client.ready().await.unwrap();
            let url = format!("http://{address}/api/v1/entities/Large/one");
            let request = http::Request::get(url).body(()).unwrap();
            unread.push(client.send_request(request, true).unwrap().0);
        }
    }
    let started = timeout(DEADLINE, join_all(&mut unread)).await.is_ok();
    assert!(started, "every response starts");
    let requested = CLIENTS * STREAMS * SIZE >> 20;
    drop(unread);
    environment
        .check(&format!("{CLIENTS} HTTP/2 connections request {requested} MiB and read nothing"))
        .await;
}
