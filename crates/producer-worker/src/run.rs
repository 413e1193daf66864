//! Runs what `worker.toml` has: each sink and source by itself.

use std::sync::Arc;
use std::time::Duration;

use producer_core::feed::Feed;
use producer_core::store::Store;
use producer_core::worker::Role;
use producer_core::{Clock, Ingest};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::metrics::WorkerMetrics;
use crate::runner::lease::LeaseTimes;
use crate::runner::sink::{self, SinkParts};
use crate::sinks;

/// How often the gauges of connectors are read from the database.
const SHOW_EVERY: Duration = Duration::from_secs(5);

/// What a worker works with. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// Entities, positions, leases, dead letters.
    pub store: Arc<dyn Store>,
    /// What sinks deliver. It must go on for as long as they run.
    pub feed: Feed,
    /// What sources bring goes there.
    pub ingest: Ingest,
    /// Time.
    pub clock: Clock,
    /// The worker's name: no two workers have the same.
    pub worker: Arc<str>,
    /// What is counted.
    pub metrics: WorkerMetrics,
}

/// Runs all connectors until the shutdown, and returns when all have stopped in order.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) {
    let mut running = JoinSet::new();
    running.spawn(show(config.clone(), parts.clone(), shutdown.clone()));
    for config in config.sinks {
        match sinks::open(&config) {
            Ok(sink) => {
                let parts = SinkParts {
                    store: parts.store.clone(),
                    feed: parts.feed.clone(),
                    clock: parts.clock.clone(),
                    worker: parts.worker.clone(),
                    metrics: parts.metrics.clone(),
                    lease_times: LeaseTimes::default(),
                };
                running.spawn(sink::run(Arc::new(config), sink, parts, shutdown.clone()));
            }
            Err(error) => tracing::error!(sink = config.name, %error, "the sink can't be opened"),
        }
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a connector ended by a defect");
        }
    }
}

/// Keeps the gauges of the connectors in the file up to date.
async fn show(config: Config, parts: Parts, shutdown: CancellationToken) {
    let sinks = config.sinks.iter().map(|sink| (Role::Sink, sink.name.as_str()));
    let sources = config.sources.iter().map(|source| (Role::Source, source.name.as_str()));
    let named: Vec<_> = sinks.chain(sources).collect();
    let mut ticks = interval(SHOW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        for role in [Role::Sink, Role::Source] {
            let Ok(found) = parts.store.connectors(role, None).await else { continue };
            let is_named = |name: &str| named.contains(&(role, name));
            found
                .iter()
                .filter(|found| is_named(&found.name))
                .for_each(|found| parts.metrics.show(found));
        }
    }
}
