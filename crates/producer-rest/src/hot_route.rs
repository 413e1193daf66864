//! Serves the most frequent requests outside of the router, and those that need no layer outside of the layers.
//! A router finds the route among all others, and boxes, clones and drops each of its layers for every
//! request; layers move the request, and have room for what the largest route needs.

use std::convert::Infallible;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::Either;
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

/// A route as a service of its own, and a service for all other requests, which has the route too: for the
/// requests to it that are not hot, and since it lists the methods of its path.
#[derive(Debug, Clone)]
pub(crate) struct HotRoute<H, O> {
    is_hot: fn(&Request) -> bool,
    hot: H,
    others: O,
}

impl<H: RouteService, O: RouteService> HotRoute<H, O> {
    /// `hot` gets the requests of which `is_hot` says so.
    pub(crate) fn new(is_hot: fn(&Request) -> bool, hot: H, others: O) -> Self {
        Self { is_hot, hot, others }
    }
}

impl<H: RouteService, O: RouteService> Service<Request> for HotRoute<H, O> {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<H::Future, O::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        ready!(self.hot.poll_ready(cx))?;
        self.others.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if (self.is_hot)(&request) {
            Either::Left(self.hot.call(request))
        } else {
            Either::Right(self.others.call(request))
        }
    }
}
