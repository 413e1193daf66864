//! Sources of `producer-worker`, seen and steered.

use axum::extract::{Request, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use producer_core::worker::Role;
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use utoipa::ToSchema;

use super::DecodedPath;
use super::connectors::{self, ConnectorBody, bodies, fresh};
use crate::openapi::worker::{
    DeleteSourceProblems, GetSourceProblems, ListConnectorsProblems, NamePath, SteerSourceProblems,
    examples,
};
use crate::problem::ProblemResponse;
use crate::query_parameters::known_values;
use crate::state::AppState;

/// All sources.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sources)]
pub(crate) struct SourcesBody {
    /// In the order of their names
    sources: Vec<ConnectorBody>,
}

/// Lists the sources
///
/// All that a worker has run, of which a worker's configuration may have fewer by now.
#[utoipa::path(
    get, path = "/api/v1/sources", operation_id = "listSources", tag = "worker",
    responses(
        (status = 200, description = "All sources", body = SourcesBody, example = examples::sources),
        ListConnectorsProblems,
    ),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let [] = known_values(&uri, [])?;
    let sources = request::measure(Part::Database, app.connectors.list(Role::Source)).await?;
    Ok(fresh(SourcesBody { sources: bodies(sources) }))
}

/// Returns a source
///
/// How much waits for it, and what it can't get past, as of the last second.
#[utoipa::path(
    get, path = "/api/v1/sources/{name}", operation_id = "getSource", tag = "worker",
    params(NamePath),
    responses(
        (status = 200, description = "The source", body = ConnectorBody, example = examples::source),
        GetSourceProblems,
    ),
)]
pub(crate) async fn get(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    connectors::get(&app, Role::Source, &name, &uri).await
}

/// Pauses a source
///
/// Within 2 s it reads nothing more. One that is paused stays so. The request has no body.
#[utoipa::path(
    post, path = "/api/v1/sources/{name}/pause", operation_id = "pauseSource", tag = "worker",
    params(NamePath),
    responses(
        (status = 200, description = "The source", body = ConnectorBody, example = examples::paused_source),
        SteerSourceProblems,
    ),
)]
pub(crate) async fn pause(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    connectors::set_paused(&app, Role::Source, &name, true, request).await
}

/// Lets a source go on
///
/// Within 2 s. The request has no body.
#[utoipa::path(
    post, path = "/api/v1/sources/{name}/resume", operation_id = "resumeSource", tag = "worker",
    params(NamePath),
    responses(
        (status = 200, description = "The source", body = ConnectorBody, example = examples::source),
        SteerSourceProblems,
    ),
)]
pub(crate) async fn resume(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    connectors::set_paused(&app, Role::Source, &name, false, request).await
}

/// Forgets a source
///
/// And its dead letters. The request has no body.
#[utoipa::path(
    delete, path = "/api/v1/sources/{name}", operation_id = "deleteSource", tag = "worker",
    params(NamePath),
    responses(
        (status = 204, description = "Forgotten"),
        DeleteSourceProblems,
    ),
)]
pub(crate) async fn delete(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    request: Request,
) -> Result<StatusCode, ProblemResponse> {
    connectors::delete(&app, Role::Source, &name, request).await
}
