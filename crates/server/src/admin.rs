//! The listener for operators: `ADMIN_PORT`, on the loopback address unless told otherwise.

use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::header;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::metrics::{ServiceMetrics, TEXT};
use crate::profile::{self, Profiler};
use crate::serve::{ServeLimits, serve};
use crate::settings::Settings;

/// Operators and their scrapers are few.
const CONNECTIONS: usize = 64;
/// How long the end waits for a scrape.
const GRACE: Duration = Duration::from_secs(1);

/// The routes.
pub fn router(metrics: ServiceMetrics) -> Router {
    let profile = get(profile::profile).with_state(Profiler::default());
    Router::new()
        .route("/metrics", get(text))
        .route("/metrics/db", get(database))
        .with_state(metrics)
        .route("/debug/pprof/profile", profile)
}

async fn text(
    State(metrics): State<ServiceMetrics>,
) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, TEXT)], metrics.text().await)
}

async fn database(State(metrics): State<ServiceMetrics>) -> Json<Value> {
    Json(metrics.database())
}

/// The listener, running.
pub(crate) struct Admin {
    task: JoinHandle<std::io::Result<()>>,
    stop: CancellationToken,
}

impl Admin {
    /// Serves until it is told to stop.
    pub(crate) fn start(
        listener: TcpListener,
        settings: &Settings,
        metrics: ServiceMetrics,
    ) -> Self {
        let limits = ServeLimits {
            max_connections: CONNECTIONS,
            header_timeout: settings.header_timeout,
            idle_timeout: settings.idle_timeout,
            shutdown_grace: GRACE,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router(metrics), limits, stop.clone()));
        Self { task, stop }
    }

    /// Ends it, once everything else is over: how a service drains is worth a look.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ended = self.task.await;
    }
}
