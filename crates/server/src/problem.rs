//! Problem documents (RFC 9457) of the operators' port.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use producer_core::Problem;
use serde_json::json;

/// The document and its status.
pub(crate) fn response(problem: &Problem) -> Response {
    let kind = problem.kind;
    let status =
        StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "type": format!("urn:producer:problem:{}", kind.as_str()),
        "title": kind.title(),
        "status": kind.http_status(),
        "detail": problem.detail,
        "error": problem.detail,
    });
    let mut response = (status, Json(body)).into_response();
    let media_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}
