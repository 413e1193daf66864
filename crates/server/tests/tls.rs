//! The accept loop with TLS: who may speak, who is turned away, and that nobody else waits for them.
#![expect(clippy::unwrap_used, reason = "a test that finds no value must fail")]

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use producer_server::serve::{Listener, RequestBody, ServeLimits, Tls, bind, serve};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_millis(500);
/// What a deadline may be late by.
const SLACK: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(600);
/// Longer than any buffer on the way.
const ANSWER: usize = 4 << 20;
/// The record that a handshake begins with, and no more of it.
const BEGIN_OF_HANDSHAKE: &[u8] = &[22, 3, 1, 2, 0, 1, 0];

struct Server {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(max_connections: usize, header_timeout: Duration) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tls = Tls::load(cert, key, &[b"h2", b"http/1.1"]).unwrap();
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let limits = ServeLimits {
            max_connections,
            header_timeout,
            idle_timeout: LONG,
            shutdown_grace: LONG,
        };
        let service = tower::service_fn(|request: Request<RequestBody>| async move {
            let sent = request.into_body().collect().await.unwrap().to_bytes();
            let answer = [&sent[..], &vec![b'x'; ANSWER]].concat();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer)))
        });
        let shutdown = CancellationToken::new();
        let listener = Listener::new(socket, Some(tls));
        let task = tokio::spawn(serve(listener, service, limits, shutdown.clone()));
        Self { address, certificate: made.cert.der().clone(), shutdown, task }
    }

    async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Shakes hands as a client that offers these protocols.
    async fn connect(&self, protocols: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.plain().await).await
    }

    /// Posts a body over HTTP/1.1 and checks the answer.
    async fn is_served(&self) {
        let io = TokioIo::new(self.connect(&[b"http/1.1"]).await.unwrap());
        let (mut client, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        is_whole(client.send_request(post(Version::HTTP_11)).await.unwrap()).await;
    }
}

fn post(version: Version) -> Request<Full<Bytes>> {
    let request = Request::post("https://localhost/").version(version).header("host", "localhost");
    request.body(Full::from("sent")).unwrap()
}

async fn is_whole(answer: Response<hyper::body::Incoming>) {
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"sentxx") && body.len() == 4 + ANSWER);
}

#[tokio::test]
async fn the_client_chooses_the_version_by_alpn() {
    let server = Server::start(9, LONG);
    server.is_served().await;
    let stream = server.connect(&[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        is_whole(client.send_request(post(Version::HTTP_2)).await.unwrap()).await;
    }
    assert!(server.connect(&[]).await.is_ok(), "one that names no protocol may speak either");
    assert!(server.connect(&[b"smtp"]).await.is_err());
}

#[tokio::test]
async fn a_plain_text_client_is_turned_away() {
    let server = Server::start(9, LONG);
    let mut plain = server.plain().await;
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let begin = Instant::now();
    let mut received = Vec::new();
    let _reset = plain.read_to_end(&mut received).await;
    assert!(begin.elapsed() < SLACK, "{:?}", begin.elapsed());
    assert!(!String::from_utf8_lossy(&received).contains("HTTP"), "{received:?}");
    server.is_served().await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_off_and_costs_nobody() {
    let server = Server::start(9, SOON);
    for sent in [&[][..], BEGIN_OF_HANDSHAKE] {
        let begin = Instant::now();
        let mut stalled = server.plain().await;
        stalled.write_all(sent).await.unwrap();
        server.is_served().await;
        let mut received = Vec::new();
        let _reset = stalled.read_to_end(&mut received).await;
        assert!(begin.elapsed() < SOON + SLACK, "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_client_that_is_silent_behind_its_handshake_is_cut_off() {
    let server = Server::start(9, SOON);
    let begin = Instant::now();
    let mut silent = server.connect(&[b"h2"]).await.unwrap();
    let mut received = Vec::new();
    let _ended = silent.read_to_end(&mut received).await;
    assert!(begin.elapsed() < SOON + SLACK, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_handshake_under_way_has_its_place_among_the_connections() {
    let server = Server::start(1, LONG);
    let mut stalled = server.plain().await;
    stalled.write_all(BEGIN_OF_HANDSHAKE).await.unwrap();
    let begin = Instant::now();
    assert!(server.connect(&[]).await.is_err());
    assert!(begin.elapsed() < SLACK, "{:?}", begin.elapsed());
    drop(stalled);
    let served = async { while server.connect(&[]).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), served).await.unwrap();
}

#[tokio::test]
async fn a_handshake_that_stalls_does_not_hold_the_end_up() {
    let server = Server::start(9, LONG);
    let mut stalled = server.plain().await;
    stalled.write_all(BEGIN_OF_HANDSHAKE).await.unwrap();
    let idle = server.connect(&[]).await.unwrap();
    server.shutdown.cancel();
    tokio::time::timeout(SLACK, server.task).await.unwrap().unwrap().unwrap();
    drop((stalled, idle));
}
