//! The state of entities, now and as it was.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use producer_core::model::{AsOf, Entity};
use producer_core::{EntityKey, ProblemKind, Timestamp, Violations};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{DecodedPath, history_problem, json_text, unreachable};
use crate::openapi::examples;
use crate::openapi::problems::GetEntityProblems;
use crate::openapi::schemas::{AsOfQuery, EntityPath};
use crate::problem::ProblemResponse;
use crate::query_parameters::{broken, tolerant_values, version};
use crate::state::AppState;

/// What a path segment has literally (RFC 3986, 2.3); the rest is percent-encoded.
pub(crate) const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The state of an entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Entity)]
pub(crate) struct EntityBody {
    entity_type: String,
    entity_id: String,
    /// Counts the entity's updates, from 1
    version: u64,
    /// When the update that made it was committed
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

/// Returns the state of an entity
///
/// Its `ETag` is its version. With `version` or `at` it is the entity as it was then.
#[utoipa::path(
    get, path = "/api/v1/entities/{type}/{id}", operation_id = "getEntity", tag = "entities",
    params(
        EntityPath,
        AsOfQuery,
        ("If-None-Match" = Option<String>, Header, description = "ETags of versions that the client has, such as `\"1\"`, or `*`: 304 if the entity has one of them"),
    ),
    responses(
        (status = 200, description = "The state", body = EntityBody, headers(
            ("ETag" = String, description = "The version"),
            ("Last-Modified" = String, description = "The time of its last update"),
        ), links(
            ("history" = (
                operation_id = "listEntityHistory",
                parameters(
                    ("type" = "$response.body#/entityType"),
                    ("id" = "$response.body#/entityId"),
                ),
            )),
            ("provenance" = (
                operation_id = "getEntityProvenance",
                parameters(
                    ("type" = "$response.body#/entityType"),
                    ("id" = "$response.body#/entityId"),
                ),
            )),
        ), examples(
            ("now" = (value = json!(examples::entity()))),
            ("as it was" = (value = json!(examples::first_version()))),
        )),
        (status = 304, description = "It has a version that If-None-Match names", headers(
            ("ETag" = String, description = "The version"),
        )),
        GetEntityProblems,
    ),
)]
pub(crate) async fn get(
    State(app): State<AppState>,
    DecodedPath((entity_type, entity_id)): DecodedPath<(String, String)>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    // without the body, which is not Sync: a future that borrows from it is not Send
    let (parts, _) = request.into_parts();
    let key = entity_key(&entity_type, &entity_id)?;
    let entity = match as_of(&parts.uri)? {
        Some(as_of) => {
            let read = request::measure(Part::Database, app.history.entity(&key, as_of));
            read.await.map_err(history_problem)?
        }
        None => {
            let read = request::measure(Part::Database, app.store.entity(&key));
            let no_entity = || ProblemResponse::new(ProblemKind::NotFound, "no such entity");
            read.await.map_err(unreachable)?.ok_or_else(no_entity)?
        }
    };
    let validators = validators(&entity)?;
    if matches(&parts.headers, &etag(entity.version)) {
        return Ok((StatusCode::NOT_MODIFIED, validators).into_response());
    }
    Ok((validators, Json(EntityBody::try_from(entity)?)).into_response())
}

/// The moment that the query names; `None` is now.
fn as_of(uri: &Uri) -> Result<Option<AsOf>, ProblemResponse> {
    if uri.query().is_none() {
        return Ok(None);
    }
    match tolerant_values(uri, ["version", "at"])? {
        [None, None] => Ok(None),
        [Some(text), None] => version("version", &text).map(AsOf::Version).map(Some),
        [None, Some(text)] => time(&text).map(AsOf::Time).map(Some),
        [Some(_), Some(_)] => Err(broken("at", "must not be given beside version")),
    }
}

fn time(text: &str) -> Result<Timestamp, ProblemResponse> {
    // a plus sign that is not escaped is a space
    let hint = if text.contains(' ') { "; write + as %2B" } else { "" };
    Timestamp::from_text(text).map_err(|rule| broken("at", format!("{rule}{hint}")))
}

/// An empty id, which the route above doesn't match.
pub(crate) async fn no_id() -> ProblemResponse {
    ProblemResponse::new(
        ProblemKind::Malformed,
        "a path value breaks a rule: /entityId must not be empty",
    )
}

/// An empty type, which the routes of types don't match.
pub(crate) async fn no_type() -> ProblemResponse {
    ProblemResponse::new(
        ProblemKind::Malformed,
        "a path value breaks a rule: /entityType must not be empty",
    )
}

/// The key in a path.
pub(super) fn entity_key(entity_type: &str, entity_id: &str) -> Result<EntityKey, ProblemResponse> {
    EntityKey::new(entity_type, entity_id).map_err(|violations| invalid_key(&violations))
}

/// Checks the type in a path, of which there is no id.
pub(super) fn check_type(entity_type: &str) -> Result<(), ProblemResponse> {
    let any_id = "-";
    entity_key(entity_type, any_id).map(drop)
}

/// The path of an entity.
pub(super) fn path(key: &EntityKey) -> String {
    let [entity_type, entity_id] =
        [key.entity_type(), key.entity_id()].map(|segment| utf8_percent_encode(segment, SEGMENT));
    format!("/api/v1/entities/{entity_type}/{entity_id}")
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
