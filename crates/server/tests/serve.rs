//! The accept loop against clients that behave badly, and its end.
#![expect(clippy::unwrap_used, reason = "a test that finds no value must fail")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt;
use producer_server::serve::{RequestBody, ServeLimits, bind, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_millis(500);
/// What a deadline may be late by.
const SLACK: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(600);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
    /// Notified when a request has arrived.
    arrived: Arc<Notify>,
    /// Lets one request be answered.
    go: Arc<Notify>,
}

impl Server {
    fn start(max_connections: usize, header_timeout: Duration, shutdown_grace: Duration) -> Self {
        let idle_timeout = LONG;
        Self::with(ServeLimits { max_connections, header_timeout, idle_timeout, shutdown_grace })
    }

    fn with(limits: ServeLimits) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&arrived), Arc::clone(&go));
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
            async move {
                tell.notify_one();
                let _cut_off = request.into_body().collect().await;
                wait.notified().await;
                Ok::<_, Infallible>(Response::new("answered".to_owned()))
            }
        });
        let task = tokio::spawn(serve(listener, service, limits, shutdown.clone()));
        Self { address, shutdown, task, arrived, go }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// What comes until the server closes or resets.
async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let _reset = stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let server = Server::start(9, SOON, LONG);
    assert_eq!(rest(server.connect().await).await, "");
}

#[tokio::test]
async fn a_begin_that_could_be_either_version_has_the_deadline_too() {
    let server = Server::start(9, SOON, LONG);
    for begin in ["P", "PRI * HTTP/2.0\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        assert_eq!(rest(stream).await, "");
    }
}

/// Sends a request and reads its answer.
async fn ask(server: &Server, stream: &mut TcpStream, request: &[u8]) {
    server.go.notify_one();
    stream.write_all(request).await.unwrap();
    answered(stream).await;
}

/// Reads one answer; its head isn't of interest.
async fn answered(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"answered") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it ended before the answer");
    }
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off() {
    let server = Server::start(9, SOON, LONG);
    a_dribbled_header_is_cut_off(server.connect().await).await;
}

#[tokio::test]
async fn a_later_header_that_never_ends_is_cut_off() {
    let server = Server::start(9, SOON, LONG);
    let post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    for first in [REQUEST, post] {
        let mut stream = server.connect().await;
        ask(&server, &mut stream, first).await;
        a_dribbled_header_is_cut_off(stream).await;
    }
}

#[tokio::test]
async fn a_header_that_stops_is_cut_off() {
    let server = Server::start(9, SOON, LONG);
    let mut stream = server.connect().await;
    ask(&server, &mut stream, REQUEST).await;
    stream.write_all(&REQUEST[..9]).await.unwrap();
    let begin = Instant::now();
    assert_eq!(rest(stream).await, "");
    assert!(begin.elapsed() < SOON + SLACK);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_headers_deadline_and_has_its_own() {
    let idle_timeout = 5 * SOON;
    let server = Server::with(ServeLimits {
        max_connections: 9,
        header_timeout: SOON,
        idle_timeout,
        shutdown_grace: LONG,
    });
    let mut stream = server.connect().await;
    for _ in 0..3 {
        ask(&server, &mut stream, REQUEST).await;
        tokio::time::sleep(2 * SOON).await;
    }
    ask(&server, &mut stream, REQUEST).await;
    let begin = Instant::now();
    assert_eq!(rest(stream).await, "");
    let idled = begin.elapsed();
    assert!(idled > idle_timeout - SOON && idled < idle_timeout + SLACK, "{idled:?}");
}

#[tokio::test]
async fn bodies_and_answers_may_take_longer_than_headers() {
    let server = Server::start(9, SOON, LONG);
    let mut stream = server.connect().await;
    for _ in 0..2 {
        let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\n";
        stream.write_all(head).await.unwrap();
        for _ in 0..8 {
            tokio::time::sleep(SOON / 2).await;
            stream.write_all(b"x").await.unwrap();
        }
        // the next one comes while this one waits for its answer
        stream.write_all(REQUEST).await.unwrap();
        tokio::time::sleep(2 * SOON).await;
        for _ in 0..2 {
            server.go.notify_one();
            answered(&mut stream).await;
        }
    }
}

async fn a_dribbled_header_is_cut_off(stream: TcpStream) {
    let begin = Instant::now();
    let (read, mut write) = stream.into_split();
    let drip = tokio::spawn(async move {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        write.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while write.write_all(b"x: y\r\n").await.is_ok() {
            pause.tick().await;
        }
    });
    let mut all = Vec::new();
    let _reset = tokio::io::BufReader::new(read).read_to_end(&mut all).await;
    drip.await.unwrap();
    assert!(begin.elapsed() < SOON + SLACK);
    assert!(!String::from_utf8_lossy(&all).contains("200"));
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_at_once_and_the_others_go_on() {
    let server = Server::start(1, LONG, LONG);
    let mut first = server.connect().await;
    first.write_all(REQUEST).await.unwrap();
    server.arrived.notified().await;
    assert_eq!(rest(server.connect().await).await, "");
    server.go.notify_one();
    let mut begin = [0; 12];
    first.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_place_that_is_free_again_is_given_away() {
    let server = Server::start(1, LONG, LONG);
    for _ in 0..3 {
        server.go.notify_one();
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        // the place is given back a moment after the client sees the end
        let answered = async {
            loop {
                let mut stream = server.connect().await;
                let _reset = stream.write_all(request).await;
                let answer = rest(stream).await;
                if answer.ends_with("answered") {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), answered).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let server = Server::start(9, LONG, LONG);
    let mut busy = server.connect().await;
    busy.write_all(REQUEST).await.unwrap();
    server.arrived.notified().await;
    server.shutdown.cancel();
    // others still get an answer meanwhile
    let mut late = server.connect().await;
    late.write_all(REQUEST).await.unwrap();
    server.arrived.notified().await;
    server.go.notify_waiters();
    assert!(rest(busy).await.ends_with("answered"));
    assert!(rest(late).await.ends_with("answered"));
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn idle_and_silent_connections_do_not_hold_the_end_up() {
    let server = Server::start(9, LONG, LONG);
    let silent = server.connect().await;
    let mut idle = server.connect().await;
    server.go.notify_one();
    idle.write_all(REQUEST).await.unwrap();
    let mut begin = [0; 12];
    idle.read_exact(&mut begin).await.unwrap();
    server.shutdown.cancel();
    server.task.await.unwrap().unwrap();
    drop((silent, idle));
}

#[tokio::test]
async fn the_grace_ends_what_does_not_end_by_itself() {
    let server = Server::start(9, LONG, SOON);
    let mut busy = server.connect().await;
    busy.write_all(REQUEST).await.unwrap();
    server.arrived.notified().await;
    server.shutdown.cancel();
    server.task.await.unwrap().unwrap();
    assert!(!rest(busy).await.contains("answered"));
}
