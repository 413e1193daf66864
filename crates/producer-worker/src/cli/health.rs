//! `/livez` and `/readyz` of the admin port, and `healthcheck`, which asks.

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use producer_server::cli::{ExitError, ask_readyz, reachable};
use producer_server::readiness::{DatabaseState, Readiness};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::args::Cli;

/// The routes.
pub(super) fn router(readiness: Readiness) -> Router {
    let livez = get(async || Json(json!({"status": "healthy"})));
    Router::new().route("/readyz", get(readyz)).with_state(readiness).route("/livez", livez)
}

/// Whether the worker can work: the database answers and has the schema.
async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, Json<Value>) {
    let health = readiness.check().await;
    let (code, status) = match health.problem() {
        None => (StatusCode::OK, "healthy"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
    };
    let mut body = json!({"status": status});
    if let Some(problem) = health.problem() {
        body["message"] = problem.into();
    }
    if let Some(database) = health.database.map(DatabaseState::as_str) {
        body["database"] = database.into();
    }
    (code, Json(body))
}

/// Asks the worker that runs with these settings whether it is ready.
pub(super) async fn healthcheck(cli: &Cli) -> Result<ExitCode, ExitError> {
    let address = SocketAddr::new(cli.common.admin_bind_address, cli.own.admin_port);
    let address = reachable(address);
    // a worker that hangs accepts connections and doesn't answer
    let limit = cli.common.request_timeout;
    let asked = async {
        let connection = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        ask_readyz(address, connection).await
    };
    let ready = timeout(limit, asked).await;
    let ready = ready.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
    ready.map_err(|reason| ExitError::new(format!("{address}: {reason}")))?;
    Ok(ExitCode::SUCCESS)
}
