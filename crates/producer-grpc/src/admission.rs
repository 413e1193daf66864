//! What happens to every call around its handler: a request id, the checks that tonic leaves out,
//! panics, and the details of errors that tonic made.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use producer_core::{Problem, ProblemKind};
use producer_server::budget::{self, Budget, Lease};
use producer_server::metrics::Requests;
use producer_server::request_id as id_header;
use producer_server::serve::RequestBody;
use producer_telemetry::stopwatch::Part;
use tonic::{Code, Status};

use crate::body::{BodyLimits, BufferLease, Encoding, MessageBody};
use crate::request_id::RequestId;
use crate::{request_metrics, status};

/// Methods whose request is a stream; all others take one message.
const STREAMS: [&str; 2] = ["/StreamEvents", "/ServerReflectionInfo"];
/// Methods that `MAX_CONCURRENT_REQUESTS` does not limit: streams, which have limits of their own, and
/// what must be answered under load. A new rpc is limited.
const UNLIMITED: [&str; 6] =
    ["/StreamEvents", "/WatchChanges", "/HealthCheck", "/Check", "/Watch", "/ServerReflectionInfo"];

/// The services (health, reflection) whose code comes from libraries. Their codec reports messages
/// that can't be decoded as `INTERNAL`, which no handler of theirs returns.
const PROST_CODEC: &str = "/grpc.";

/// What calls are checked and counted with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) requests: Requests,
    pub(crate) budget: Budget,
    pub(crate) request_slots: Budget,
    /// `MAX_BODY_BYTES`
    pub(crate) max_message: usize,
    /// `BODY_TIMEOUT`
    pub(crate) body_timeout: Duration,
    /// `SLOW_REQUEST`
    pub(crate) slow_request: Duration,
}

/// An extension of each request: the address that its connection comes from.
#[derive(Debug, Clone, Copy)]
struct ClientAddress(SocketAddr);

/// Notes the client's address, which a router's bodies don't have.
pub(crate) fn note_client(mut request: http::Request<RequestBody>) -> http::Request<RequestBody> {
    let client = ClientAddress(request.body().client());
    request.extensions_mut().insert(client);
    request
}

/// Admits a call to its handler and completes the answer.
pub(crate) async fn admit(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Response {
    let id = RequestId(id_header::from_headers(request.headers()));
    let headers = request.headers();
    let client = request.extensions().get().map(|&ClientAddress(address)| address);
    let context = producer_server::request::begin(headers, client, &id.0, admission.slow_request);
    let path = request.uri().path();
    if is_stream(path) {
        context.mark_long();
    }
    let route = Some(path).filter(|path| admission.requests.knows(path));
    let unknown = route.is_none().then(|| path.to_owned());
    let method = request.method().as_str();
    let in_flight = admission.requests.begin(route, method, Some(Arc::clone(&context)));
    context.enter(Part::Body);
    let admitted = admission
        .acquire_slot(path, &id)
        .and_then(|slot| Ok((slot, admission.check(request, &id)?)));
    let mut response = match admitted {
        Ok((_slot, request)) => context.scope(answer(request, next, &id)).await,
        Err(refusal) => *refusal,
    };
    response.headers_mut().insert(id_header::HEADER, id.0);
    request_metrics::count_at_end(response, in_flight, unknown)
}

impl Admission {
    /// Counts a call towards `MAX_CONCURRENT_REQUESTS` until the lease is dropped; `None` where its
    /// method isn't limited.
    fn acquire_slot(&self, path: &str, id: &RequestId) -> Result<Option<Lease>, Box<Response>> {
        if UNLIMITED.iter().any(|method| path.ends_with(method)) {
            return Ok(None);
        }
        self.request_slots.acquire_one().map(Some).ok_or_else(|| {
            let problem = Problem::new(ProblemKind::Overloaded, budget::TOO_MANY);
            Box::new(status::from_problem(&problem, id).into_http())
        })
    }

    /// Checks the head and wraps the body.
    fn check(&self, request: Request, id: &RequestId) -> Result<Request, Box<Response>> {
        if !is_grpc(request.headers()) {
            let detail = "the content type must be application/grpc";
            let problem = Problem::new(ProblemKind::MediaType, detail);
            let mut refusal: Response = status::from_problem(&problem, id).into_http();
            *refusal.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Box::new(refusal));
        }
        let encoding = Encoding::from_headers(request.headers()).map_err(|problem| {
            let mut refusal: Response = status::from_problem(&problem, id).into_http();
            let supported = HeaderValue::from_static("gzip,zstd,identity");
            refusal.headers_mut().insert("grpc-accept-encoding", supported);
            Box::new(refusal)
        })?;
        let lease = BufferLease::new(self.budget.lease());
        let (mut parts, body) = request.into_parts();
        let limits = BodyLimits {
            max_message: self.max_message,
            timeout: self.body_timeout,
            encoding,
            is_stream: is_stream(parts.uri.path()),
        };
        // tonic gets decompressed messages
        parts.headers.remove("grpc-encoding");
        parts.extensions.insert(id.clone());
        if !limits.is_stream {
            parts.extensions.insert(lease.clone());
        }
        let body = axum::body::Body::new(MessageBody::new(body, limits, lease, id.clone()));
        Ok(Request::from_parts(parts, body))
    }
}

/// The handler's answer, with details where tonic made it an error; `INTERNAL` where it panicked.
async fn answer(request: Request, next: Next, id: &RequestId) -> Response {
    let has_prost_codec = request.uri().path().starts_with(PROST_CODEC);
    let Ok(response) = AssertUnwindSafe(next.run(request)).catch_unwind().await else {
        return status::internal(id).into_http();
    };
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() == Code::Internal && has_prost_codec => {
            let status = Status::invalid_argument(status.message());
            status::with_details(&status, id).into_http()
        }
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
            status::with_details(&status, id).into_http()
        }
        _ => response,
    }
}

fn is_stream(path: &str) -> bool {
    STREAMS.iter().any(|method| path.ends_with(method))
}

/// `application/grpc`, `application/grpc+proto`, with or without parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim_end);
    matches!(essence, Some("application/grpc" | "application/grpc+proto"))
}
