//! What happens to every call around its handler: a request id, the checks that tonic leaves out,
//! panics, and the details of errors that tonic made.

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
use producer_server::request_id;
use producer_telemetry::stopwatch::Part;
use tonic::Status;

use crate::body::{BufferLease, Encoding, MessageBody, Rules};
use crate::{count, status};

/// Methods whose request is a stream; all others take one message.
const STREAMS: [&str; 2] = ["/StreamEvents", "/ServerReflectionInfo"];
/// Methods that `MAX_CONCURRENT_REQUESTS` counts.
const COUNTED: [&str; 4] = ["/ProcessEvent", "/ProcessEvents", "/GetEntity", "/GetEvent"];

/// Tells one call in logs, metadata and error details.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// What the admission needs to know.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) requests: Requests,
    pub(crate) budget: Budget,
    pub(crate) in_hand: Budget,
    /// `MAX_BODY_BYTES`
    pub(crate) max_message: usize,
    /// `BODY_TIMEOUT`
    pub(crate) body_timeout: Duration,
    /// `SLOW_REQUEST`
    pub(crate) slow_request: Duration,
}

/// Lets a call through, and its answer out.
pub(crate) async fn pass(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Response {
    let id = RequestId(request_id::from_headers(request.headers()));
    let context = producer_server::request::begin(request.headers(), &id.0, admission.slow_request);
    let path = request.uri().path();
    if is_stream(path) {
        context.mark_long();
    }
    let route = Some(path).filter(|path| admission.requests.knows(path));
    let method = request.method().as_str();
    let in_flight = admission.requests.begin(route, method, Some(Arc::clone(&context)));
    context.enter(Part::Body);
    let admitted =
        admission.enter(path, &id).and_then(|lease| Ok((lease, admission.admit(request, &id)?)));
    let mut response = match admitted {
        Ok((_in_hand, request)) => context.scope(answer(request, next, &id)).await,
        Err(refusal) => *refusal,
    };
    response.headers_mut().insert(request_id::HEADER, id.0);
    count::until_the_end(response, in_flight)
}

impl Admission {
    /// Takes a call in hand, for as long as the lease is there; `None` where it isn't counted.
    fn enter(&self, path: &str, id: &RequestId) -> Result<Option<Lease>, Box<Response>> {
        if !COUNTED.iter().any(|method| path.ends_with(method)) {
            return Ok(None);
        }
        self.in_hand.one().map(Some).ok_or_else(|| {
            let problem = Problem::new(ProblemKind::Overloaded, budget::TOO_MANY);
            Box::new(status::from_problem(&problem, id).into_http())
        })
    }

    /// Checks the head and wraps the body.
    fn admit(&self, request: Request, id: &RequestId) -> Result<Request, Box<Response>> {
        if !is_grpc(request.headers()) {
            let detail = "the content type must be application/grpc";
            let problem = Problem::new(ProblemKind::MediaType, detail);
            let mut refusal: Response = status::from_problem(&problem, id).into_http();
            *refusal.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Box::new(refusal));
        }
        let encoding = Encoding::from_headers(request.headers()).map_err(|problem| {
            let mut refusal: Response = status::from_problem(&problem, id).into_http();
            let taken = HeaderValue::from_static("gzip,zstd,identity");
            refusal.headers_mut().insert("grpc-accept-encoding", taken);
            Box::new(refusal)
        })?;
        let lease = BufferLease::new(self.budget.lease());
        let (mut parts, body) = request.into_parts();
        let rules = Rules {
            max_message: self.max_message,
            timeout: self.body_timeout,
            encoding,
            is_stream: is_stream(parts.uri.path()),
            request: id.clone(),
        };
        // tonic gets messages inflated
        parts.headers.remove("grpc-encoding");
        parts.extensions.insert(id.clone());
        if !rules.is_stream {
            parts.extensions.insert(lease.clone());
        }
        let body = axum::body::Body::new(MessageBody::new(body, rules, lease));
        Ok(Request::from_parts(parts, body))
    }
}

/// The handler's answer, with details where tonic made it an error; `INTERNAL` where it panicked.
async fn answer(request: Request, next: Next, id: &RequestId) -> Response {
    let Ok(response) = AssertUnwindSafe(next.run(request)).catch_unwind().await else {
        let problem =
            Problem::new(ProblemKind::Internal, "the call failed because of a defect here");
        return status::from_problem(&problem, id).into_http();
    };
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != tonic::Code::Ok && status.details().is_empty() => {
            status::completed(&status, id).into_http()
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
