//! [`Problem`] as `application/problem+json` (RFC 9457).
//!
//! Handlers and layers only note the problem on their answer; [`ProblemLayer`], the outermost layer,
//! writes it, because it alone knows the request's id. It also turns the bare error answers of the
//! router into problems.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use producer_core::{Problem, ProblemKind};
use producer_server::settings::Settings;
use producer_server::{request, request_id};
use serde::Serialize;
use tower::{Layer, Service};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{accept, drain};

/// The media type of every error answer.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A [`Problem`] on its way to the client.
#[derive(Debug)]
pub(crate) struct ProblemResponse(pub(crate) Box<Problem>);

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl ProblemResponse {
    /// A problem without violations.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem::new(kind, detail).into()
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status_of(self.0.kind);
        response.extensions_mut().insert(Arc::new(*self.0));
        response
    }
}

fn status_of(kind: ProblemKind) -> StatusCode {
    StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The body of every error answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// `urn:producer:problem:` and the word of the kind
    #[serde(rename = "type")]
    #[schema(example = "urn:producer:problem:validation")]
    kind: String,
    /// The same for every problem of this type
    title: &'static str,
    /// The HTTP status
    #[schema(example = 422)]
    status: u16,
    /// What is wrong, in one sentence
    detail: &'a str,
    /// The same sentence, for existing clients
    error: &'a str,
    /// The first 100 broken rules, in document order
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<BrokenRule<'a>>,
    /// How many rules are broken, listed or not
    #[serde(skip_serializing_if = "Option::is_none")]
    error_count: Option<usize>,
    /// The event that this is about (always with 503 and 504 of an event)
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    /// The `x-request-id` of this answer
    request_id: &'a str,
}

/// One broken rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BrokenRule<'a> {
    /// Where, as a JSON Pointer (RFC 6901)
    #[schema(example = "/eventBody/entities/0/entityId")]
    pointer: String,
    /// What is wrong there
    #[schema(example = "must not be empty")]
    detail: &'a str,
}

/// The broken rules of `problem`, `limit` at most.
pub(crate) fn broken_rules(problem: &Problem, limit: usize) -> Vec<BrokenRule<'_>> {
    let rule = |violation: &'_ producer_core::Violation| violation.location.pointer();
    let listed = problem.violations.listed().iter().take(limit);
    listed.map(|v| BrokenRule { pointer: rule(v), detail: &v.detail }).collect()
}

impl<'a> ProblemBody<'a> {
    fn new(problem: &'a Problem, request_id: &'a str) -> Self {
        let count = problem.violations.count();
        Self {
            kind: format!("urn:producer:problem:{}", problem.kind.as_str()),
            title: problem.kind.title(),
            status: problem.kind.http_status(),
            detail: &problem.detail,
            error: &problem.detail,
            errors: broken_rules(problem, usize::MAX),
            error_count: (count > 0).then_some(count),
            event_id: problem.event_id,
            request_id,
        }
    }
}

/// The outermost layer: every answer gets its request id and every error its problem document; what
/// a request still sends after its answer is read for up to `patience`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProblemLayer {
    patience: Duration,
    slow_request: Duration,
}

impl ProblemLayer {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { patience: settings.body_timeout, slow_request: settings.slow_request }
    }
}

impl<S> Layer<S> for ProblemLayer {
    type Service = ProblemService<S>;

    fn layer(&self, inner: S) -> ProblemService<S> {
        ProblemService { inner, finish: *self }
    }
}

/// What [`ProblemLayer`] makes.
#[derive(Debug, Clone)]
pub(crate) struct ProblemService<S> {
    inner: S,
    finish: ProblemLayer,
}

impl<S, B, A> Service<Request<B>> for ProblemService<S>
where
    S: Service<axum::extract::Request, Response = Response<A>, Error = Infallible>,
    S::Future: Send + 'static,
    B: drain::Incoming,
    A: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = request_id::from_headers(request.headers());
        let ProblemLayer { patience, slow_request } = self.finish;
        let context = request::begin(request.headers(), &id, slow_request);
        let is_head = request.method() == Method::HEAD;
        accept::put_identity_last(request.headers_mut());
        let request = drain::drained(request, patience);
        let answer = self.inner.call(request);
        Box::pin(context.scope(async move {
            let mut response = answer.await?.map(Body::new);
            if let Some(problem) = problem_of(&mut response) {
                write(&problem, &id, is_head, &mut response);
            }
            weaken_etag(response.headers_mut());
            response.headers_mut().insert(request_id::HEADER, id);
            Ok(response)
        }))
    }
}

/// A compressed answer is another sequence of bytes than the one that a strong ETag names.
fn weaken_etag(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONTENT_ENCODING)
        && let Some(strong) =
            headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat())
    {
        headers.insert(header::ETAG, weak);
    }
}

/// The problem that an answer stands for, also where the router made it without one.
fn problem_of(response: &mut Response) -> Option<Arc<Problem>> {
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        return Some(problem);
    }
    let status = response.status();
    let is_bare = !response.headers().contains_key(header::CONTENT_TYPE);
    let (kind, detail) = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            (ProblemKind::Method, "this route doesn't take the method; Allow lists those it takes")
        }
        StatusCode::NOT_FOUND if is_bare => (ProblemKind::NotFound, "no such route"),
        _ if is_bare && status.is_client_error() => {
            (ProblemKind::Malformed, "the request can't be understood")
        }
        _ if is_bare && status.is_server_error() => (ProblemKind::Internal, INTERNAL),
        _ => return None,
    };
    Some(Arc::new(Problem::new(kind, detail)))
}

/// All that a client is told about a defect.
pub(crate) const INTERNAL: &str = "a defect here; the log has it under the request id";

/// Marks the answer to a defect that the log has already.
#[derive(Debug, Clone)]
pub(crate) struct Logged;

fn write(problem: &Problem, id: &HeaderValue, is_head: bool, response: &mut Response) {
    let id = id.to_str().unwrap_or_default();
    let logged = response.extensions_mut().remove::<Logged>().is_some();
    if problem.kind == ProblemKind::Internal && !logged {
        let event = problem.event_id.map(tracing::field::display);
        tracing::error!(event, detail = %problem.detail, "internal error answered");
    }
    let body = serde_json::to_vec(&ProblemBody::new(problem, id)).unwrap_or_default();
    *response.status_mut() = status_of(problem.kind);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    if let Some(wait) = problem.retry_after() {
        headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
    }
    *response.body_mut() = if is_head { Body::empty() } else { body.into() };
}
