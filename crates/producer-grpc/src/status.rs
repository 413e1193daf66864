//! From a [`Problem`] to a [`Status`] with `google.rpc` details.

use std::collections::HashMap;

use producer_core::{Location, Problem, ProblemKind, Violation};
use producer_telemetry::request as telemetry;
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb::bad_request::FieldViolation;
use tonic_types::pb::{BadRequest, ErrorInfo, RetryInfo, Status as RichStatus};

use crate::field_paths::FieldPaths;
use crate::request_id::RequestId;

/// Message and details as sent, percent- and base64-encoded: `grpcio` gives up at 8 KiB of
/// metadata, and its keys and the other headers need room too.
const MAX_SENT: usize = 4000;
/// Of that the message, which the details repeat.
const MAX_MESSAGE: usize = 600;
/// One description or field of a violation.
const MAX_TEXT: usize = 256;

/// All that clients learn about a defect; the log has the rest.
const INTERNAL: &str = "internal error; the log has the details under this request id";

/// A problem of a request that has no attributes.
pub(crate) fn from_problem(problem: &Problem, request: &RequestId) -> Status {
    with_paths(problem, request, &FieldPaths::default())
}

/// A problem of an event; `paths` names the field that carried its attributes.
pub(crate) fn from_event_problem(
    problem: &Problem,
    request: &RequestId,
    paths: &FieldPaths,
) -> Status {
    if problem.kind == ProblemKind::Internal {
        let event = problem.event_id.map(tracing::field::display);
        tracing::error!(event, detail = %problem.detail, "answered with an internal error");
    }
    with_paths(problem, request, paths)
}

/// A defect that the log has already.
pub(crate) fn internal(request: &RequestId) -> Status {
    from_problem(&Problem::new(ProblemKind::Internal, INTERNAL), request)
}

/// `FAILED_PRECONDITION`, which has no counterpart in REST.
pub(crate) fn failed_precondition(message: &str, request: &RequestId) -> Status {
    let info = error_info("FAILED_PRECONDITION", false, None, request);
    rich(Code::FailedPrecondition, message, vec![any("google.rpc.ErrorInfo", &info)])
}

/// A status without details, which tonic or the codec made, with the details that ours have.
///
/// `INTERNAL` among them is a defect of ours: the body's framing was checked before tonic read it,
/// and `StrictCodec` reports messages that can't be decoded as `INVALID_ARGUMENT`.
pub(crate) fn with_details(status: &Status, request: &RequestId) -> Status {
    if !status.details().is_empty() {
        return status.clone();
    }
    let (code, kind) = match status.code() {
        Code::Internal => {
            tracing::error!(detail = status.message(), "answered with an internal error");
            return internal(request);
        }
        Code::InvalidArgument => (Code::InvalidArgument, ProblemKind::Malformed),
        Code::OutOfRange | Code::ResourceExhausted => (Code::OutOfRange, ProblemKind::TooLarge),
        Code::Unimplemented => (Code::Unimplemented, ProblemKind::Method),
        Code::NotFound => (Code::NotFound, ProblemKind::NotFound),
        code => return Status::new(code, status.message()),
    };
    let message = match status.message() {
        "" if code == Code::Unimplemented => "no such method",
        message => message,
    };
    rich(code, message, vec![any("google.rpc.ErrorInfo", &info_of(kind, None, request))])
}

fn with_paths(problem: &Problem, request: &RequestId, paths: &FieldPaths) -> Status {
    telemetry::refuse(problem.refusal());
    let event_id = problem.event_id.map(|uuid| uuid.to_string());
    let mut info = info_of(problem.kind, event_id, request);
    if let Some(version) = problem.precondition.and_then(|state| state.current_version) {
        info.metadata.insert("current_version".to_owned(), version.to_string());
    }
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if let Some(delay) = problem.retry_after() {
        let retry_delay = prost_types::Duration::try_from(delay).ok();
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay }));
    }
    let code = Code::from_i32(i32::from(problem.kind.grpc_code()));
    let message = clipped_message(&problem.detail);
    let room = room_for_violations(code, &message, &details);
    let violations = fitting(problem.violations.listed(), room, |location| paths.path(location));
    if !violations.is_empty() {
        details.push(any("google.rpc.BadRequest", &BadRequest { field_violations: violations }));
    }
    rich(code, &message, details)
}

