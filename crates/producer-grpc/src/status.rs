//! From a [`Problem`] to a [`Status`] with `google.rpc` details.

use std::collections::HashMap;

use producer_core::{Location, Problem, ProblemKind, Step, Violation};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb::bad_request::FieldViolation;
use tonic_types::pb::{BadRequest, ErrorInfo, RetryInfo, Status as RichStatus};

use crate::admission::RequestId;
use crate::paths::Paths;

/// Message and details as sent, percent- and base64-encoded: `grpcio` gives up at 8 KiB of
/// metadata, and its keys and the other headers need room too.
const MAX_SENT: usize = 4000;
/// Of that the message, which is in the details once more.
const MAX_MESSAGE: usize = 600;
/// One description or field of a violation.
const MAX_TEXT: usize = 256;

/// A problem whose violations, if any, are not about fields of a request.
pub(crate) fn from_problem(problem: &Problem, request: &RequestId) -> Status {
    with_fields(problem, request, |location| proto_path(location, &Paths::default()))
}

/// A problem of an event; `paths` tell which field carried its attributes.
pub(crate) fn from_event_problem(problem: &Problem, request: &RequestId, paths: &Paths) -> Status {
    if problem.kind == ProblemKind::Internal {
        let event = problem.event_id.map(tracing::field::display);
        tracing::error!(event, detail = %problem.detail, "internal error answered");
    }
    with_fields(problem, request, |location| proto_path(location, paths))
}

/// `FAILED_PRECONDITION`, which REST has no need of.
pub(crate) fn failed_precondition(message: &str, request: &RequestId) -> Status {
    let info = error_info("FAILED_PRECONDITION", None, request);
    rich(Code::FailedPrecondition, message, vec![any("google.rpc.ErrorInfo", &info)])
}

/// A status that tonic or the codec made, with the details that ours have.
pub(crate) fn completed(status: &Status, request: &RequestId) -> Status {
    if !status.details().is_empty() {
        return status.clone();
    }
    let (code, reason) = match status.code() {
        // ours have details; tonic says so of bytes that it can't read
        Code::Internal | Code::InvalidArgument => (Code::InvalidArgument, "MALFORMED"),
        Code::OutOfRange | Code::ResourceExhausted => (Code::OutOfRange, "TOO_LARGE"),
        Code::Unimplemented => (Code::Unimplemented, "METHOD"),
        Code::NotFound => (Code::NotFound, "NOT_FOUND"),
        code => return Status::new(code, status.message()),
    };
    let message = match status.message() {
        "" if code == Code::Unimplemented => "no such method",
        message => message,
    };
    rich(code, message, vec![any("google.rpc.ErrorInfo", &error_info(reason, None, request))])
}

fn with_fields(
    problem: &Problem,
    request: &RequestId,
    field: impl Fn(&Location) -> String,
) -> Status {
    let event_id = problem.event_id.map(|uuid| uuid.to_string());
    let info = error_info(&reason(problem.kind), event_id, request);
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if let Some(delay) = problem.retry_after() {
        let retry_delay = prost_types::Duration::try_from(delay).ok();
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay }));
    }
    let code = Code::from_i32(i32::from(problem.kind.grpc_code()));
    let message = clipped_message(&problem.detail);
    let room = room_for_violations(code, &message, &details);
    let violations = fitting(problem.violations.listed(), room, field);
    if !violations.is_empty() {
        details.push(any("google.rpc.BadRequest", &BadRequest { field_violations: violations }));
    }
    rich(code, &message, details)
}

/// The word of the REST table in capitals.
fn reason(kind: ProblemKind) -> String {
    kind.as_str().to_ascii_uppercase().replace('-', "_")
}

fn error_info(reason: &str, event_id: Option<String>, request: &RequestId) -> ErrorInfo {
    let mut metadata = HashMap::from([("request_id".to_owned(), request.as_str().to_owned())]);
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

/// Bytes of protobuf that violations may take, so that all of it stays within [`MAX_SENT`].
fn room_for_violations(code: Code, message: &str, details: &[Any]) -> usize {
    let rich = RichStatus { code: code.into(), message: message.into(), details: details.to_vec() };
    // base64 makes four characters of three bytes; 64 for the type's name and the lengths
    let in_bytes = MAX_SENT.saturating_sub(percent_encoded_len(message)) / 4 * 3;
    in_bytes.saturating_sub(rich.encoded_len() + 64)
}

fn fitting(
    violations: &[Violation],
    room: usize,
    field: impl Fn(&Location) -> String,
) -> Vec<FieldViolation> {
    let mut used = 0;
    let in_wire_form = violations.iter().map(|violation| FieldViolation {
        field: clipped(&field(&violation.location), MAX_TEXT),
        description: clipped(&violation.detail, MAX_TEXT),
        ..FieldViolation::default()
    });
    in_wire_form
        .take_while(|violation| {
            // a key and a length of up to two bytes stand before each
            used += violation.encoded_len() + 3;
            used <= room
        })
        .collect()
}

/// The start of `text` in at most `max` bytes, at a character's border, with an ellipsis.
fn clipped(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(max.saturating_sub('…'.len_utf8()))])
}

/// The start of `text` whose percent-encoded form has at most [`MAX_MESSAGE`] bytes.
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

/// `event_body.entities[0].entity_id`: the place in the request's message.
fn proto_path(location: &Location, paths: &Paths) -> String {
    let mut path = String::new();
    let (event, steps) = match location.0.split_first() {
        Some((Step::Index(event), steps)) => {
            path.push_str(&format!("events[{event}]"));
            (*event, steps)
        }
        _ => (0, location.0.as_slice()),
    };
    let mut entity = 0;
    for (depth, step) in steps.iter().enumerate() {
        match step {
            Step::Index(index) => {
                entity = if depth == 2 { *index } else { entity };
                path.push_str(&format!("[{index}]"));
            }
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                let field = if depth == 3 { paths.field(event, entity, key) } else { None };
                path.push_str(field.or_else(|| proto_name(key)).unwrap_or(key));
            }
        }
    }
    path
}

fn proto_name(json_name: &str) -> Option<&'static str> {
    Some(match json_name {
        "eventHeader" => "event_header",
        "eventBody" => "event_body",
        "eventName" => "event_name",
        "eventType" => "event_type",
        "createdDate" => "created_date",
        "savedDate" => "saved_date",
        "entityType" => "entity_type",
        "entityId" => "entity_id",
        _ => return None,
    })
}
