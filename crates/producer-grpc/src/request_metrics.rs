//! Counts calls by the status that they end with, and notes why one was refused. The status is in the
//! answer's trailers, so a call isn't over before its body is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use producer_server::metrics::InFlight;
use producer_telemetry::refusal::Refusal;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const GRPC_STATUS: &str = "grpc-status";

/// Counts the answer's status: at once if its head has it, else when the body ends. `unknown_method` is
/// the path of a method that isn't there.
pub(crate) fn count_at_end(
    response: Response,
    in_flight: InFlight,
    unknown_method: Option<String>,
) -> Response {
    if let Some(status) = status_of(response.headers()) {
        note_refusal(&in_flight, status, response.headers(), unknown_method.as_deref());
        in_flight.answered(status);
        return response;
    }
    response.map(|body| Body::new(CountedBody { body, in_flight: Some(in_flight) }))
}

struct CountedBody {
    body: Body,
    in_flight: Option<InFlight>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let CountedBody { body, in_flight } = &mut *self;
        let poll = || Pin::new(body).poll_frame(cx);
        let frame = ready!(match in_flight {
            Some(in_flight) => in_flight.scope(poll),
            None => poll(),
        });
        let trailers = match &frame {
            Some(Ok(frame)) => frame.trailers_ref(),
            _ => None,
        };
        if let Some(trailers) = trailers
            && let Some(status) = status_of(trailers)
            && let Some(in_flight) = self.in_flight.take()
        {
            note_refusal(&in_flight, status, trailers, None);
            in_flight.answered(status);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Notes what a client did wrong, where tonic or a library found it: [`crate::status`] notes the rest.
fn note_refusal(
    in_flight: &InFlight,
    status: &'static str,
    headers: &HeaderMap,
    unknown_method: Option<&str>,
) {
    if let ("UNIMPLEMENTED", Some(path)) = (status, unknown_method) {
        return in_flight.refuse(Refusal::new("method", &format!("no such method: {path}")));
    }
    if !matches!(status, "INVALID_ARGUMENT" | "OUT_OF_RANGE") {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else { return };
    if let Some(problem) = refused_as(&status) {
        in_flight.refuse(Refusal::new(problem, status.message()));
    }
}

/// The word for what the client did wrong.
fn refused_as(status: &Status) -> Option<&'static str> {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match (status.code(), reason.as_deref()) {
        (Code::InvalidArgument, _) => Some("malformed"),
        // what is no longer kept is a usual answer
        (Code::OutOfRange, None | Some("TOO_LARGE")) => Some("too-large"),
        _ => None,
    }
}

/// The name of the status, as gRPC's specification has it.
fn status_of(headers: &HeaderMap) -> Option<&'static str> {
    Some(match Code::from_bytes(headers.get(GRPC_STATUS)?.as_bytes()) {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use producer_core::{Problem, ProblemKind};

    use super::*;
    use crate::request_id::RequestId;
    use crate::status;

    #[test]
    fn what_is_no_longer_kept_is_no_refusal() {
        let id = RequestId(HeaderValue::from_static("mine"));
        for (kind, expected) in [
            (ProblemKind::Gone, None),
            (ProblemKind::TooLarge, Some("too-large")),
            (ProblemKind::Malformed, Some("malformed")),
        ] {
            let status = status::from_problem(&Problem::new(kind, "why"), &id);
            assert_eq!(refused_as(&status), expected);
        }
        assert_eq!(refused_as(&Status::out_of_range("why")), Some("too-large"));
    }
}
