//! What the process counts, for Prometheus; here only where `ADMIN_PORT` isn't set.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use producer_server::metrics::TEXT;

use crate::problem::ProblemResponse;
use crate::{AppState, docs};

/// Counters, gauges and histograms of this process as Prometheus' text. Served here unless
/// `ADMIN_PORT` is set; then there.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "metrics", responses(
    (status = 200, description = "Prometheus' text format 0.0.4", body = String, content_type = "text/plain"),
    docs::HealthProblems,
))]
pub(crate) async fn get(State(app): State<AppState>) -> Result<Response, ProblemResponse> {
    let text = app.metrics.text().await?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}
