//! The deadlines of an HTTP/1 connection: of each head, from its first byte to its end, and of the time
//! between two requests. hyper's own deadline begins at the end of the previous request, so it has one limit
//! for both.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower::Service;

/// The requests of one connection, shared by its reader and its service.
#[derive(Debug)]
pub(super) struct Requests {
    /// The address that the connection comes from.
    client: SocketAddr,
    // only the connection's own task writes and reads these two
    /// Heads read to their end.
    begun: AtomicUsize,
    /// Heads of which a byte was read.
    heads: AtomicUsize,
    /// Guards of requests in flight. Relaxed: a stale value only delays a deadline.
    in_flight: AtomicUsize,
}

impl Requests {
    fn new(client: SocketAddr) -> Self {
        let none = || AtomicUsize::new(0);
        Self { client, begun: none(), heads: none(), in_flight: none() }
    }

    fn begin(self: &Arc<Self>) -> InFlightGuard {
        self.begun.fetch_add(1, Ordering::Relaxed);
        InFlightGuard::new(self)
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// The first byte of a head was read.
    fn begin_head(&self) {
        self.heads.store(self.begun() + 1, Ordering::Relaxed);
    }

    fn are_in_head(&self) -> bool {
        self.heads.load(Ordering::Relaxed) > self.begun()
    }

    fn none_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }
}

/// While one exists, incoming bytes belong to a request whose head was read to its end.
#[derive(Debug)]
struct InFlightGuard(Arc<Requests>);

impl InFlightGuard {
    fn new(requests: &Arc<Requests>) -> Self {
        requests.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(requests))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The reading half of a connection. A read fails with `TimedOut` where a head takes too long. A head
/// that arrives in one read needs no timer.
pub(super) struct HeadDeadline<R> {
    read: R,
    /// `None` on HTTP/2.
    limit: Option<Duration>,
    requests: Arc<Requests>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<R> HeadDeadline<R> {
    pub(super) fn new(read: R, limit: Option<Duration>, requests: Arc<Requests>) -> Self {
        Self { read, limit, requests, timer: None }
    }

    /// A head may begin with these bytes. If it began in the same read as the end of the previous
    /// body, this is noticed only with the next byte; until then the idle timeout applies.
    fn bytes_read(&mut self) {
        if !self.requests.are_in_head() && self.requests.none_in_flight() {
            self.requests.begin_head();
            self.timer = None;
        }
    }

    /// Nothing to read: fails once the present head, if there is one, takes too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let in_head = self.requests.are_in_head();
        let Some(limit) = self.limit.filter(|_| in_head) else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for HeadDeadline<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.read).poll_read(cx, buffer) {
            Poll::Pending => self.poll_deadline(cx),
            ready => {
                if buffer.filled().len() > before {
                    self.bytes_read();
                }
                ready
            }
        }
    }
}

/// The deadline of the time between two requests. One timer serves a connection from one pause to the next:
/// it fires early, and is set anew then. To set one for each pause would cost every request a timer.
pub(super) struct IdleDeadline {
    limit: Duration,
    requests: Arc<Requests>,
    /// The number of requests before the pause, and its beginning.
    since: Option<(usize, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl IdleDeadline {
    pub(super) fn new(limit: Duration, requests: Arc<Requests>) -> Self {
        Self { limit, requests, since: None, timer: None }
    }

    /// To be called whenever the connection has nothing to do: ready when the pause is too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.requests.none_in_flight() || self.requests.are_in_head() {
            return Poll::Pending;
        }
        let begun = self.requests.begun();
        let since = match self.since {
            Some((before, since)) if before == begun => since,
            _ => self.since.insert((begun, Instant::now())).1,
        };
        let deadline = since + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

/// A service that counts the requests in flight, from the call until the request's body and the
/// response's are dropped.
///
/// hyper calls it by a shared reference, from the connection's own task alone. hyper-util's adapter would
/// clone all layers for each request.
pub(super) struct TrackedService<S> {
    service: RefCell<S>,
    requests: Arc<Requests>,
}

impl<S> TrackedService<S> {
    pub(super) fn new(service: S, client: SocketAddr) -> Self {
        Self { service: RefCell::new(service), requests: Arc::new(Requests::new(client)) }
    }

    pub(super) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for TrackedService<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    type Response = Response<TrackedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let guard = self.requests.begin();
        let body_guard = InFlightGuard::new(&self.requests);
        let request = request.map(|body| TrackedBody { body, guard: body_guard });
        ResponseFuture { response: self.service.borrow_mut().call(request), guard }
    }
}

/// The body of a request.
pub type RequestBody = TrackedBody<Incoming>;

pin_project! {
    /// A body; its request is in flight until it is dropped.
    #[derive(Debug)]
    pub struct TrackedBody<B> {
        #[pin]
        body: B,
        guard: InFlightGuard,
    }
}

impl<B> TrackedBody<B> {
    /// The address that the request's connection comes from. Behind a proxy it is the proxy's.
    pub fn client(&self) -> SocketAddr {
        self.guard.0.client
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// The future of a response; its request is in flight until it is dropped.
    pub(super) struct ResponseFuture<F> {
        #[pin]
        response: F,
        guard: InFlightGuard,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TrackedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(cx))?;
        let guard = InFlightGuard::new(&this.guard.0);
        Poll::Ready(Ok(response.map(|body| TrackedBody { body, guard })))
    }
}
