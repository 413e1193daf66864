//! Counts requests by their route, and records why one was refused. A layer of the router, since only behind it
//! the route is known, and of the hot route, to which its path is given. It implements `Service` itself, because
//! a boxed middleware costs an allocation more for each request.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use pin_project_lite::pin_project;
use producer_core::ProblemKind;
use producer_server::metrics::{InFlight, Requests};
use producer_telemetry::refusal::Refusal;
use producer_telemetry::request as telemetry;
use tower::{Layer, Service};
use utoipa::openapi::OpenApi;

use crate::problem_layer::problem_of;
use crate::query_parameters::QueryParameters;

/// Makes [`CountService`]s.
#[derive(Clone)]
pub(crate) struct CountLayer {
    requests: Requests,
    parameters: Arc<QueryParameters>,
    /// Of a service that is no route of a router.
    route: Option<&'static str>,
}

impl CountLayer {
    /// Counts the routes of the document without a lock.
    pub(crate) fn new(document: &OpenApi, requests: &Requests) -> Self {
        let routes = document.paths.paths.iter().flat_map(|(route, item)| {
            let methods = [
                ("GET", &item.get),
                ("POST", &item.post),
                ("PUT", &item.put),
                ("PATCH", &item.patch),
                ("DELETE", &item.delete),
            ];
            let present = methods.into_iter().filter(|(_, operation)| operation.is_some());
            present.map(move |(method, _)| (route.as_str(), method))
        });
        Self {
            requests: requests.with_routes(routes),
            parameters: Arc::new(QueryParameters::from_document(document)),
            route: None,
        }
    }

    /// For a service that serves this route alone, outside of a router.
    pub(crate) fn of_route(&self, route: &'static str) -> Self {
        Self { route: Some(route), ..self.clone() }
    }
}

impl<S> Layer<S> for CountLayer {
    type Service = CountService<S>;

    fn layer(&self, inner: S) -> CountService<S> {
        CountService {
            inner,
            requests: self.requests.clone(),
            parameters: Arc::clone(&self.parameters),
            route: self.route,
        }
    }
}

/// Counts each request and the status of its answer.
#[derive(Clone)]
pub(crate) struct CountService<S> {
    inner: S,
    requests: Requests,
    parameters: Arc<QueryParameters>,
    route: Option<&'static str>,
}

impl<S, B> Service<Request> for CountService<S>
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let matched = || request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let route = self.route.or_else(matched);
        let method = request.method().as_str();
        let in_flight = self.requests.begin(route, method, telemetry::current());
        let unknown_path = route.is_none().then(|| request.uri().path().into());
        if let Some(route) = route.filter(|_| request.uri().query().is_some()) {
            self.parameters.warn_ignored(request.method(), route, request.uri());
        }
        let in_flight = Some(in_flight);
        ResponseFuture { answer: self.inner.call(request), in_flight, unknown_path }
    }
}

pin_project! {
    /// The answer of the inner service, counted when it is there.
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        answer: F,
        in_flight: Option<InFlight>,
        // of a request that matches no route
        unknown_path: Option<Box<str>>,
    }
}

impl<F, B> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx));
        if let (Ok(response), Some(in_flight)) = (&answer, this.in_flight.take()) {
            if response.status().is_client_error() {
                note_refusal(&in_flight, response, this.unknown_path.as_deref());
            }
            in_flight.answered(response.status().as_str());
        }
        Poll::Ready(answer)
    }
}

fn note_refusal<B>(in_flight: &InFlight, response: &Response<B>, unknown_path: Option<&str>) {
    let Some(problem) = problem_of(response) else { return };
    let refusal = match unknown_path {
        Some(path) if problem.kind == ProblemKind::NotFound => {
            Some(Refusal::new(problem.kind.as_str(), &format!("no such route: {path}")))
        }
        _ => problem.refusal(),
    };
    if let Some(refusal) = refusal {
        in_flight.refuse(refusal);
    }
}
