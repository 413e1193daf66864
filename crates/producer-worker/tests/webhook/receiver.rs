//! Receivers of webhooks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::serve::{Listener, ListenerExt};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request that has come.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    /// A header, or "".
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("visible characters"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The answer without a body.
    pub(crate) fn answer(status: u16) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
    }
}

type Answers = Arc<dyn Fn(&Received) -> Response + Send + Sync>;

/// An HTTP server that keeps what it has received.
pub(crate) struct Receiver {
    address: SocketAddr,
    all: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Answers each request as this says.
    pub(crate) async fn start(
        answers: impl Fn(&Received) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(listener, Arc::new(answers))
    }

    /// Answers each request with this status.
    pub(crate) async fn answering(status: u16) -> Self {
        Self::start(move |_| Received::answer(status)).await
    }

    fn on(listener: TcpListener, answers: Answers) -> Self {
        let (all, connections) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicUsize>::default());
        let address = listener.local_addr().expect("an address");
        let state = (answers, Arc::clone(&all));
        let app = Router::new().fallback(receive).with_state(state);
        let counted = Arc::clone(&connections);
        let listener = listener.tap_io(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { address, all, connections, server }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What has come until now.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.all.lock().expect("not poisoned").clone()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State((answers, all)): State<(Answers, Arc<Mutex<Vec<Received>>>)>,
    request: axum::extract::Request,
) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a whole body");
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let received = Received { path, headers: head.headers, body };
    let answer = answers(&received);
    all.lock().expect("not poisoned").push(received);
    answer
}

/// A server that reads one request of each connection and then writes these bytes, which need not be HTTP.
/// It keeps the connection open until the other side closes it, unless it writes nothing.
pub(crate) struct Raw {
    pub(crate) address: SocketAddr,
    server: JoinHandle<()>,
}

impl Raw {
    pub(crate) async fn start(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let mut listener = listener;
            loop {
                let (stream, _) = Listener::accept(&mut listener).await;
                tokio::spawn(async move {
                    // the sink may close the connection at any time
                    let _ = serve(stream, answer).await;
                });
            }
        });
        Self { address, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Reads a request, writes the answer, and waits for the other side to close.
pub(crate) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &[u8],
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    // the end of the CloudEvent: its data is the last member
    while !request.ends_with(b"}}") {
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..read]);
    }
    stream.write_all(answer).await?;
    stream.flush().await?;
    if !answer.is_empty() {
        while stream.read(&mut part).await? > 0 {}
    }
    Ok(())
}
