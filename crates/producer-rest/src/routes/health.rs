//! Whether the service lives, and whether it is ready.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{AppState, docs};

/// How the service is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthBody {
    /// `healthy` or `unhealthy`
    #[schema(example = "healthy")]
    status: &'static str,
    #[schema(example = "Producer API is healthy")]
    message: &'static str,
    /// `up` or `down`; liveness doesn't ask
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "up")]
    database: Option<&'static str>,
}

/// Whether events can be taken now: the database answers and the service isn't draining.
#[utoipa::path(get, path = "/api/v1/events/health", tag = "health", responses(
    (status = 200, description = "Healthy", body = HealthBody),
    (status = 503, description = "Draining, or the database is out of reach", body = HealthBody),
    docs::HealthProblems,
))]
pub(crate) async fn health(State(app): State<AppState>) -> (StatusCode, Json<HealthBody>) {
    ready(&app).await
}

/// The same, for orchestrators.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Ready", body = HealthBody),
    (status = 503, description = "Draining, or the database is out of reach", body = HealthBody),
    docs::HealthProblems,
))]
pub(crate) async fn readyz(State(app): State<AppState>) -> (StatusCode, Json<HealthBody>) {
    ready(&app).await
}

/// Whether the process answers; never touches the database.
#[utoipa::path(get, path = "/livez", tag = "health", responses(
    (status = 200, description = "It lives", body = HealthBody),
    docs::HealthProblems,
))]
pub(crate) async fn livez() -> Json<HealthBody> {
    let message = "Producer API is healthy";
    Json(HealthBody { status: "healthy", message, database: None })
}

async fn ready(app: &AppState) -> (StatusCode, Json<HealthBody>) {
    let is_up = request::measure(Part::Database, app.store.ping()).await.is_ok();
    let draining = app.shutdown.is_cancelled() || app.ingest.is_draining();
    let (code, status, message) = match (is_up, draining) {
        (true, false) => (StatusCode::OK, "healthy", "Producer API is healthy"),
        (_, true) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "Producer API is draining"),
        (false, false) => {
            (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "the database can't be reached")
        }
    };
    let database = Some(if is_up { "up" } else { "down" });
    (code, Json(HealthBody { status, message, database }))
}
