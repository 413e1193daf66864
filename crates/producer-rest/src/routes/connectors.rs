//! What the routes of sinks and sources share.

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{StatusCode, Uri};
use producer_core::Problem;
use producer_core::worker::{Connector, Current, LastError, Role};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::BodyStream;
use crate::problem::ProblemResponse;
use crate::query_parameters::known_values;
use crate::state::AppState;

/// A sink or a source.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Connector)]
pub(crate) struct ConnectorBody {
    name: String,
    #[schema(example = "redis-stream")]
    kind: String,
    /// `running`; `retrying`: a delivery failed and is tried again; `paused`, by a user or by itself, as `lastError`
    /// says; `unassigned`: no worker runs it
    #[schema(pattern = "^(running|retrying|paused|unassigned)$")]
    state: &'static str,
    /// Of a sink: what goes on behind what was delivered, for `from` of the changes and of a reset; `snapshot` before
    /// a snapshot of all entities is taken
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// Of a sink: positions of the log that are before it, at most so many changes. Of a source: messages that wait
    /// for it, where its kind can tell
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lag_changes: Option<u64>,
    /// How long the first of them waits
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lag_seconds: Option<f64>,
    /// Whether nothing more was there
    caught_up: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    current: Option<CurrentBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_error: Option<LastErrorBody>,
    /// Whether it sends at all after failures: `closed` is yes, `half-open` tries one delivery
    #[schema(pattern = "^(closed|open|half-open)$")]
    breaker: &'static str,
    /// How many it has, with the changes that wait behind one; no more than 10,001 are counted
    dead_letters: u64,
    /// The worker that runs it
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    worker: Option<String>,
}

/// What a connector can't get past at the moment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CurrentChange)]
struct CurrentBody {
    /// What goes on behind it, for a skip. Of a source: the place of the message
    token: String,
    entity_type: String,
    entity_id: String,
    /// How often it was tried
    tries: u32,
}

/// What failed last. It stays when all goes well again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectorError)]
struct LastErrorBody {
    #[schema(format = DateTime)]
    at: String,
    detail: String,
}

impl From<Connector> for ConnectorBody {
    fn from(connector: Connector) -> Self {
        Self {
            state: connector.state().as_str(),
            lag_changes: connector.lag_changes(),
            lag_seconds: connector.lag_seconds(),
            caught_up: connector.is_caught_up(),
            name: connector.name,
            kind: connector.kind,
            token: connector.token,
            current: connector.report.current.map(CurrentBody::from),
            last_error: connector.report.last_error.map(LastErrorBody::from),
            breaker: connector.report.breaker.as_str(),
            dead_letters: connector.dead_letters,
            worker: connector.worker,
        }
    }
}

impl From<Current> for CurrentBody {
    fn from(current: Current) -> Self {
        let Current { token, entity_type, entity_id, tries } = current;
        Self { token, entity_type, entity_id, tries }
    }
}

impl From<LastError> for LastErrorBody {
    fn from(error: LastError) -> Self {
        Self { at: error.at().to_string(), detail: error.detail }
    }
}

/// The connectors of an answer.
pub(super) fn bodies(connectors: Vec<Connector>) -> Vec<ConnectorBody> {
    connectors.into_iter().map(ConnectorBody::from).collect()
}

/// Answers with a connector.
pub(super) async fn get(
    app: &AppState,
    role: Role,
    name: &str,
    uri: &Uri,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    let [] = known_values(uri, [])?;
    answer(app.connectors.get(role, name)).await
}

/// Pauses or resumes a connector.
pub(super) async fn set_paused(
    app: &AppState,
    role: Role,
    name: &str,
    paused: bool,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    bare(app, request).await?;
    answer(app.connectors.set_paused(role, name, paused)).await
}

/// Forgets a connector.
pub(super) async fn delete(
    app: &AppState,
    role: Role,
    name: &str,
    request: Request,
) -> Result<StatusCode, ProblemResponse> {
    let _slot = app.acquire_slot()?;
    bare(app, request).await?;
    request::measure(Part::Database, app.connectors.delete(role, name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers with the connector that `work` finds or steers.
pub(super) async fn answer(
    work: impl Future<Output = Result<Connector, Problem>>,
) -> Result<Response, ProblemResponse> {
    let connector = request::measure(Part::Database, work).await?;
    Ok(fresh(ConnectorBody::from(connector)))
}

/// An answer that is out of date a second later.
pub(super) fn fresh(body: impl Serialize) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Checks that a request has no query parameters.
pub(super) fn without_query(request: Request) -> Result<(Parts, Body), ProblemResponse> {
    let (parts, body) = request.into_parts();
    let [] = known_values(&parts.uri, [])?;
    Ok((parts, body))
}

/// Waits for the end of the body of a request that has none.
pub(super) async fn without_body(app: &AppState, body: Body) -> Result<(), ProblemResponse> {
    let body = BodyStream::new(body, app.body_limits());
    Ok(request::measure(Part::Body, body.require_empty()).await?)
}

/// Checks that a request has neither query parameters nor a body: its path says all.
pub(super) async fn bare(app: &AppState, request: Request) -> Result<(), ProblemResponse> {
    let (_, body) = without_query(request)?;
    without_body(app, body).await
}
