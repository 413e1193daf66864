//! Many readers of changes, slow ones, and what ends them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use producer_test_support::Postgres;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::app::{TIMEOUT, TestApp, answer, car_event};
use crate::feed::{CHANGES, NDJSON, Received, SSE, STREAMS, Stream, only_event};

/// The value of a series, which must be there.
async fn metric(app: &TestApp, series: &str) -> f64 {
    let text = app.get("/metrics").send().await.unwrap().text().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    assert!(value.is_some(), "{series} in {text}");
    value.unwrap().parse().unwrap()
}

async fn readers(app: &TestApp) -> f64 {
    let mut readers = 0.0;
    for form in ["page", "sse", "ndjson"] {
        readers += metric(app, &format!("producer_change_readers{{form=\"{form}\"}}")).await;
    }
    readers
}

async fn until_readers(app: &TestApp, expected: f64) {
    let deadline = Instant::now() + TIMEOUT;
    while readers(app).await != expected {
        assert!(Instant::now() < deadline, "{} readers", readers(app).await);
    }
}

#[tokio::test]
async fn one_reader_too_many_is_refused_until_another_ends() {
    let app = TestApp::sqlite_with(&["--max-change-readers", "2"]).await;
    let mut first = Stream::open(&app, SSE, "").await;
    let second = Stream::open(&app, NDJSON, "").await;
    for media in ["application/json", NDJSON] {
        let refused = answer(app.get(CHANGES).header("accept", media)).await;
        assert_eq!((refused.status, refused.problem()), (503, "overloaded"), "{media}");
        assert_eq!(refused.header("retry-after"), "1");
        assert!(refused.body["detail"].as_str().unwrap().contains("MAX_CHANGE_READERS"));
    }
    let refused = app.get(CHANGES).header("accept", SSE).send().await.unwrap();
    let refused = only_event(refused).await;
    assert_eq!((&*refused.kind, refused.id), ("unavailable", None));
    assert_eq!(refused.retry.as_deref(), Some("5000"));
    assert_eq!(refused.item["type"], "urn:producer:problem:overloaded");
    assert_eq!(refused.item["retryable"], true);
    // the headers alone need no place
    for media in STREAMS {
        let head = app.request("HEAD", CHANGES).header("accept", media).send().await.unwrap();
        assert_eq!(head.status(), 200, "{media}");
        assert!(!head.headers().contains_key("content-length"), "{media}");
    }
    assert_eq!(readers(&app).await, 2.0);
    drop(second);
    until_readers(&app, 1.0).await;
    let mut second = Stream::open(&app, NDJSON, "").await;
    assert_eq!(app.send(&car_event("c1", json!({}))).await.status, 200);
    for stream in [&mut first, &mut second] {
        assert_eq!(stream.news().await.version(), ("c1".to_owned(), 1));
    }
}

#[tokio::test]
async fn readers_take_no_slots_of_requests() {
    let app = TestApp::sqlite_with(&["--max-concurrent-requests", "1"]).await;
    let streams = [Stream::open(&app, SSE, "").await, Stream::open(&app, NDJSON, "").await];
    let waiting = join_all((0..20).map(|_| answer(app.get(&format!("{CHANGES}?wait=60s")))));
    let (pages, ()) = tokio::join!(waiting, async {
        until_readers(&app, 22.0).await;
        assert_eq!(app.send(&car_event("c1", json!({}))).await.status, 200);
    });
    for page in pages {
        assert_eq!(page.body["changes"][0]["entityId"], "c1", "{page:?}");
    }
    for mut stream in streams {
        assert_eq!(stream.news().await.version().0, "c1");
    }
}

#[tokio::test]
async fn a_stream_is_counted_when_it_begins() {
    let app = TestApp::sqlite().await;
    let mut stream = Stream::open(&app, SSE, "").await;
    stream.caught_up().await;
    let labels = "api=\"rest\",method=\"GET\",route=\"/api/v1/changes\"";
    assert_eq!(
        metric(&app, &format!("producer_requests_total{{{labels},status=\"200\"}}")).await,
        1.0
    );
    let durations = format!("producer_request_duration_seconds_count{{{labels}}}");
    assert_eq!(metric(&app, &durations).await, 1.0);
    // this one
    assert_eq!(metric(&app, "producer_requests_in_flight").await, 1.0);
    drop(stream);
    until_readers(&app, 0.0).await;
    assert_eq!(metric(&app, &durations).await, 1.0);
}

