//! The deadline of one HTTP/1 request's head: from its first byte to its end, on each request of a
//! connection. hyper's own deadline begins when the request before is over, so that it can only
//! bound how long a connection idles.

use std::future::Future;
use std::io;
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

/// What the two ends of one connection, its reader and its service, know of its requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Heads that were whole. Only the connection's own task counts and reads them.
    begun: AtomicUsize,
    /// Holds on requests in hand. A late look at it only delays a deadline: nothing is ordered by
    /// it.
    held: AtomicUsize,
}

impl Requests {
    fn begin(self: &Arc<Self>) -> InFlightGuard {
        self.begun.fetch_add(1, Ordering::Relaxed);
        InFlightGuard::new(self)
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    fn none_in_hand(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }
}

/// As long as one is there, bytes that come belong to a request whose head is over.
#[derive(Debug)]
struct InFlightGuard(Arc<Requests>);

impl InFlightGuard {
    fn new(requests: &Arc<Requests>) -> Self {
        requests.held.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(requests))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The reading half of a connection. A read fails with `TimedOut` where a head takes too long; a
/// head that comes at once costs no timer.
pub(super) struct HeadDeadline<R> {
    read: R,
    /// `None` on HTTP/2.
    limit: Option<Duration>,
    requests: Arc<Requests>,
    /// The head that comes, told by the count of those before it.
    head: Option<usize>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<R> HeadDeadline<R> {
    pub(super) fn new(read: R, limit: Option<Duration>, requests: Arc<Requests>) -> Self {
        Self { read, limit, requests, head: None, timer: None }
    }

    /// A head may begin with the bytes that came. The begin of a head that came behind the body
    /// before it goes unnoticed until the next byte: up to there the connection idles.
    fn bytes_came(&mut self) {
        let head = Some(self.requests.begun());
        if self.head != head && self.requests.none_in_hand() {
            self.head = head;
            self.timer = None;
        }
    }

    /// Nothing comes: fails once the head under way, if there is one, takes too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let under_way = self.head == Some(self.requests.begun());
        let Some(limit) = self.limit.filter(|_| under_way) else {
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
            came => {
                if buffer.filled().len() > before {
                    self.bytes_came();
                }
                came
            }
        }
    }
}

/// A service that notes which requests are in hand: from the call until the request's body and the
/// answer's are dropped.
#[derive(Clone)]
pub(super) struct TrackedService<S> {
    pub(super) service: S,
    pub(super) requests: Arc<Requests>,
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
        let hold = self.requests.begin();
        let of_body = InFlightGuard::new(&self.requests);
        let request = request.map(|body| TrackedBody { body, hold: of_body });
        ResponseFuture { answer: self.service.call(request), hold }
    }
}

/// The body of a request.
pub type RequestBody = TrackedBody<Incoming>;

pin_project! {
    /// A body; as long as it is there, its request is in hand.
    #[derive(Debug)]
    pub struct TrackedBody<B> {
        #[pin]
        body: B,
        hold: InFlightGuard,
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
    /// An answer that is being made.
    pub(super) struct ResponseFuture<F> {
        #[pin]
        answer: F,
        hold: InFlightGuard,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TrackedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx))?;
        let hold = InFlightGuard::new(&this.hold.0);
        Poll::Ready(Ok(answer.map(|body| TrackedBody { body, hold })))
    }
}
