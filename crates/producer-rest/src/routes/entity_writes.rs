//! Writes of one entity. Each is an event of one update; what it does with the entity is its route.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use producer_core::decode::{EntityMethod, EntityRequest, EntityWrite};
use producer_core::{
    EntityKey, EntityVersion, Field, Header, Patch, Problem, ProblemKind, Receipt, Step, decode,
};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use uuid::Uuid;

use super::DecodedPath;
use super::entities::{EntityBody, etag, invalid_key, path, validators};
use crate::body::{self, BodyStream};
use crate::openapi::examples;
use crate::openapi::problems::{
    CreateEntityProblems, DeleteEntityProblems, MergeEntityProblems, ReplaceEntityProblems,
};
use crate::openapi::schemas::{
    AttributesDoc, EntityPath, IfMatchHeader, IfNoneMatchHeader, KeyHeader, PreferHeader, TypePath,
    WriteQuery,
};
use crate::problem::ProblemResponse;
use crate::query_parameters::known_values;
use crate::state::AppState;
use crate::write_headers::{
    PREFERENCE_APPLIED, idempotency_key, precondition, prefers_representation,
};

/// The answer to a write of one entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EntityReceipt)]
pub(crate) struct EntityReceiptBody<'a> {
    /// The uuid of the event that the write is
    event_id: Uuid,
    /// Whether it had been stored before, so that nothing changed now
    duplicate: bool,
    #[schema(example = "Loan")]
    entity_type: &'a str,
    #[schema(example = "loan-12345")]
    entity_id: &'a str,
    /// The version that the write made
    #[schema(example = 2)]
    version: u64,
    /// Whether the write created the entity
    created: bool,
}

/// The entity, if `Prefer: return=representation` was sent and it still exists.
#[derive(ToSchema)]
#[schema(as = WrittenEntity)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what is written")]
enum WrittenBody {
    Short(EntityReceiptBody<'static>),
    Entity(EntityBody),
}

/// Creates an entity
///
/// Its id is made by the service: it is the uuid of the event. With an `Idempotency-Key` the same request
/// sent again creates no second one, and is answered with the first one's id.
#[utoipa::path(
    post, path = "/api/v1/entities/{type}", operation_id = "createEntity", tag = "entities",
    params(TypePath, WriteQuery, KeyHeader, PreferHeader),
    request_body(content = AttributesDoc, content_type = "application/json", description = "Its document", example = examples::loan),
    responses(
        (status = 201, description = "Created, now or before", body = WrittenBody, headers(
            ("Location" = String, description = "The path of the entity"),
            ("ETag" = String, description = "The version; not of a duplicate, unless the body is the entity"),
            ("Last-Modified" = String, description = "The time of its last update, if the body is the entity"),
            ("Preference-Applied" = String, description = "`return=representation` if the body is the entity"),
        ), links(("entity" = (
            operation_id = "getEntity",
            parameters(
                ("type" = "$response.body#/entityType"),
                ("id" = "$response.body#/entityId"),
            ),
        ))), examples(
            ("first time" = (value = json!(examples::created()))),
            ("sent again" = (value = json!(examples::created_before()))),
            ("representation" = (value = json!(examples::created_entity()))),
        )),
        CreateEntityProblems,
    ),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    DecodedPath(entity_type): DecodedPath<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    write(&app, EntityMethod::Create, &entity_type, "", request).await
}

/// Replaces an entity, or creates it
///
/// The body becomes its document: what the document had is gone. With `If-Match` it is replaced only if
/// it still has that version, with `If-None-Match: *` only created.
#[utoipa::path(
    put, path = "/api/v1/entities/{type}/{id}", operation_id = "replaceEntity", tag = "entities",
    params(EntityPath, WriteQuery, IfMatchHeader, IfNoneMatchHeader, KeyHeader, PreferHeader),
    request_body(content = AttributesDoc, content_type = "application/json", description = "Its document", example = examples::loan),
    responses(
        (status = 200, description = "Replaced, now or before", body = WrittenBody, headers(
            ("ETag" = String, description = "The version; not of a duplicate, unless the body is the entity"),
            ("Last-Modified" = String, description = "The time of its last update, if the body is the entity"),
            ("Preference-Applied" = String, description = "`return=representation` if the body is the entity"),
        ), examples(
            ("replaced" = (value = json!(examples::replaced()))),
            ("representation" = (value = json!(examples::replaced_entity()))),
        )),
        (status = 201, description = "Created, now or before", body = WrittenBody, headers(
            ("Location" = String, description = "The path of the entity"),
            ("ETag" = String, description = "The version; not of a duplicate, unless the body is the entity"),
            ("Last-Modified" = String, description = "The time of its last update, if the body is the entity"),
            ("Preference-Applied" = String, description = "`return=representation` if the body is the entity"),
        ), example = examples::created_anew),
        ReplaceEntityProblems,
    ),
)]
pub(crate) async fn replace(
    State(app): State<AppState>,
    DecodedPath((entity_type, entity_id)): DecodedPath<(String, String)>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    write(&app, EntityMethod::Replace, &entity_type, &entity_id, request).await
}

