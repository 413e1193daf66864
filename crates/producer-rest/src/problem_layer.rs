//! The outermost layer. It alone knows the request's id, so it writes the problem documents of all
//! errors, also of those that the router answers without a body.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use pin_project_lite::pin_project;
use producer_core::{Problem, ProblemKind};
use producer_server::serve::RequestBody;
use producer_server::settings::Settings;
use producer_server::{request, request_id};
use producer_telemetry::request::Scoped;
use tower::{Layer, Service};

use crate::accept;
use crate::drain::drain_on_drop;
use crate::problem::{AlreadyLogged, INTERNAL, PROBLEM_JSON, ProblemBody, status_code};

/// Makes [`ProblemService`]s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProblemLayer {
    /// `BODY_TIMEOUT`, also for what a request still sends after its answer.
    drain_limit: Duration,
    /// `SLOW_REQUEST`
    slow_request: Duration,
}

impl ProblemLayer {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { drain_limit: settings.body_timeout, slow_request: settings.slow_request }
    }
}

impl<S> Layer<S> for ProblemLayer {
    type Service = ProblemService<S>;

    fn layer(&self, inner: S) -> ProblemService<S> {
        ProblemService { inner, layer: *self }
    }
}

/// Gives every answer its request id and every error its problem document.
#[derive(Debug, Clone)]
pub(crate) struct ProblemService<S> {
    inner: S,
    layer: ProblemLayer,
}

impl<S> Service<Request<RequestBody>> for ProblemService<S>
where
    S: Service<axum::extract::Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Scoped<ResponseFuture<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let id = request_id::from_headers(request.headers());
        let ProblemLayer { drain_limit, slow_request } = self.layer;
        let client = Some(request.body().client());
        let context = request::begin(request.headers(), client, &id, slow_request);
        let is_head = request.method() == Method::HEAD;
        accept::put_identity_last(request.headers_mut());
        let request = drain_on_drop(request, drain_limit);
        // in the request's scope too: a layer may note the request when it is called
        let answer = context.sync_scope(|| self.inner.call(request));
        context.scope(ResponseFuture { answer, id, is_head })
    }
}

pin_project! {
    /// The answer of the inner service with its id and its problem document.
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        answer: F,
        id: HeaderValue,
        is_head: bool,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(cx))?;
        if let Some(problem) = take_problem(&mut response) {
            write(&problem, this.id, *this.is_head, &mut response);
        }
        weaken_etag(response.headers_mut());
        // taken, as a clone would need memory of its own
        let id = std::mem::replace(this.id, HeaderValue::from_static(""));
        response.headers_mut().insert(request_id::HEADER, id);
        Poll::Ready(Ok(response))
    }
}

/// A strong ETag names one sequence of bytes, and a compressed answer is another.
fn weaken_etag(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONTENT_ENCODING)
        && let Some(strong) =
            headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat())
    {
        headers.insert(header::ETAG, weak);
    }
}

/// The problem of an answer, which no longer carries it.
fn take_problem(response: &mut Response) -> Option<Arc<Problem>> {
    let problem = problem_of(response);
    response.extensions_mut().remove::<Arc<Problem>>();
    problem
}

/// The problem attached to an answer, or one for an error that the router answered by itself.
pub(crate) fn problem_of<B>(response: &http::Response<B>) -> Option<Arc<Problem>> {
    if let Some(problem) = response.extensions().get::<Arc<Problem>>() {
        return Some(Arc::clone(problem));
    }
    let status = response.status();
    let is_bare = !response.headers().contains_key(header::CONTENT_TYPE);
    let (kind, detail) = match status {
        StatusCode::METHOD_NOT_ALLOWED => (
            ProblemKind::Method,
            "this route doesn't support the method; Allow lists those it does",
        ),
        StatusCode::NOT_FOUND if is_bare => (ProblemKind::NotFound, "no such route"),
        _ if is_bare && status.is_client_error() => {
            (ProblemKind::Malformed, "the request is invalid")
        }
        _ if is_bare && status.is_server_error() => (ProblemKind::Internal, INTERNAL),
        _ => return None,
    };
    Some(Arc::new(Problem::new(kind, detail)))
}

fn write(problem: &Problem, id: &HeaderValue, is_head: bool, response: &mut Response) {
    let id = id.to_str().unwrap_or_default();
    let is_logged = response.extensions_mut().remove::<AlreadyLogged>().is_some();
    if problem.kind == ProblemKind::Internal && !is_logged {
        let event = problem.event_id.map(tracing::field::display);
        tracing::error!(event, detail = %problem.detail, "answered with an internal error");
    }
    let body = serde_json::to_vec(&ProblemBody::new(problem, id)).unwrap_or_default();
    *response.status_mut() = status_code(problem.kind);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    if let Some(delay) = problem.retry_after() {
        headers.insert(header::RETRY_AFTER, delay.as_secs().max(1).into());
    }
    *response.body_mut() = if is_head { Body::empty() } else { body.into() };
}