/// The reason is the word behind REST's `urn:producer:problem:`, in capitals.
fn info_of(kind: ProblemKind, event_id: Option<String>, request: &RequestId) -> ErrorInfo {
    let reason = kind.as_str().to_ascii_uppercase().replace('-', "_");
    error_info(&reason, kind.is_retryable(), event_id, request)
}

fn error_info(
    reason: &str,
    is_retryable: bool,
    event_id: Option<String>,
    request: &RequestId,
) -> ErrorInfo {
    let mut metadata = HashMap::from([
        ("request_id".to_owned(), request.as_str().to_owned()),
        ("retryable".to_owned(), is_retryable.to_string()),
    ]);
    metadata.extend(event_id.map(|id| ("event_id".to_owned(), id)));
    ErrorInfo { reason: reason.into(), domain: "producer".into(), metadata }
}

fn any(type_name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{type_name}"), value: message.encode_to_vec() }
}

fn rich(code: Code, message: &str, details: Vec<Any>) -> Status {
    let message = clipped_message(message);
    let rich = RichStatus { code: code.into(), message: message.clone(), details };
    Status::with_details(code, message, rich.encode_to_vec().into())
}

/// Bytes of protobuf that violations may take, so that message and details stay within
/// [`MAX_SENT`].
fn room_for_violations(code: Code, message: &str, details: &[Any]) -> usize {
    let rich = RichStatus { code: code.into(), message: message.into(), details: details.to_vec() };
    // base64 encodes three bytes as four characters; 64 bytes for the type's name and lengths
    let in_bytes = MAX_SENT.saturating_sub(percent_encoded_len(message)) / 4 * 3;
    in_bytes.saturating_sub(rich.encoded_len() + 64)
}

fn fitting(
    violations: &[Violation],
    room: usize,
    field: impl Fn(&Location) -> String,
) -> Vec<FieldViolation> {
    let mut used = 0;
    let encoded = violations.iter().map(|violation| FieldViolation {
        field: clipped(&field(&violation.location), MAX_TEXT),
        description: clipped(&violation.detail, MAX_TEXT),
        ..FieldViolation::default()
    });
    encoded
        .take_while(|violation| {
            // each is preceded by a key and a length of up to two bytes
            used += violation.encoded_len() + 3;
            used <= room
        })
        .collect()
}

/// The start of `text` in at most `max` bytes, cut between characters, with an ellipsis.
fn clipped(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(max.saturating_sub('…'.len_utf8()))])
}

/// The start of `text` that takes at most [`MAX_MESSAGE`] bytes percent-encoded.
fn clipped_message(text: &str) -> String {
    let mut max = MAX_MESSAGE;
    let mut message = clipped(text, max);
    while percent_encoded_len(&message) > MAX_MESSAGE {
        max -= max / 4;
        message = clipped(text, max);
    }
    message
}

/// What gRPC escapes in `grpc-message`, and what tonic escapes on top of it.
fn percent_encoded_len(text: &str) -> usize {
    let len = |byte: u8| match byte {
        b' ' | b'"' | b'#' | b'%' | b'<' | b'>' | b'`' | b'?' | b'{' | b'}' => 3,
        0x21..=0x7e => 1,
        _ => 3,
    };
    text.bytes().map(len).sum()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic_types::StatusExt;

    use super::*;

    fn completed(status: &Status) -> (Code, String, String) {
        let status = with_details(status, &RequestId(HeaderValue::from_static("mine")));
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.metadata["request_id"], "mine");
        assert_eq!(info.metadata["retryable"], "false");
        (status.code(), info.reason, status.message().to_owned())
    }

    #[test]
    fn a_status_of_a_defect_is_internal_without_internals() {
        let (code, reason, message) = completed(&Status::internal("a secret"));
        assert_eq!((code, reason.as_str()), (Code::Internal, "INTERNAL"));
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn a_status_of_the_clients_error_keeps_its_message() {
        for (status, code, reason) in [
            (Status::invalid_argument("why"), Code::InvalidArgument, "MALFORMED"),
            (Status::out_of_range("why"), Code::OutOfRange, "TOO_LARGE"),
            (Status::unimplemented("why"), Code::Unimplemented, "METHOD"),
            (Status::not_found("why"), Code::NotFound, "NOT_FOUND"),
        ] {
            assert_eq!(completed(&status), (code, reason.to_owned(), "why".to_owned()));
        }
    }
}