/// Merges attributes into an entity
///
/// The body is a JSON Merge Patch (RFC 7396): objects merge deep, null removes, anything else replaces. The
/// entity must exist. With `If-Match` it must have that version too, so that no change of others in
/// between is overlooked.
#[utoipa::path(
    patch, path = "/api/v1/entities/{type}/{id}", operation_id = "mergeEntity", tag = "entities",
    params(EntityPath, WriteQuery, IfMatchHeader, KeyHeader, PreferHeader),
    request_body(content(
        (AttributesDoc = "application/merge-patch+json", example = examples::loan_patch),
        (AttributesDoc = "application/json", example = examples::loan_patch),
    ), description = "The merge patch"),
    responses(
        (status = 200, description = "Merged, now or before", body = WrittenBody, headers(
            ("ETag" = String, description = "The version; not of a duplicate, unless the body is the entity"),
            ("Last-Modified" = String, description = "The time of its last update, if the body is the entity"),
            ("Preference-Applied" = String, description = "`return=representation` if the body is the entity"),
        ), examples(
            ("merged" = (value = json!(examples::merged()))),
            ("representation" = (value = json!(examples::merged_entity()))),
        )),
        MergeEntityProblems,
    ),
)]
pub(crate) async fn merge(
    State(app): State<AppState>,
    DecodedPath((entity_type, entity_id)): DecodedPath<(String, String)>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    write(&app, EntityMethod::Merge, &entity_type, &entity_id, request).await
}

/// Deletes an entity
///
/// It must exist. The log keeps its history, and if it is created again, its versions go on. The request
/// has no body.
#[utoipa::path(
    delete, path = "/api/v1/entities/{type}/{id}", operation_id = "deleteEntity", tag = "entities",
    params(EntityPath, WriteQuery, IfMatchHeader, KeyHeader),
    responses(
        (status = 200, description = "Deleted, now or before", body = EntityReceiptBody, headers(
            ("ETag" = String, description = "The version that the deletion is; not of a duplicate"),
        ), example = examples::deleted),
        DeleteEntityProblems,
    ),
)]
pub(crate) async fn delete(
    State(app): State<AppState>,
    DecodedPath((entity_type, entity_id)): DecodedPath<(String, String)>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    write(&app, EntityMethod::Delete, &entity_type, &entity_id, request).await
}

async fn write(
    app: &AppState,
    method: EntityMethod,
    entity_type: &str,
    entity_id: &str,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let (parts, body) = request.into_parts();
    let body = BodyStream::new(body, app.body_limits());
    let (header, condition) = query(&parts)?;
    let request = EntityRequest {
        method,
        entity_type,
        entity_id,
        header,
        key: idempotency_key(&parts.headers)?,
        precondition: precondition(&parts.headers)?,
        condition,
        attributes: Patch::parse("{}"),
    };
    let write = match method {
        EntityMethod::Delete => {
            request::measure(Part::Body, body.require_empty()).await?;
            request.into_write(&app.clock)
        }
        EntityMethod::Merge => {
            body::require_merge_patch(&parts.headers)?;
            with_body(app, request, &parts.headers, body).await?
        }
        EntityMethod::Create | EntityMethod::Replace => {
            body::require_json(&parts.headers)?;
            with_body(app, request, &parts.headers, body).await?
        }
    };
    let deadline = Instant::now() + app.settings.common.request_timeout;
    let receipt = app.ingest.submit_write(write).await.map_err(in_http)?;
    let returns_entity = method != EntityMethod::Delete && prefers_representation(&parts.headers);
    answer(app, &receipt, returns_entity.then_some(deadline)).await
}