#[tokio::test]
async fn draining_ends_every_stream_and_every_waiting_page_at_once() {
    let app = TestApp::sqlite_with(&["--shutdown-grace", "60s"]).await;
    assert_eq!(app.send(&car_event("c1", json!({}))).await.status, 200);
    let open = (0..200).map(|n| Stream::open(&app, STREAMS[n % 2], "?from=start"));
    let mut streams = join_all(open).await;
    for stream in &mut streams {
        assert_eq!(stream.caught_up().await[0].version(), ("c1".to_owned(), 1));
    }
    let waiting =
        join_all((0..20).map(|_| answer(app.get(&format!("{CHANGES}?wait=60s&from=now")))));
    let began = Instant::now();
    let (pages, ()) = tokio::join!(waiting, async {
        until_readers(&app, 220.0).await;
        app.shutdown.cancel();
    });
    for page in pages {
        assert_eq!((page.status, &page.body["changes"]), (200, &json!([])), "{page:?}");
    }
    for stream in streams {
        let id = stream.response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let rest = stream.rest().await;
        let last = rest.last().unwrap();
        assert_eq!((rest.len(), &*last.kind), (1, "unavailable"), "{rest:?}");
        assert_eq!((&last.id, &last.item["requestId"]), (&None, &json!(id)));
        assert_eq!(last.item["type"], "urn:producer:problem:unavailable");
    }
    timeout(TIMEOUT, app.server).await.unwrap().unwrap().unwrap();
    assert!(began.elapsed() < TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_service_that_is_draining_refuses_readers_at_once() {
    let app = TestApp::sqlite().await;
    // it holds the service back as long as its body does not come
    let mut raw = app.connect().await;
    let post = "POST /api/v1/events HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    raw.write(post).await;
    raw.read_until("100 Continue").await;
    app.shutdown.cancel();
    let began = Instant::now();
    for media in ["application/json", NDJSON] {
        let refused = answer(app.get(CHANGES).header("accept", media)).await;
        assert_eq!((refused.status, refused.problem()), (503, "unavailable"), "{media}");
        assert!(refused.body["detail"].as_str().unwrap().contains("draining"), "{refused:?}");
    }
    let refused = app.get(CHANGES).header("accept", SSE).send().await.unwrap();
    let refused = only_event(refused).await;
    assert_eq!(refused.item["detail"], "the service is draining; go on with the last token");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

const BACKLOG: usize = 2500;

/// Changes that no kernel buffers for one connection: 20 MiB.
async fn backlog(app: &TestApp) {
    let text = "x".repeat(8 << 10);
    let event = |n| format!("{}\n", car_event(&format!("c{n}"), json!({"text": text})));
    let lines: String = (0..BACKLOG).map(event).collect();
    assert_eq!(app.bulk("?results=none", NDJSON, lines).await.body["processedCount"], BACKLOG);
}

/// A reader of everything that has read a few bytes, one by one, and does not go on.
async fn slow_reader(app: &TestApp) -> (TcpStream, Vec<u8>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut slow = socket.connect(app.address).await.unwrap();
    let request = format!("GET {CHANGES}?from=start HTTP/1.1\r\nhost: x\r\naccept: {SSE}\r\n\r\n");
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while text.len() < 64 {
        text.push(slow.read_u8().await.unwrap());
    }
    assert!(text.starts_with(b"HTTP/1.1 200"));
    (slow, text)
}

/// Reads until an event near the end has `part`.
async fn read_to(slow: &mut TcpStream, mut text: Vec<u8>, part: &str) -> String {
    let has_part = |text: &[u8]| {
        let tail = &text[text.len().saturating_sub(4096)..];
        String::from_utf8_lossy(tail).contains(part)
    };
    while !has_part(&text) {
        let count = timeout(TIMEOUT, slow.read_buf(&mut text)).await.unwrap().unwrap();
        assert!(count > 0, "it ended");
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_slow_reader_holds_back_nobody_and_little_is_read_for_it() {
    let app = TestApp::sqlite().await;
    backlog(&app).await;
    let (mut slow, text) = slow_reader(&app).await;
    let mut fast = Stream::open(&app, NDJSON, "?from=start").await;
    let all = fast.caught_up().await;
    assert_eq!(all.len(), BACKLOG);
    assert_eq!(app.send(&car_event("last", json!({}))).await.status, 200);
    assert_eq!(fast.news().await.version().0, "last");
    // the rest is still in the database: this is one batch, and what the kernel buffers
    let read = metric(&app, "producer_changes_sent_total{form=\"sse\"}").await;
    assert!(read < BACKLOG as f64 / 2.0, "{read} of {BACKLOG} are read");

    // as soon as it reads it catches up by itself
    let text = read_to(&mut slow, text, "\"entityId\":\"last\"").await;
    let ids = text.split("\"entityId\":\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let expected = (0..BACKLOG).map(|n| format!("c{n}")).chain(["last".to_owned()]);
    assert!(ids.eq(expected), "something is missing");
}

#[tokio::test]
async fn a_stream_that_pruning_passes_ends_with_gone() {
    let app = TestApp::sqlite().await;
    backlog(&app).await;
    let (mut slow, text) = slow_reader(&app).await;
    app.prune().await;
    let text = read_to(&mut slow, text, "\"status\":410").await;
    let (before, gone) = text.split_once("retry: 5000\n").unwrap();
    let count = before.matches("event: change\n").count();
    assert!((1..BACKLOG).contains(&count), "{count}");
    assert!(gone.starts_with("id:\nevent: gone\ndata: {\"kind\":\"gone\","), "{gone}");
    // the chunk of no bytes: it is the end
    read_to(&mut slow, gone.into(), "\r\n0\r\n\r\n").await;
    until_readers(&app, 0.0).await;
}

#[tokio::test]
async fn streams_and_requests_share_a_connection_of_http2() {
    let app = TestApp::sqlite().await;
    let socket = TcpStream::connect(app.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = |media: &str| {
        let request = http::Request::get(format!("http://{}{CHANGES}", app.address));
        request.header("accept", media).body(()).unwrap()
    };
    let mut bodies = Vec::new();
    for media in STREAMS {
        let (answer, _) = client.send_request(request(media), true).unwrap();
        let answer = timeout(TIMEOUT, answer).await.unwrap().unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &http::HeaderValue::from_static(media))
        );
        bodies.push(answer.into_body());
    }
    let post = http::Request::post(format!("http://{}/api/v1/events", app.address));
    let (answer, mut sender) = client.send_request(post.body(()).unwrap(), false).unwrap();
    sender.send_data(car_event("c1", json!({})).to_string().into(), true).unwrap();
    assert_eq!(timeout(TIMEOUT, answer).await.unwrap().unwrap().status(), 200);
    for body in &mut bodies {
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains("\"entityId\":\"c1\"") {
            let chunk = timeout(TIMEOUT, body.data()).await.unwrap().unwrap().unwrap();
            body.flow_control().release_capacity(chunk.len()).unwrap();
            text.extend_from_slice(&chunk);
        }
    }
    // a stream that is reset frees its place
    drop(bodies.pop());
    until_readers(&app, 1.0).await;
    app.shutdown.cancel();
    let mut rest = Vec::new();
    while let Some(chunk) = timeout(TIMEOUT, bodies[0].data()).await.unwrap() {
        rest.extend_from_slice(&chunk.unwrap());
    }
    assert!(String::from_utf8_lossy(&rest).contains("event: unavailable\n"));
    drop((client, bodies));
    timeout(TIMEOUT, connection).await.unwrap().unwrap().unwrap();
    timeout(TIMEOUT, app.server).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn streams_survive_a_database_that_is_gone_for_a_while() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.unwrap();
    let database = server.fresh_database().await;
    let app = TestApp::on(database.url()).await;
    let mut streams = Vec::new();
    for media in STREAMS {
        let mut stream = Stream::open(&app, media, "").await;
        stream.caught_up().await;
        streams.push(stream);
    }
    server.stop();
    for media in ["application/json", NDJSON] {
        let refused = answer(app.get(CHANGES).header("accept", media)).await;
        assert_eq!((refused.status, refused.problem()), (503, "unavailable"), "{media}");
    }
    let refused = app.get(CHANGES).header("accept", SSE).send().await.unwrap();
    let refused = only_event(refused).await;
    assert_eq!((&*refused.kind, refused.id), ("unavailable", None));
    assert_eq!(refused.item["status"], 503);
    server.start();
    let deadline = Instant::now() + TIMEOUT;
    while app.send(&car_event("c1", json!({}))).await.status != 200 {
        assert!(Instant::now() < deadline, "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let versions = join_all(streams.iter_mut().map(Stream::news)).await;
    for received in &versions {
        assert_eq!(Received::version(received), ("c1".to_owned(), 1));
    }
}
