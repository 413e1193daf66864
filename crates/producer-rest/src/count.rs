//! Counts requests by the route that matched. A layer of the router, since only behind it the route
//! is known; hand-written, because a boxed middleware costs each request more.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use producer_server::metrics::Requests;
use producer_telemetry::request as telemetry;
use tower::{Layer, Service};
use utoipa::openapi::OpenApi;

/// The layer.
#[derive(Clone)]
pub(crate) struct Count(pub(crate) Requests);

impl Count {
    /// Fast for the routes of the document.
    pub(crate) fn routes_of(document: &OpenApi, requests: &Requests) -> Self {
        let routes = document.paths.paths.iter().flat_map(|(route, item)| {
            let methods = [("GET", item.get.is_some()), ("POST", item.post.is_some())];
            let taken = methods.into_iter().filter(|(_, taken)| *taken);
            taken.map(move |(method, _)| (route.as_str(), method))
        });
        Self(requests.with_routes(routes))
    }
}

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, requests: self.0.clone() }
    }
}

/// What [`Count`] makes.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    requests: Requests,
}

impl<S, B> Service<Request> for Counted<S>
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let method = request.method().as_str();
        let in_flight = self.requests.begin(route, method, telemetry::current());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            in_flight.answered(response.status().as_str());
            Ok(response)
        })
    }
}
