//! Types of entities: which there are, and what is declared about them.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use percent_encoding::utf8_percent_encode;
use producer_core::query::{MAX_PAGE_SIZE, PAGE_SIZE, TypeEntry, TypesRequest};
use producer_core::types::{Definition, PartKind, PartState, PartStatus, StoredType};
use producer_core::{ProblemKind, decode};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::entities::{SEGMENT, check_type, etag};
use super::paging::{next_link, query_problem};
use super::{DecodedPath, json_text};
use crate::body::{self, BodyStream};
use crate::openapi::schemas::{IfMatchHeader, IfNoneMatchHeader, TypePath};
use crate::openapi::types::{
    DefinitionDoc, DeleteTypeProblems, GetTypeProblems, ListTypesProblems, ReplaceTypeProblems,
    TypesQuery, examples,
};
use crate::problem::ProblemResponse;
use crate::query_parameters::{known_values, size};
use crate::state::AppState;
use crate::write_headers::precondition;

/// A page of types.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TypesPage)]
pub(crate) struct TypesBody {
    /// Ordered by their names
    types: Vec<TypeEntryBody>,
    /// The `pageToken` of the next page; absent where there is none
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_page_token: Option<String>,
}

/// A type that has entities or a definition.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TypeEntry)]
struct TypeEntryBody {
    r#type: String,
    /// How many entities it has
    entities: CountBody,
    /// Whether it has a definition
    defined: bool,
}

/// How many there are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Count)]
pub(crate) struct CountBody {
    value: u64,
    /// Whether that is what there is. If not, it is an estimate, or what was counted until time was up
    exact: bool,
}

impl From<TypeEntry> for TypeEntryBody {
    fn from(entry: TypeEntry) -> Self {
        let entities = CountBody { value: entry.entities, exact: false };
        Self { r#type: entry.entity_type, entities, defined: entry.defined }
    }
}

/// The definition of a type.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Type)]
pub(crate) struct TypeBody {
    r#type: String,
    /// Rises with every change of the definition; the `ETag`
    version: u64,
    /// When it was declared
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was changed last
    #[schema(format = DateTime)]
    updated_at: String,
    #[schema(value_type = DefinitionDoc)]
    definition: Box<RawValue>,
    /// How far its indexes and its search are, in the order of the definition
    parts: Vec<PartBody>,
}

/// An index, or the search of a type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TypePart)]
struct PartBody {
    #[schema(pattern = "^(index|search)$")]
    kind: &'static str,
    paths: Vec<String>,
    /// It works as soon as it is `ready`
    #[schema(pattern = "^(building|ready|dropping)$")]
    status: &'static str,
    /// While it is being built
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    progress: Option<ProgressBody>,
}

/// How far a part is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TypePartProgress)]
struct ProgressBody {
    /// How many entities it has
    done: u64,
    /// Of how many, about; absent before building has begun
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total: Option<u64>,
}

impl TryFrom<StoredType> for TypeBody {
    type Error = ProblemResponse;

    fn try_from(stored: StoredType) -> Result<Self, ProblemResponse> {
        Ok(Self {
            r#type: stored.entity_type,
            version: stored.version,
            created_at: stored.created_at.to_string(),
            updated_at: stored.updated_at.to_string(),
            definition: json_text(stored.definition.to_json())?,
            parts: stored.parts.into_iter().map(PartBody::from).collect(),
        })
    }
}

impl From<PartStatus> for PartBody {
    fn from(status: PartStatus) -> Self {
        let PartStatus { part, state, done, total } = status;
        let (kind, paths) = match part.kind {
            PartKind::Index(index) => {
                ("index", index.paths.iter().map(ToString::to_string).collect())
            }
            PartKind::Search(search) => {
                ("search", search.paths.iter().map(|(path, _)| path.to_string()).collect())
            }
        };
        let (status, progress) = match state {
            PartState::Building => ("building", Some(ProgressBody { done, total })),
            PartState::Ready => ("ready", None),
            PartState::Dropping => ("dropping", None),
        };
        Self { kind, paths, status, progress }
    }
}

/// Lists the types
///
/// Every type that has entities or a definition. The number of its entities is an estimate. A page ends after
/// half a second; the last one has no `nextPageToken`.
#[utoipa::path(
    get, path = "/api/v1/types", operation_id = "listTypes", tag = "types",
    params(TypesQuery),
    responses(
        (status = 200, description = "A page of types", body = TypesBody, headers(
            ("Link" = String, description = "The address of the next page, with `rel=\"next\"`, where there may be one"),
        ), example = examples::types),
        ListTypesProblems,
    ),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let [page_size, token] = known_values(&uri, ["pageSize", "pageToken"])?;
    let page_size = page_size.map(|text| size("pageSize", &text, MAX_PAGE_SIZE)).transpose()?;
    let request = TypesRequest { size: page_size.unwrap_or(PAGE_SIZE), token };
    let read = request::measure(Part::Database, app.lists.types(request));
    let page = read.await.map_err(query_problem)?;
    let link = page.next.as_deref().map(|token| next_link(&uri, token)).transpose()?;
    let link = link.map(|link| [(header::LINK, link)]);
    let types = page.types.into_iter().map(TypeEntryBody::from).collect();
    Ok((link, Json(TypesBody { types, next_page_token: page.next })).into_response())
}

