//! The current state of entities.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use producer_core::model::Entity;
use producer_core::{EntityKey, ProblemKind, Violations};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{DecodedPath, json_text, unreachable};
use crate::openapi::examples;
use crate::openapi::problems::GetEntityProblems;
use crate::openapi::schemas::EntityPath;
use crate::problem::ProblemResponse;
use crate::state::AppState;

/// The current state of an entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Entity)]
pub(crate) struct EntityBody {
    entity_type: String,
    entity_id: String,
    /// Counts the entity's updates, from 1
    version: u64,
    /// When its first update was committed
    #[schema(format = DateTime)]
    created_at: String,
    /// When its last update was committed
    #[schema(format = DateTime)]
    updated_at: String,
    /// The merge of all its updates
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

impl TryFrom<Entity> for EntityBody {
    type Error = ProblemResponse;

    fn try_from(entity: Entity) -> Result<Self, ProblemResponse> {
        Ok(Self {
            entity_type: entity.key.entity_type().into(),
            entity_id: entity.key.entity_id().into(),
            version: entity.version,
            created_at: entity.created_at.to_string(),
            updated_at: entity.updated_at.to_string(),
            data: json_text(entity.data)?,
        })
    }
}

/// Returns the current state of an entity
///
/// Its `ETag` is its version.
#[utoipa::path(
    get, path = "/api/v1/entities/{type}/{id}", operation_id = "getEntity", tag = "entities",
    params(
        EntityPath,
        ("If-None-Match" = Option<String>, Header, description = "ETags of versions that the client has, such as `\"1\"`, or `*`: 304 if the entity still has one of them"),
    ),
    responses(
        (status = 200, description = "The state", body = EntityBody, headers(
            ("ETag" = String, description = "The version"),
            ("Last-Modified" = String, description = "The time of its last update"),
        ), example = examples::entity),
        (status = 304, description = "It still has a version that If-None-Match names", headers(
            ("ETag" = String, description = "The version"),
        )),
        GetEntityProblems,
    ),
)]
pub(crate) async fn get(
    State(app): State<AppState>,
    DecodedPath((entity_type, entity_id)): DecodedPath<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let key =
        EntityKey::new(&entity_type, &entity_id).map_err(|violations| invalid_key(&violations))?;
    let read = request::measure(Part::Database, app.store.entity(&key));
    let entity = read.await.map_err(unreachable)?;
    let entity =
        entity.ok_or_else(|| ProblemResponse::new(ProblemKind::NotFound, "no such entity"))?;
    let validators = validators(&entity)?;
    if matches(&headers, &etag(entity.version)) {
        return Ok((StatusCode::NOT_MODIFIED, validators).into_response());
    }
    Ok((validators, Json(EntityBody::try_from(entity)?)).into_response())
}

/// An empty id, which the route above doesn't match.
pub(crate) async fn no_id() -> ProblemResponse {
    ProblemResponse::new(
        ProblemKind::Malformed,
        "a path value breaks a rule: /entityId must not be empty",
    )
}

/// An empty type, which the route that makes entities doesn't match.
pub(crate) async fn no_type() -> ProblemResponse {
    ProblemResponse::new(
        ProblemKind::Malformed,
        "a path value breaks a rule: /entityType must not be empty",
    )
}

/// The problem of a path value; the first broken rule makes the sentence.
pub(super) fn invalid_key(violations: &Violations) -> ProblemResponse {
    let detail = violations.listed().first().map_or_else(String::new, ToString::to_string);
    ProblemResponse::new(ProblemKind::Malformed, format!("a path value breaks a rule: {detail}"))
}

/// The ETag of a version.
pub(super) fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// The headers of an answer whose body is the entity.
pub(super) fn validators(entity: &Entity) -> Result<HeaderMap, ProblemResponse> {
    let defect = || ProblemResponse::new(ProblemKind::Internal, "a header could not be written");
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| defect());
    let updated = DateTime::from_timestamp_micros(entity.updated_at.micros()).ok_or_else(defect)?;
    let modified = updated.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    Ok(HeaderMap::from_iter([
        (header::ETAG, value(&etag(entity.version))?),
        (header::LAST_MODIFIED, value(&modified)?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ]))
}

/// Whether `If-None-Match` names `etag`, compared weakly (RFC 9110, 13.1.2).
fn matches(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag)).any(|tag| tag == "*" || tag == etag)
    })
}
