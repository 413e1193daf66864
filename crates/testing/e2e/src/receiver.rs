//! A receiver of traces: OTLP over HTTP, like a collector.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::serve::Listener;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::{Certificate, eventually};

/// A received span, with ids in the format of W3C.
#[derive(Debug, Clone)]
pub struct SentSpan {
    /// `service.name` of its sender.
    pub service: String,
    /// The span.
    pub span: Span,
}

impl SentSpan {
    /// The ids of its trace and of itself.
    pub fn id(&self) -> (String, String) {
        (hex(&self.span.trace_id), hex(&self.span.span_id))
    }

    /// The ids of its trace and of its parent, empty if it has none.
    pub fn parent(&self) -> (String, String) {
        (hex(&self.span.trace_id), hex(&self.span.parent_span_id))
    }

    /// The ids of the traces and spans that it links to.
    pub fn links(&self) -> Vec<(String, String)> {
        self.span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect()
    }

    /// One of its attributes, as text.
    pub fn attribute(&self, name: &str) -> Option<String> {
        attribute(&self.span.attributes, name)
    }
}

fn attribute(all: &[KeyValue], name: &str) -> Option<String> {
    let found = all.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref() {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => Some(text.clone()),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

type Received = Arc<Mutex<Vec<SentSpan>>>;

/// The receiver; it stops when dropped.
#[derive(Debug)]
pub struct Receiver {
    endpoint: String,
    received: Received,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts one at an address.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        Self::serve(listener, format!("http://{address}"))
    }

    /// Starts one that speaks TLS with this certificate.
    pub async fn start_with_tls(certificate: &Certificate) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = socket.local_addr().expect("an address").port();
        let listener = TlsListener { socket, tls: certificate.acceptor() };
        Self::serve(listener, format!("https://localhost:{port}"))
    }

    fn serve<L: Listener<Addr: std::fmt::Debug>>(listener: L, endpoint: String) -> Self {
        let received = Received::default();
        let routes = Router::new()
            .route("/v1/traces", axum::routing::post(receive))
            .with_state(Arc::clone(&received));
        let server = tokio::spawn(async move { drop(axum::serve(listener, routes).await) });
        Self { endpoint, received, server }
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// The received spans of one name.
    pub fn spans(&self, name: &str) -> Vec<SentSpan> {
        let all = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|sent| sent.span.name == name).cloned().collect()
    }

    /// Waits for a span of this name that matches.
    pub async fn span(&self, name: &str, matches: impl Fn(&SentSpan) -> bool) -> SentSpan {
        let mut found = None;
        eventually(&format!("a span {name}"), async || {
            found = self.spans(name).into_iter().find(&matches);
            found.is_some()
        })
        .await;
        found.expect("it was found")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct TlsListener {
    socket: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.socket).await;
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

async fn receive(State(received): State<Received>, body: Bytes) {
    let sent = ExportTraceServiceRequest::decode(body).expect("OTLP");
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    for group in sent.resource_spans {
        let attributes = group.resource.map(|sender| sender.attributes).unwrap_or_default();
        let service = attribute(&attributes, "service.name").unwrap_or_default();
        let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        received.extend(spans.map(|span| SentSpan { service: service.clone(), span }));
    }
}
