//! Clients whose network, or whose reading, is so slow that it may as well be gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::proto::event_service_client::EventServiceClient;
use e2e::{DEADLINE, Database, Outcome, Proxy, SentEvent, Service, Weather};
use futures_util::future::join_all;
use futures_util::stream;
use h2::client::{ResponseFuture, SendRequest};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::abuse::Scene;

/// Half-open connections of each kind.
const OF_EACH_KIND: usize = 25;
/// HTTP/2's keepalive: a silent peer is asked after 20 s, and has 20 s to answer. And some slack.
const GIVEN_UP: Duration = Duration::from_secs(45);
/// A peer that takes nothing is dead after 60 s. And some slack.
const DEAD: Duration = Duration::from_secs(75);

/// Connections in every state, behind which the network goes silent: each is given up in time.
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

    let silence = Weather { silent: true, ..Weather::default() };
    to_rest.set(silence);
    to_grpc.set(silence);
    let silent = Instant::now();
    while open() != (0, 0) {
        assert!(silent.elapsed() < GIVEN_UP, "REST and gRPC still hold {:?}", open());
        sleep(Duration::from_millis(100)).await;
    }
    let took = silent.elapsed();
    println!("FIGURES {} half-open connections, given up within {took:.2?}", 5 * OF_EACH_KIND);
    for api in [rest.rest().into(), e2e::Api::from(grpc.grpc())] {
        let event = SentEvent::new("Car", "car-1", json!({}));
        assert!(matches!(api.send(&event).await, Outcome::Done { .. }));
    }
    drop((http1, http2));
}

/// A connection and what keeps its stream open.
type OpenStream = (SendRequest<Bytes>, ResponseFuture, h2::SendStream<Bytes>);

/// An HTTP/2 connection with a request that has begun.
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

/// Clients that send a large bulk call each, half of whom read its answer drop by drop, and half
/// nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_bulk_answers() {
    const CLIENTS: usize = 20;
    let scene = Scene::new().await;
    let lines = "{\"eventHeader\":{},\"eventBody\":{}}\n".repeat(10_000);
    let head = "POST /api/v1/events/bulk HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{lines}", lines.len());
    let neighbours = scene.rest.connections();
    let (mut silent, mut slow) = (Vec::new(), JoinSet::new());
    for place in 0..CLIENTS {
        let mut client = with_a_small_buffer(scene.rest.address()).await;
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
    scene.load.history().more_done(100).await;
    // those that take drops are served on; those that take nothing are dead
    while scene.rest.connections() > neighbours + CLIENTS / 2 {
        assert!(begin.elapsed() < DEAD, "{} are open", scene.rest.connections());
        sleep(Duration::from_millis(100)).await;
    }
    let ended = begin.elapsed();
    slow.shutdown().await;
    drop(silent);
    scene
        .judge(&format!(
            "{CLIENTS} slow readers of bulk answers, the deadest gone after {ended:.0?}"
        ))
        .await;
}

async fn with_a_small_buffer(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(address).await.unwrap()
}

async fn read_slowly(mut client: TcpStream) {
    let mut drop_by_drop = interval(Duration::from_secs(1));
    let mut buffer = [0; 1 << 10];
    while client.read(&mut buffer).await.is_ok_and(|read| read > 0) {
        drop_by_drop.tick().await;
    }
}

/// Clients that send events without end over a stream and read no result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_stream_results() {
    const CLIENTS: usize = 50;
    let scene = Scene::new().await;
    let mut event = SentEvent::new("Car", "car-1", json!({})).message();
    event.event_header = None;
    let mut unread = Vec::new();
    for _ in 0..CLIENTS {
        let url = format!("http://{}", scene.grpc.address());
        let mut client = EventServiceClient::connect(url).await.unwrap();
        let results = client.stream_events(stream::repeat(event.clone())).await.unwrap();
        unread.push((client, results.into_inner()));
    }
    scene.load.history().more_done(500).await;
    scene.judge(&format!("{CLIENTS} streams whose results nobody reads")).await;
    drop(unread);
}

/// HTTP/2 clients that ask for far more, over one connection, than they take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_many_answers_at_once() {
    const CLIENTS: usize = 4;
    const STREAMS: usize = 500;
    const SIZE: usize = 900_000;
    let scene = Scene::new().await;
    let large = SentEvent::new("Large", "one", json!({"text": "x".repeat(SIZE)}));
    assert!(matches!(scene.rest.rest().send(&large).await, Outcome::Done { .. }));
    let mut unread = Vec::new();
    for _ in 0..CLIENTS {
        let address = scene.rest.address();
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
    let begun = timeout(DEADLINE, join_all(&mut unread)).await.is_ok();
    assert!(begun, "every answer begins");
    let asked = CLIENTS * STREAMS * SIZE >> 20;
    drop(unread);
    scene
        .judge(&format!("{CLIENTS} HTTP/2 connections ask for {asked} MiB and read nothing"))
        .await;
}
