//! The deadlines of HTTP/1's reads: of each head from its first byte to its end, and of the time between two
//! requests. hyper's own deadline begins at the end of the previous request, so it has one limit for both.

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

/// How long a client of HTTP/1 may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadTimeouts {
    /// For a head, from its first byte on.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
}

/// The reading half of a connection. A read fails with `TimedOut` where a head takes too long, or the next
/// one is too long in coming. A head that arrives in one read needs no timer.
pub(super) struct ReadDeadlines<R> {
    read: R,
    /// `None` on HTTP/2.
    timeouts: Option<ReadTimeouts>,
    requests: Arc<Requests>,
    /// The head being read, as the number of those before it.
    head: Option<usize>,
    head_timer: Option<Pin<Box<Sleep>>>,
    idle: Idle,
}

/// The time between two requests.
#[derive(Default)]
struct Idle {
    /// The number of requests before it, and its beginning.
    since: Option<(usize, Instant)>,
    /// Kept from one to the next: it fires early, and is set anew then. To set it for each would cost
    /// every request a timer.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    /// Ready when `timeout` is over since it began after the request with this number.
    fn poll(&mut self, after: usize, timeout: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let since = match self.since {
            Some((request, since)) if request == after => since,
            _ => self.since.insert((after, Instant::now())).1,
        };
        let deadline = since + timeout;
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

impl<R> ReadDeadlines<R> {
    pub(super) fn new(read: R, timeouts: Option<ReadTimeouts>, requests: Arc<Requests>) -> Self {
        Self { read, timeouts, requests, head: None, head_timer: None, idle: Idle::default() }
    }

    /// A head may begin with these bytes. If it began in the same read as the end of the previous
    /// body, this is noticed only with the next byte; until then the idle timeout applies.
    fn bytes_read(&mut self) {
        let head = Some(self.requests.begun());
        if self.head != head && self.requests.none_in_flight() {
            self.head = head;
            self.head_timer = None;
        }
    }

    /// Nothing to read: fails once the present head, or the pause between two requests, takes too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(timeouts) = self.timeouts else { return Poll::Pending };
        let begun = self.requests.begun();
        if self.head == Some(begun) {
            let timer = self.head_timer.get_or_insert_with(|| Box::pin(sleep(timeouts.head)));
            ready!(timer.as_mut().poll(cx));
        } else {
            self.head_timer = None;
            if !self.requests.none_in_flight() {
                return Poll::Pending;
            }
            ready!(self.idle.poll(begun, timeouts.idle, cx));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for ReadDeadlines<R> {
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
