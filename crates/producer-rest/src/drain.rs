//! Reads and discards the rest of a request's body. To close the connection instead would reset
//! it, and a client that is still sending would see that and not its answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use producer_server::serve::RequestBody;
use tokio::time::timeout;

/// A request whose body, when it is dropped before its end, is read and discarded for up to
/// `limit`.
pub(crate) fn drain_on_drop(request: http::Request<RequestBody>, limit: Duration) -> Request {
    if request.body().is_end_stream() {
        return request.map(|_| Body::empty());
    }
    let expects_continue = request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(DrainOnDrop { body: Some(body), limit, expects_continue }))
}

type BodyError = <RequestBody as http_body::Body>::Error;

struct DrainOnDrop {
    /// `None` after its end.
    body: Option<RequestBody>,
    limit: Duration,
    /// The client waits for `100 Continue`, which the first read sends. If the answer comes first,
    /// it sends no body.
    expects_continue: bool,
}

impl http_body::Body for DrainOnDrop {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.expects_continue = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(RequestBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), RequestBody::size_hint)
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if self.expects_continue || body.is_end_stream() {
            return;
        }
        let drain = async move { while let Some(Ok(_)) = body.frame().await {} };
        tokio::spawn(timeout(self.limit, drain));
    }
}
