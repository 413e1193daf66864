//! The routes, one file a capability, and what they share.

pub(crate) mod bulk;
pub(crate) mod changes;
mod connectors;
pub(crate) mod dead_letters;
pub(crate) mod entities;
pub(crate) mod entity_writes;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod lists;
pub(crate) mod metrics;
mod paging;
pub(crate) mod search;
pub(crate) mod sinks;
pub(crate) mod sources;
pub(crate) mod types;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Query};
use http::Uri;
use http::request::Parts;
use producer_core::ProblemKind;
use producer_core::query::{HistoryError, ReadError};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::problem::ProblemResponse;

/// Percent-decoded path values.
pub(crate) struct DecodedPath<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for DecodedPath<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        let undecodable = || {
            ProblemResponse::new(
                ProblemKind::Malformed,
                "a path value is not percent-encoded UTF-8",
            )
        };
        if has_bare_percent(parts.uri.path()) {
            return Err(undecodable());
        }
        path.map(|Path(value)| Self(value)).map_err(|_| undecodable())
    }
}

/// Whether a `%` is not followed by two hexadecimal digits, which the decoder would accept.
pub(crate) fn has_bare_percent(encoded: &str) -> bool {
    encoded.split('%').skip(1).any(|after| {
        let digits = after.bytes().take(2).filter(u8::is_ascii_hexdigit).count();
        digits < 2
    })
}

/// The query's parameters in order.
pub(crate) fn query_pairs(uri: &Uri) -> Result<Vec<(String, String)>, ProblemResponse> {
    if uri.query().is_none() {
        return Ok(Vec::new());
    }
    let pairs: Result<Query<Vec<(String, String)>>, _> = Query::try_from_uri(uri);
    pairs
        .map(|Query(pairs)| pairs)
        .map_err(|_| ProblemResponse::new(ProblemKind::Malformed, "bad query"))
}

/// Stored JSON, passed through unchanged.
pub(crate) fn json_text(text: String) -> Result<Box<RawValue>, ProblemResponse> {
    RawValue::from_string(text)
        .map_err(|_| ProblemResponse::new(ProblemKind::Internal, "stored text is not JSON"))
}

/// A read failed because the database is unavailable.
pub(crate) fn unreachable(error: ReadError) -> ProblemResponse {
    tracing::warn!(%error, "read failed");
    error.problem().into()
}

/// A read of the history failed.
pub(crate) fn history_problem(error: HistoryError) -> ProblemResponse {
    match error {
        HistoryError::Read(error) => unreachable(error),
        HistoryError::Refused(problem) => problem.into(),
    }
}
