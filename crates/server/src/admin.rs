//! The listener for operators: `ADMIN_PORT`, by default on the loopback address.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Exposition, TEXT};
use crate::problem;
use crate::profile::{self, Profiler};
use crate::serve::{ServeLimits, serve};

/// Connections at most: operators and their scrapers are few.
const CONNECTIONS: usize = 64;
/// How long a stop waits for a scrape.
const GRACE: Duration = Duration::from_secs(1);

/// The routes.
pub fn router(metrics: Exposition) -> Router {
    let profile = get(profile::profile).with_state(Profiler::default());
    Router::new()
        .route("/metrics", get(text))
        .route("/metrics/db", get(database))
        .with_state(metrics)
        .route("/debug/pprof/profile", profile)
}

async fn text(State(metrics): State<Exposition>) -> Response {
    match metrics.text().await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(problem) => problem::response(&problem),
    }
}

async fn database(State(metrics): State<Exposition>) -> Json<Value> {
    Json(metrics.database())
}

/// The listener, running.
#[derive(Debug)]
pub struct Admin {
    task: JoinHandle<std::io::Result<()>>,
    stop: CancellationToken,
}

impl Admin {
    /// Serves these routes until [`Admin::stop`].
    pub fn start(
        listener: TcpListener,
        routes: Router,
        header_timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        let limits = ServeLimits {
            max_connections: CONNECTIONS,
            header_timeout,
            idle_timeout,
            shutdown_grace: GRACE,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, routes, limits, stop.clone()));
        Self { task, stop }
    }

    /// Stops it. Called last, so that the metrics of a draining service can be read.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ended = self.task.await;
    }
}
