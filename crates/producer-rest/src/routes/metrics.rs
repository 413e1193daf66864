//! Metrics for Prometheus, unless `ADMIN_PORT` serves them.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use producer_server::metrics::TEXT;

use crate::openapi::examples;
use crate::openapi::problems::MetricsProblems;
use crate::problem::ProblemResponse;
use crate::state::AppState;

/// Returns the metrics of this process
///
/// In Prometheus' text format. If `ADMIN_PORT` is set, they are served there instead.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "metrics", responses(
    (status = 200, description = "Prometheus' text format 0.0.4", body = String, content_type = "text/plain", example = examples::metrics),
    MetricsProblems,
))]
pub(crate) async fn get(State(app): State<AppState>) -> Result<Response, ProblemResponse> {
    let text = app.metrics.exposition().text().await?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}
