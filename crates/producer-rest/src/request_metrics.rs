//! Counts requests by the route that matched. A layer of the router, since only behind it the route
//! is known; hand-written, because a boxed middleware costs an allocation more for each request.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use pin_project_lite::pin_project;
use producer_server::metrics::{InFlight, Requests};
use producer_telemetry::request as telemetry;
use tower::{Layer, Service};
use utoipa::openapi::OpenApi;

/// Makes [`CountService`]s.
#[derive(Clone)]
pub(crate) struct CountLayer(Requests);

impl CountLayer {
    /// Counts the routes of the document without a lock.
    pub(crate) fn new(document: &OpenApi, requests: &Requests) -> Self {
        let routes = document.paths.paths.iter().flat_map(|(route, item)| {
            let methods = [("GET", item.get.is_some()), ("POST", item.post.is_some())];
            let present = methods.into_iter().filter(|(_, present)| *present);
            present.map(move |(method, _)| (route.as_str(), method))
        });
        Self(requests.with_routes(routes))
    }
}

impl<S> Layer<S> for CountLayer {
    type Service = CountService<S>;

    fn layer(&self, inner: S) -> CountService<S> {
        CountService { inner, requests: self.0.clone() }
    }
}

/// Counts each request and the status of its answer.
#[derive(Clone)]
pub(crate) struct CountService<S> {
    inner: S,
    requests: Requests,
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
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let method = request.method().as_str();
        let in_flight = self.requests.begin(route, method, telemetry::current());
        ResponseFuture { answer: self.inner.call(request), in_flight: Some(in_flight) }
    }
}

pin_project! {
    /// The answer of the inner service, counted when it is there.
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        answer: F,
        in_flight: Option<InFlight>,
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
            in_flight.answered(response.status().as_str());
        }
        Poll::Ready(answer)
    }
}
