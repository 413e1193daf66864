//! The deadline of one HTTP/1 request's head: from its first byte to its end, on each request of a
//! connection. hyper's own deadline begins at the end of the previous request, so it can only bound how
//! long a connection idles.

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
use tokio::time::{Sleep, sleep};
use tower::Service;

/// The requests of one connection, shared by its reader and its service.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Heads read to their end. Only the connection's own task writes and reads it.
    begun: AtomicUsize,
    /// Guards of requests in flight. Relaxed: a stale value only delays a deadline.
    in_flight: AtomicUsize,
}

impl Requests {
    fn begin(self: &Arc<Self>) -> InFlightGuard {
        self.begun.fetch_add(1, Ordering::Relaxed);
        InFlightGuard::new(self)
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
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
    /// The head being read, as the number of those before it.
    head: Option<usize>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<R> HeadDeadline<R> {
    pub(super) fn new(read: R, limit: Option<Duration>, requests: Arc<Requests>) -> Self {
        Self { read, limit, requests, head: None, timer: None }
    }

    /// A head may begin with these bytes. If it began in the same read as the end of the previous
    /// body, this is noticed only with the next byte; until then the idle timeout applies.
    fn bytes_read(&mut self) {
        let head = Some(self.requests.begun());
        if self.head != head && self.requests.none_in_flight() {
            self.head = head;
            self.timer = None;
        }
    }

    /// Nothing to read: fails once the present head, if there is one, takes too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let in_head = self.head == Some(self.requests.begun());
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

/// An extension of each request: the address that its connection comes from. Behind a proxy it is the
/// proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);

/// A service that counts the requests in flight, from the call until the request's body and the
/// response's are dropped, and gives each request its [`ClientAddress`].
#[derive(Clone)]
pub(super) struct TrackedService<S> {
    pub(super) service: S,
    pub(super) requests: Arc<Requests>,
    pub(super) client: SocketAddr,
}

impl<S, B> Service<Request<Incoming>> for TrackedService<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    type Response = Response<TrackedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let guard = self.requests.begin();
        let body_guard = InFlightGuard::new(&self.requests);
        let mut request = request.map(|body| TrackedBody { body, guard: body_guard });
        request.extensions_mut().insert(ClientAddress(self.client));
        ResponseFuture { response: self.service.call(request), guard }
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
