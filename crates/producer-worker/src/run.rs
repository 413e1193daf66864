//! Runs what `worker.toml` has: each sink and source by itself.

use std::sync::Arc;
use std::time::Duration;

use producer_core::search::SearchParts;
use producer_core::worker::Role;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::runner::parts::Parts;
use crate::runner::{sink, source};
use crate::{sinks, sources};

/// How often the gauges of connectors are read from the database.
const SHOW_EVERY: Duration = Duration::from_secs(5);

/// The pause after a connector ended by a defect.
const DEFECT_PAUSE: Duration = Duration::from_secs(5);

/// Runs all connectors until the shutdown, and returns when all have stopped in order.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) {
    let mut running = JoinSet::new();
    running.spawn(show(config.clone(), parts.clone(), shutdown.clone()));
    let searches: Arc<dyn SearchParts> = parts.store.clone();
    for config in config.sinks {
        match sinks::open(&config, &searches) {
            Ok(sink) => {
                let (config, parts, stop) = (Arc::new(config), parts.clone(), shutdown.clone());
                let name = config.name.clone();
                let run =
                    move || sink::run(config.clone(), sink.clone(), parts.clone(), stop.clone());
                running.spawn(keep_running(name, run, shutdown.clone()));
            }
            Err(error) => tracing::error!(sink = config.name, %error, "the sink can't be opened"),
        }
    }
    for config in config.sources {
        let (config, parts, stop) = (Arc::new(config), parts.clone(), shutdown.clone());
        let name = config.name.clone();
        let run = move || {
            let (opened, worker, clock) =
                (config.clone(), parts.worker.clone(), parts.clock.clone());
            let open = move || sources::open(&opened, &worker, &clock);
            source::run(config.clone(), open, parts.clone(), stop.clone())
        };
        running.spawn(keep_running(name, run, shutdown.clone()));
    }
    while running.join_next().await.is_some() {}
}

/// Runs a connector again where it ended by a panic: a defect in one must not end another, nor itself for good.
async fn keep_running<F>(name: String, run: impl Fn() -> F, shutdown: CancellationToken)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Err(error) = tokio::spawn(run()).await {
        tracing::error!(connector = name, %error, "a defect: the connector begins again");
        if shutdown.run_until_cancelled(sleep(DEFECT_PAUSE)).await.is_none() {
            return;
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
