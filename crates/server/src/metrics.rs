//! What a process counts, gathered from its parts and written in Prometheus' text format.

mod process;
mod requests;

use std::sync::{Arc, Mutex, PoisonError};

use process::ProcessMetrics;
use producer_core::feed::Feed;
use producer_core::store::{PoolUse, Store};
use producer_core::{Ingest, Problem, ProblemKind};
use producer_telemetry::metrics::{MetricFamily, Metrics};
use prometheus::{IntGauge, TextEncoder};
pub use requests::{InFlight, Requests};
use serde_json::{Value, json};

/// The media type of [`Exposition::text`].
pub const TEXT: &str = prometheus::TEXT_FORMAT;

/// The metrics of a service. Cheap to clone.
#[derive(Clone)]
pub struct ServiceMetrics {
    requests: Requests,
    exposition: Exposition,
}

/// All metrics of one process, in Prometheus' text format. Cheap to clone.
#[derive(Clone)]
pub struct Exposition(Arc<Parts>);

struct Parts {
    ingest: Ingest,
    feed: Feed,
    store: Arc<dyn Store>,
    own: Box<dyn Fn() -> Vec<MetricFamily> + Send + Sync>,
    /// Locked while gathering: two at once would count the same CPU time twice.
    gathered: Mutex<Gathered>,
}

/// What is looked up only when the metrics are asked for.
struct Gathered {
    group: Metrics,
    process: ProcessMetrics,
    pool: PoolMetrics,
}

impl ServiceMetrics {
    /// For a process that serves `api` (`rest`, `grpc`).
    pub fn new(api: &'static str, store: &Arc<dyn Store>, ingest: &Ingest, feed: &Feed) -> Self {
        let group = Metrics::default();
        let requests = Requests::new(&group, api);
        let exposition = Exposition::new(store, ingest, feed, move || group.gather());
        Self { requests, exposition }
    }

    /// Counts requests.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// All of the process.
    pub fn exposition(&self) -> &Exposition {
        &self.exposition
    }
}

impl Exposition {
    /// The metrics of these parts, of the process, and what `own` gathers.
    pub fn new(
        store: &Arc<dyn Store>,
        ingest: &Ingest,
        feed: &Feed,
        own: impl Fn() -> Vec<MetricFamily> + Send + Sync + 'static,
    ) -> Self {
        let group = Metrics::default();
        let gathered = Gathered {
            process: ProcessMetrics::new(&group),
            pool: PoolMetrics::new(&group, store.pool().as_ref()),
            group,
        };
        Self(Arc::new(Parts {
            ingest: ingest.clone(),
            feed: feed.clone(),
            store: Arc::clone(store),
            own: Box::new(own),
            gathered: Mutex::new(gathered),
        }))
    }

    /// All metrics in Prometheus' text format. Reads files of `/proc`, off the runtime's threads.
    ///
    /// # Errors
    /// None but a defect, which is logged.
    pub async fn text(&self) -> Result<String, Problem> {
        let parts = Arc::clone(&self.0);
        let text = tokio::task::spawn_blocking(move || {
            let mut families = parts.ingest.metrics();
            families.extend(parts.feed.metrics());
            families.extend((parts.own)());
            families.extend(parts.gather());
            TextEncoder::new().encode_to_string(&families)
        });
        let error = match text.await {
            Ok(Ok(text)) => return Ok(text),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(error, "metrics can't be gathered");
        Err(Problem::new(ProblemKind::Internal, "metrics can't be gathered; the log says why"))
    }

    /// The use of the database's connection pool, as JSON.
    pub fn database(&self) -> Value {
        let store = &self.0.store;
        let pool = store.pool().map(|pool| {
            json!({
                "max": pool.max,
                "open": pool.open,
                "idle": pool.idle,
                "inUse": pool.in_use(),
                "waits": {
                    "count": pool.waits.get_sample_count(),
                    "seconds": pool.waits.get_sample_sum(),
                },
            })
        });
        json!({"pool": pool, "writers": store.max_writers()})
    }
}

impl Parts {
    fn gather(&self) -> Vec<MetricFamily> {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.process.refresh();
        if let Some(pool) = self.store.pool() {
            gathered.pool.set(&pool);
        }
        gathered.group.gather()
    }
}

struct PoolMetrics {
    max: IntGauge,
    open: IntGauge,
    idle: IntGauge,
    in_use: IntGauge,
}

impl PoolMetrics {
    fn new(group: &Metrics, pool: Option<&PoolUse>) -> Self {
        if let Some(pool) = pool {
            group.register(pool.waits.clone());
        }
        let gauge = |name, help| group.gauge(name, help);
        Self {
            max: gauge(
                "producer_database_pool_max_connections",
                "Connections that the pool for reads may open",
            ),
            open: gauge("producer_database_pool_connections", "Open connections of the pool"),
            idle: gauge(
                "producer_database_pool_idle_connections",
                "Open connections that are idle",
            ),
            in_use: gauge("producer_database_pool_used_connections", "Open connections in use"),
        }
    }

    fn set(&self, pool: &PoolUse) {
        self.max.set(pool.max.into());
        self.open.set(pool.open.into());
        self.idle.set(pool.idle.into());
        self.in_use.set(pool.in_use().into());
    }
}
