//! Liveness and readiness.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use producer_server::readiness::DatabaseState;
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use utoipa::ToSchema;

use crate::openapi::examples;
use crate::openapi::problems::HealthProblems;
use crate::state::AppState;

const HEALTHY: &str = "Producer API is healthy";

/// The state of the service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthBody {
    /// `healthy` or `unhealthy`
    #[schema(example = "healthy")]
    status: &'static str,
    #[schema(example = "Producer API is healthy")]
    message: &'static str,
    /// `up`, `unreachable`, `authentication` or `schema`; liveness doesn't ask
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "up", nullable = false)]
    database: Option<&'static str>,
}

/// Whether events can be accepted now
///
/// They can if the database answers, its schema is complete, and the service isn't stopping.
#[utoipa::path(get, path = "/api/v1/events/health", tag = "health", responses(
    (status = 200, description = "Healthy", body = HealthBody, example = examples::healthy),
    (status = 503, description = "Draining, or the database or its schema isn't ready", body = HealthBody, examples(
        ("unreachable" = (value = json!(examples::unreachable()))),
        ("draining" = (value = json!(examples::draining()))),
    )),
    HealthProblems,
))]
pub(crate) async fn health(State(app): State<AppState>) -> (StatusCode, Json<HealthBody>) {
    ready(&app).await
}

/// The same, for orchestrators
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Ready", body = HealthBody, example = examples::healthy),
    (status = 503, description = "Draining, or the database or its schema isn't ready", body = HealthBody, examples(
        ("unreachable" = (value = json!(examples::unreachable()))),
        ("draining" = (value = json!(examples::draining()))),
    )),
    HealthProblems,
))]
pub(crate) async fn readyz(State(app): State<AppState>) -> (StatusCode, Json<HealthBody>) {
    ready(&app).await
}

/// Whether the process answers; never asks the database
#[utoipa::path(get, path = "/livez", tag = "health", responses(
    (status = 200, description = "Alive", body = HealthBody, example = examples::alive),
    HealthProblems,
))]
pub(crate) async fn livez() -> Json<HealthBody> {
    Json(HealthBody { status: "healthy", message: HEALTHY, database: None })
}

async fn ready(app: &AppState) -> (StatusCode, Json<HealthBody>) {
    let health = request::measure(Part::Database, app.readiness.check()).await;
    let (code, status, message) = match health.problem() {
        None => (StatusCode::OK, "healthy", HEALTHY),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", problem),
    };
    let database = health.database.map(DatabaseState::as_str);
    (code, Json(HealthBody { status, message, database }))
}
