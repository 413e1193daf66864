//! What a request still sends after its answer is made. Closing on it would reset the connection,
//! and a client that still sends would see that instead of its answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

/// Sees to it that the request's body, dropped before its end, is still read and thrown away for up
/// to `patience`.
pub(crate) fn drained(request: Request, patience: Duration) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let may_not_come = request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(Drained { body: Some(body), patience, may_not_come }))
}

struct Drained {
    /// `None` after its end.
    body: Option<Body>,
    patience: Duration,
    /// The client waits for `100 Continue`, which the first read sends, and sends nothing if the
    /// answer comes first.
    may_not_come: bool,
}

impl http_body::Body for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.may_not_come = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if self.may_not_come || body.is_end_stream() {
            return;
        }
        let drain = async move { while let Some(Ok(_)) = body.frame().await {} };
        tokio::spawn(timeout(self.patience, drain));
    }
}
