//! [`Problem`] as `application/problem+json` (RFC 9457). Handlers and layers only attach the problem
//! to their answer as an extension; [`crate::problem_layer`] writes the document.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use producer_core::{Problem, ProblemKind, Violation};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The detail of every defect that a panic revealed; the log has the rest.
pub(crate) const INTERNAL: &str = "internal error; the log has the details under this request id";

/// An extension of the answer to a defect that is logged already.
#[derive(Debug, Clone)]
pub(crate) struct AlreadyLogged;

/// The media type of every error answer.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A [`Problem`] as an answer.
#[derive(Debug)]
pub(crate) struct ProblemResponse(pub(crate) Box<Problem>);

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl ProblemResponse {
    /// A problem without violations.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem::new(kind, detail).into()
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status_code(self.0.kind);
        response.extensions_mut().insert(Arc::new(*self.0));
        response
    }
}

pub(crate) fn status_code(kind: ProblemKind) -> StatusCode {
    StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The body of every error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// `urn:producer:problem:` and the problem's name
    #[serde(rename = "type")]
    #[schema(example = "urn:producer:problem:validation")]
    kind: String,
    /// The same for every problem of this type
    title: &'static str,
    /// The HTTP status
    #[schema(example = 422)]
    status: u16,
    /// What is wrong, in one sentence
    detail: &'a str,
    /// The same sentence, for existing clients
    error: &'a str,
    /// The first 100 broken rules, in document order
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<BrokenRule<'a>>,
    /// How many rules are broken, listed or not
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_count: Option<usize>,
    /// The event's uuid (always with 503 and 504 of an event)
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_id: Option<Uuid>,
    /// With 412 of an entity or a definition always: its version, null if it does not exist
    #[serde(skip_serializing_if = "Option::is_none")]
    current_version: Option<Option<u64>>,
    /// Whether the same request may succeed when it is sent again
    retryable: bool,
    /// The `x-request-id` of this answer
    request_id: &'a str,
}

/// One broken rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BrokenRule<'a> {
    /// Where, as a JSON Pointer (RFC 6901)
    #[schema(example = "/eventBody/entities/0/entityId")]
    pointer: String,
    /// What is wrong there
    #[schema(example = "must not be empty")]
    detail: &'a str,
}

/// The broken rules of `problem`, `limit` at most.
pub(crate) fn broken_rules(problem: &Problem, limit: usize) -> Vec<BrokenRule<'_>> {
    let listed = problem.violations.listed().iter().take(limit);
    listed.map(BrokenRule::from).collect()
}

impl<'a> From<&'a Violation> for BrokenRule<'a> {
    fn from(violation: &'a Violation) -> Self {
        Self { pointer: violation.location.pointer(), detail: &violation.detail }
    }
}

impl<'a> ProblemBody<'a> {
    pub(crate) fn new(problem: &'a Problem, request_id: &'a str) -> Self {
        let count = problem.violations.count();
        Self {
            kind: format!("urn:producer:problem:{}", problem.kind.as_str()),
            title: problem.kind.title(),
            status: problem.kind.http_status(),
            detail: &problem.detail,
            error: &problem.detail,
            errors: broken_rules(problem, usize::MAX),
            error_count: (count > 0).then_some(count),
            event_id: problem.event_id,
            current_version: problem.precondition.map(|state| state.current_version),
            retryable: problem.kind.is_retryable(),
            request_id,
        }
    }
}
