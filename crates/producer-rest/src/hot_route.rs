//! Serves the most frequent route outside of the router. A router finds the route among all others, and
//! boxes, clones and drops each of its layers for every request.

use std::convert::Infallible;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::Either;
use http::Method;
use tower::Service;

/// A service that answers each request.
pub(crate) trait RouteService:
    Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> RouteService for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// One route as a service of its own, and a router for all other requests. The router has the route too:
/// it lists the methods of its path.
#[derive(Debug, Clone)]
pub(crate) struct HotRoute<H, R> {
    method: Method,
    path: &'static str,
    hot: H,
    router: R,
}

impl<H: RouteService, R: RouteService> HotRoute<H, R> {
    /// `hot` gets the requests of this method to exactly this path.
    pub(crate) fn new(method: Method, path: &'static str, hot: H, router: R) -> Self {
        Self { method, path, hot, router }
    }
}

impl<H: RouteService, R: RouteService> Service<Request> for HotRoute<H, R> {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<H::Future, R::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        ready!(self.hot.poll_ready(cx))?;
        self.router.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if *request.method() == self.method && request.uri().path() == self.path {
            Either::Left(self.hot.call(request))
        } else {
            Either::Right(self.router.call(request))
        }
    }
}
