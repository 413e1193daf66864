//! Sinks of `producer-worker`, seen and steered.

use axum::extract::{Request, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use producer_core::decode;
use producer_core::worker::{Role, read_only_text};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use utoipa::ToSchema;

use super::DecodedPath;
use super::connectors::{self, ConnectorBody, answer, bodies, fresh, without_query};
use crate::body::{self, BodyStream};
use crate::openapi::worker::{
    DeleteSinkProblems, GetSinkProblems, ListConnectorsProblems, NamePath, ResetDoc,
    ResetSinkProblems, SkipDoc, SkipSinkProblems, SteerSinkProblems, examples,
};
use crate::problem::ProblemResponse;
use crate::query_parameters::known_values;
use crate::state::AppState;

/// All sinks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sinks)]
pub(crate) struct SinksBody {
    /// In the order of their names
    sinks: Vec<ConnectorBody>,
}

/// Lists the sinks
///
/// All that a worker has run, of which a worker's configuration may have fewer by now.
#[utoipa::path(
    get, path = "/api/v1/sinks", operation_id = "listSinks", tag = "worker",
    responses(
        (status = 200, description = "All sinks", body = SinksBody, example = examples::sinks),
        ListConnectorsProblems,
    ),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let [] = known_values(&uri, [])?;
    let sinks = request::measure(Part::Database, app.connectors.list(Role::Sink)).await?;
    Ok(fresh(SinksBody { sinks: bodies(sinks) }))
}

/// Returns a sink
///
/// Where it is, how far behind, and what it can't get past, as of the last second.
#[utoipa::path(
    get, path = "/api/v1/sinks/{name}", operation_id = "getSink", tag = "worker",
    params(NamePath),
    responses(
        (status = 200, description = "The sink", body = ConnectorBody, example = examples::sink),
        GetSinkProblems,
    ),
)]
pub(crate) async fn get(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    uri: Uri,
) -> Result<Response, ProblemResponse> {
    connectors::get(&app, Role::Sink, &name, &uri).await
}

/// Pauses a sink
///
/// Within 2 s it sends nothing more, and keeps its place. One that is paused stays so. The request has no body.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/pause", operation_id = "pauseSink", tag = "worker",
    params(NamePath),
    responses(
        (status = 200, description = "The sink", body = ConnectorBody, example = examples::paused_sink),
        SteerSinkProblems,
    ),
)]
pub(crate) async fn pause(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    connectors::set_paused(&app, Role::Sink, &name, true, request).await
}

/// Lets a sink go on
///
/// Within 2 s, where it was. The request has no body.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/resume", operation_id = "resumeSink", tag = "worker",
    params(NamePath),
    responses(
        (status = 200, description = "The sink", body = ConnectorBody, example = examples::sink),
        SteerSinkProblems,
    ),
)]
pub(crate) async fn resume(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    connectors::set_paused(&app, Role::Sink, &name, false, request).await
}

/// Gives up the change that a sink can't get past
///
/// It becomes a dead letter within 2 s, and the sink goes on. `token` is that of `current`: with another one, or
/// where the sink has got past it meanwhile, nothing is given up.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/skip", operation_id = "skipSink", tag = "worker",
    params(NamePath),
    request_body(content = SkipDoc, content_type = "application/json", description = "Which change", example = examples::skip),
    responses(
        (status = 200, description = "The sink as it is, still at that change", body = ConnectorBody, example = examples::stuck_sink),
        SkipSinkProblems,
    ),
)]
pub(crate) async fn skip(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let token = only_text(&app, request, "token").await?;
    answer(app.connectors.skip(&name, &token)).await
}

/// Puts a sink elsewhere
///
/// Within 2 s it goes on from there. Its dead letters stay. `snapshot` sends the entities as they are, then their
/// changes; a time begins up to 10 s before it.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/reset", operation_id = "resetSink", tag = "worker",
    params(NamePath),
    request_body(content = ResetDoc, content_type = "application/json", description = "Where to", example = examples::reset),
    responses(
        (status = 200, description = "The sink, with its new token", body = ConnectorBody, example = examples::reset_sink),
        ResetSinkProblems,
    ),
)]
pub(crate) async fn reset(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let from = only_text(&app, request, "from").await?;
    answer(app.connectors.reset(&name, &from)).await
}

/// Forgets a sink
///
/// Its position and its dead letters. The request has no body.
#[utoipa::path(
    delete, path = "/api/v1/sinks/{name}", operation_id = "deleteSink", tag = "worker",
    params(NamePath),
    responses(
        (status = 204, description = "Forgotten"),
        DeleteSinkProblems,
    ),
)]
pub(crate) async fn delete(
    State(app): State<AppState>,
    DecodedPath(name): DecodedPath<String>,
    request: Request,
) -> Result<StatusCode, ProblemResponse> {
    connectors::delete(&app, Role::Sink, &name, request).await
}

/// The text that the body has as its only member.
async fn only_text(
    app: &AppState,
    request: Request,
    member: &'static str,
) -> Result<String, ProblemResponse> {
    let (parts, body) = without_query(request)?;
    body::require_json(&parts.headers)?;
    let body = BodyStream::new(body, app.body_limits());
    let read = request::measure(Part::Body, body.read_all(&parts.headers, &app.budget));
    let (bytes, _lease) = read.await?;
    Ok(read_only_text(decode::text(&bytes)?, member)?)
}
