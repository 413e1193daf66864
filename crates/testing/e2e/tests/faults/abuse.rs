//! Clients that abuse the services, while other clients must be served.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use futures_util::future::join_all;
use futures_util::stream;
use producer_e2e::{DEADLINE, Database, Load, NEIGHBOUR_DEADLINE, Outcome, SentEvent, Service};
use reqwest::{Body, StatusCode};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The memory limit of a service under abuse.
const MAX_MEMORY: u64 = 300 << 20;

/// Both services, under the load of other clients.
pub(crate) struct Environment {
    pub(crate) rest: Service,
    pub(crate) grpc: Service,
    pub(crate) load: Load,
    _database: Database,
}

impl Environment {
    pub(crate) async fn new() -> Self {
        let database = Database::postgres().await;
        let (rest, grpc) = Service::start_both(&database.settings()).await;
        let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 2, 5);
        load.history().more_done(40).await;
        Self { rest, grpc, load, _database: database }
    }

    /// Checks that no other client waited long, no event was refused, and memory stayed below the
    /// limit.
    pub(crate) async fn check(self, what: &str) {
        self.load.history().more_done(40).await;
        let history = self.load.stop().await;
        let memory = [self.rest.peak_memory(), self.grpc.peak_memory()];
        let [rest, grpc] = memory.map(|bytes| bytes >> 20);
        history.print_summary(&format!("{what} (memory at most {rest} and {grpc} MiB)"));
        history.assert_all_done();
        let longest = history.records().iter().map(|record| record.took).max().unwrap();
        assert!(longest < NEIGHBOUR_DEADLINE, "{longest:?}");
        assert!(memory.into_iter().all(|bytes| bytes < MAX_MEMORY), "{rest} and {grpc} MiB");
        history.check(&self.rest.rest()).await;
    }
}

const IDLE: usize = 5_000;
const TRICKLING: usize = 200;

/// 10,000 connections that send nothing and 400 that send a byte now and then, half of them to each
/// service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_trickling_connections() {
    let files = Some(20_000);
    setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files })
        .expect("20,000 open files: root may have them");
    let environment = Environment::new().await;
    let (mut idle, mut trickling) = (Vec::new(), JoinSet::new());
    for address in [environment.rest.address(), environment.grpc.address()] {
        for _ in 0..IDLE {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..TRICKLING {
            trickling.spawn(trickle(address));
        }
    }
    environment.load.history().more_done(100).await;
    // until the services have closed them all, at HEADER_TIMEOUT
    while timeout(2 * DEADLINE, trickling.join_next()).await.expect("it is closed").is_some() {}
    environment.check("10,000 idle connections, 400 trickling").await;
    drop(idle);
}

async fn trickle(address: SocketAddr) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    loop {
        if connection.write_all(b"G").await.is_err() {
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// HTTP/2 streams that are opened and reset immediately, at full speed, on many connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_reset_floods() {
    let environment = Environment::new().await;
    let mut floods = JoinSet::new();
    for address in [environment.rest.address(), environment.grpc.address()] {
        for _ in 0..10 {
            floods.spawn(flood(address));
        }
    }
    let resets: usize = floods.join_all().await.into_iter().sum();
    environment.check(&format!("{resets} HTTP/2 streams reset")).await;
}

/// Returns the number of streams until the service closed the connection.
async fn flood(address: SocketAddr) -> usize {
    let socket = TcpStream::connect(address).await.unwrap();
    let Ok((mut client, connection)) = h2::client::handshake(socket).await else { return 0 };
    let connection = tokio::spawn(connection);
    let mut resets = 0;
    while resets < 2_000 {
        let Ok(ready) = client.ready().await else { break };
        client = ready;
        let request = http::Request::post(format!("http://{address}/api/v1/events")).body(());
        let Ok((_, mut stream)) = client.send_request(request.unwrap(), false) else { break };
        stream.send_reset(h2::Reason::CANCEL);
        resets += 1;
        tokio::task::yield_now().await;
    }
    connection.abort();
    resets
}

/// Clients that request much and read nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_nothing() {
    const CLIENTS: usize = 100;
    const REQUESTS: usize = 10;
    const SIZE: usize = 900_000;
    let environment = Environment::new().await;
    let large = SentEvent::new("Large", "one", json!({"text": "x".repeat(SIZE)}));
    assert!(matches!(environment.rest.rest().send(&large).await, Outcome::Done { .. }));
    let request = "GET /api/v1/entities/Large/one HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(environment.rest.address()).await.unwrap();
        client.write_all(request.repeat(REQUESTS).as_bytes()).await.unwrap();
        clients.push(client);
    }
    environment.load.history().more_done(100).await;
    let requested = CLIENTS * REQUESTS * SIZE >> 20;
    // their pending responses would delay the reads of the check
    drop(clients);
    environment.check(&format!("{CLIENTS} clients request {requested} MiB and read nothing")).await;
}

const MIB: usize = 1 << 20;

/// Mebibytes of zeros as gzip: one deflate block repeated.
fn gzip_bomb(mib: usize) -> Bytes {
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut block = Vec::with_capacity(64 << 10);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&vec![0; MIB], &mut block, FlushCompress::Full).unwrap();
    assert_eq!(compress.total_in(), MIB as u64);
    (0..mib).for_each(|_| bomb.extend(&block));
    bomb.into()
}

/// The same as zstd: RLE blocks (RFC 8878, 3.1.1).
fn zstd_bomb(mib: usize) -> Bytes {
    const BLOCK: u32 = 128 << 10;
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x68];
    let header = (BLOCK << 3 | 1 << 1).to_le_bytes();
    (0..8 * mib).for_each(|_| bomb.extend([header[0], header[1], header[2], 0]));
    bomb.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_nesting_and_endless_lines() {
    let environment = Environment::new().await;
    let rest = environment.rest.rest();
    let bombs: [(&str, fn(usize) -> Bytes); 2] = [("gzip", gzip_bomb), ("zstd", zstd_bomb)];
    let single = ("/api/v1/events", "application/json");
    let lines = ("/api/v1/events/bulk", "application/x-ndjson");
    let send = |(path, kind): (&str, &str), encoding: &str, body: Body| {
        let request = rest.http.post(rest.url(path)).header("content-type", kind);
        let request = request.header("content-encoding", encoding);
        async move { request.body(body).timeout(2 * DEADLINE).send().await.unwrap().status() }
    };
    for (encoding, bomb) in bombs {
        let gibibyte = bomb(1024);
        let singles = (0..4).map(|_| send(single, encoding, gibibyte.clone().into()));
        for status in join_all(singles).await {
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{encoding}");
        }
        // read to the end, because a line that is too long is an item
        let line = bomb(128);
        let bulks = (0..4).map(|_| send(lines, encoding, line.clone().into()));
        for status in join_all(bulks).await {
            assert_eq!(status, StatusCode::OK, "{encoding}");
        }
    }
    let nested = "[".repeat(8 * MIB);
    let status = send(single, "identity", nested.into()).await;
    assert!(status == 400 || status == 422, "{status}");
    let long = || {
        Body::wrap_stream(stream::iter((0..64).map(|_| Ok::<_, std::io::Error>("x".repeat(MIB)))))
    };
    for status in join_all((0..4).map(|_| send(lines, "identity", long()))).await {
        assert_eq!(status, StatusCode::OK);
    }
    environment.check("gzip and zstd bombs of 1 GiB, nesting, lines of 64 MiB").await;
}
