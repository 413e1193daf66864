//! What a request still sends after its answer is made. Closing on it would reset the connection,
//! and a client that still sends would see that instead of its answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

/// Sees to it that the request's body, dropped before its end, is still read and thrown away for up
/// to `patience`.
pub(crate) fn drained<B: Incoming>(request: http::Request<B>, patience: Duration) -> Request {
    if request.body().is_end_stream() {
        return request.map(|_| Body::empty());
    }
    let may_not_come = request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(Drained { body: Some(body), patience, may_not_come }))
}

/// A request's body as the server hands it over.
pub(crate) trait Incoming:
    http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + Unpin + 'static
{
}

impl<B> Incoming for B where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + Unpin + 'static
{
}

struct Drained<B: Incoming> {
    /// `None` after its end.
    body: Option<B>,
    patience: Duration,
    /// The client waits for `100 Continue`, which the first read sends, and sends nothing if the
    /// answer comes first.
    may_not_come: bool,
}

impl<B: Incoming> http_body::Body for Drained<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.may_not_come = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), B::size_hint)
    }
}

impl<B: Incoming> Drop for Drained<B> {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if self.may_not_come || body.is_end_stream() {
            return;
        }
        let drain = async move { while let Some(Ok(_)) = body.frame().await {} };
        tokio::spawn(timeout(self.patience, drain));
    }
}