/// What the query says: the header of the event, and the condition.
fn query(parts: &Parts) -> Result<(Header<'static>, Field<'static>), ProblemResponse> {
    let known = ["eventName", "source", "actor", "condition"];
    let values = known_values(&parts.uri, known)?;
    let [event_name, source, actor, condition] =
        values.map(|value| value.map_or(Field::Absent, |text| Field::Text(text.into())));
    Ok((Header { event_name, source, actor, ..Header::default() }, condition))
}

/// The write whose attributes are the body. The inner error is one of the event, and counted as such.
async fn with_body(
    app: &AppState,
    request: EntityRequest<'_>,
    headers: &HeaderMap,
    body: BodyStream,
) -> Result<Result<EntityWrite, Problem>, Problem> {
    let read = body.read_all(headers, &app.budget);
    let (bytes, lease) = request::measure(Part::Body, read).await?;
    let attributes = decode::attributes(&bytes);
    drop((bytes, lease));
    Ok(attributes
        .and_then(|attributes| EntityRequest { attributes, ..request }.into_write(&app.clock)))
}

/// The same problem where the parts of the event are in the request: the attributes are its body, so
/// pointers begin there; its header and its condition are the query, its entity is the path.
fn in_http(problem: Problem) -> Problem {
    let Some(first) = problem.violations.first() else { return problem };
    match first.location.0.as_slice() {
        [Step::Key(part), Step::Key(name)] if part == "eventHeader" => {
            let detail = format!("the query parameter {name} {}", first.detail);
            Problem::new(ProblemKind::Malformed, detail)
        }
        [Step::Key(name)] if name == "condition" => {
            let detail = format!("the query parameter condition, {}", first.detail);
            Problem::new(ProblemKind::Malformed, detail)
        }
        [Step::Key(name)] if name == "entityType" || name == "entityId" => {
            *invalid_key(&problem.violations).0
        }
        [] => problem,
        _ => problem.map_violations(|broken| {
            broken.without_prefix(&[Step::Key("updatedAttributes".into())])
        }),
    }
}

/// The short answer, or the entity where it can be read until `entity_until`.
async fn answer(
    app: &AppState,
    receipt: &Receipt,
    entity_until: Option<Instant>,
) -> Result<Response, ProblemResponse> {
    let defect = |detail| ProblemResponse::new(ProblemKind::Internal, detail);
    let Some(EntityVersion { key, version, created }) = receipt.entities.first() else {
        return Err(defect("a write without an entity"));
    };
    let entity = match entity_until {
        Some(deadline) => entity_response(app, key, deadline).await,
        None => None,
    };
    let mut response = entity.unwrap_or_else(|| {
        let body = EntityReceiptBody {
            event_id: receipt.event_id,
            duplicate: receipt.duplicate,
            entity_type: key.entity_type(),
            entity_id: key.entity_id(),
            version: *version,
            created: *created,
        };
        let tag = (!receipt.duplicate).then(|| [(header::ETAG, etag(*version))]);
        (tag, Json(body)).into_response()
    });
    if *created {
        *response.status_mut() = StatusCode::CREATED;
        let location = HeaderValue::try_from(path(key));
        let location = location.map_err(|_| defect("a header could not be written"))?;
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The entity as it is after the commit. `None` where it is deleted again or can't be read: the write is
/// stored all the same, and answered without.
async fn entity_response(app: &AppState, key: &EntityKey, deadline: Instant) -> Option<Response> {
    let read = timeout_at(deadline, app.store.entity(key));
    let entity = match request::measure(Part::Database, read).await {
        Ok(Ok(entity)) => entity?,
        Ok(Err(error)) => {
            tracing::warn!(%error, "read after a write failed");
            return None;
        }
        Err(_) => {
            tracing::warn!("read after a write took too long");
            return None;
        }
    };
    let headers = validators(&entity).ok()?;
    let body = EntityBody::try_from(entity).ok()?;
    let applied = [(PREFERENCE_APPLIED, HeaderValue::from_static("return=representation"))];
    Some((headers, applied, Json(body)).into_response())
}