/// Declares indexes and search of a type
///
/// The body replaces the whole definition. What is declared is built beside running writers, and works as soon as
/// its status is `ready`: GET shows how far it is. Parts that are the same as before stay as they are. No event is
/// refused because of a definition. With `If-Match` the definition is replaced only if it still has that version.
#[utoipa::path(
    put, path = "/api/v1/types/{type}", operation_id = "replaceType", tag = "types",
    params(TypePath, IfMatchHeader, IfNoneMatchHeader),
    request_body(content = DefinitionDoc, content_type = "application/json", description = "The definition", example = examples::definition),
    responses(
        (status = 200, description = "Replaced, or the same as before", body = TypeBody, headers(
            ("ETag" = String, description = "The version"),
        ), example = examples::ready),
        (status = 201, description = "The type had no definition", body = TypeBody, headers(
            ("Location" = String, description = "The path of the definition"),
            ("ETag" = String, description = "The version"),
        ), example = examples::building),
        ReplaceTypeProblems,
    ),
)]
pub(crate) async fn replace(
    State(app): State<AppState>,
    DecodedPath(entity_type): DecodedPath<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    check_type(&entity_type)?;
    let (parts, body) = request.into_parts();
    let [] = known_values(&parts.uri, [])?;
    let precondition = precondition(&parts.headers)?;
    body::require_json(&parts.headers)?;
    let body = BodyStream::new(body, app.body_limits());
    let definition = read_definition(&app, &parts.headers, body).await?;
    let replaced = app.types.replace(&entity_type, &definition, &precondition);
    let (stored, created) = request::measure(Part::Database, replaced).await?;
    let mut response = answer(stored)?;
    if created {
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert(header::LOCATION, location(&entity_type)?);
    }
    Ok(response)
}

/// Returns the definition of a type
///
/// With the status of each of its parts, and while one is being built its progress. The `ETag` is the version of
/// the definition; since the progress is no part of it, there is no `If-None-Match`.
#[utoipa::path(
    get, path = "/api/v1/types/{type}", operation_id = "getType", tag = "types",
    params(TypePath),
    responses(
        (status = 200, description = "The definition", body = TypeBody, headers(
            ("ETag" = String, description = "The version"),
        ), example = examples::ready),
        GetTypeProblems,
    ),
)]
pub(crate) async fn get(
    State(app): State<AppState>,
    DecodedPath(entity_type): DecodedPath<String>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    check_type(&entity_type)?;
    let [] = known_values(&uri, [])?;
    let stored = request::measure(Part::Database, app.types.get(&entity_type)).await?;
    answer(stored.ok_or_else(no_definition)?)
}

/// Deletes the definition of a type
///
/// And what it built; never entities. The request has no body.
#[utoipa::path(
    delete, path = "/api/v1/types/{type}", operation_id = "deleteType", tag = "types",
    params(TypePath, IfMatchHeader),
    responses(
        (status = 204, description = "Deleted"),
        DeleteTypeProblems,
    ),
)]
pub(crate) async fn delete(
    State(app): State<AppState>,
    DecodedPath(entity_type): DecodedPath<String>,
    request: Request,
) -> Result<StatusCode, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    check_type(&entity_type)?;
    let (parts, body) = request.into_parts();
    let [] = known_values(&parts.uri, [])?;
    let precondition = precondition(&parts.headers)?;
    let body = BodyStream::new(body, app.body_limits());
    request::measure(Part::Body, body.require_empty()).await?;
    let deleted = app.types.delete(&entity_type, &precondition);
    let is_deleted = request::measure(Part::Database, deleted).await?;
    is_deleted.then_some(StatusCode::NO_CONTENT).ok_or_else(no_definition)
}

/// The definition that is the body.
async fn read_definition(
    app: &AppState,
    headers: &HeaderMap,
    body: BodyStream,
) -> Result<Definition, ProblemResponse> {
    let read = request::measure(Part::Body, body.read_all(headers, &app.budget));
    let (bytes, _lease) = read.await?;
    Ok(Definition::read(decode::text(&bytes)?)?)
}

fn answer(stored: StoredType) -> Result<Response, ProblemResponse> {
    let headers = [
        (header::ETAG, header_value(etag(stored.version))?),
        // a copy would show an old progress
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Json(TypeBody::try_from(stored)?)).into_response())
}

fn location(entity_type: &str) -> Result<HeaderValue, ProblemResponse> {
    header_value(format!("/api/v1/types/{}", utf8_percent_encode(entity_type, SEGMENT)))
}

fn header_value(text: String) -> Result<HeaderValue, ProblemResponse> {
    HeaderValue::try_from(text)
        .map_err(|_| ProblemResponse::new(ProblemKind::Internal, "a header could not be written"))
}

fn no_definition() -> ProblemResponse {
    ProblemResponse::new(ProblemKind::NotFound, "the type has no definition")
}
