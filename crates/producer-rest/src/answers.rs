//! Parts of answers that several routes have.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};
use producer_core::EntityVersion;
use serde::Serialize;
use utoipa::ToSchema;

/// The answer whose body is this JSON text.
pub(crate) fn json_answer(text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The version that an event made of an entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EntityVersion)]
pub(crate) struct EntityVersionBody<'a> {
    #[schema(example = "Loan")]
    entity_type: &'a str,
    #[schema(example = "loan-12345")]
    entity_id: &'a str,
    /// Counts the entity's updates, from 1
    #[schema(example = 2)]
    version: u64,
    /// Whether this update created the entity
    created: bool,
}

impl<'a> From<&'a EntityVersion> for EntityVersionBody<'a> {
    fn from(version: &'a EntityVersion) -> Self {
        Self {
            entity_type: version.key.entity_type(),
            entity_id: version.key.entity_id(),
            version: version.version,
            created: version.created,
        }
    }
}
