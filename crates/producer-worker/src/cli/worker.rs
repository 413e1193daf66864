//! `run`: a worker from its start to its end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use producer_core::feed::{Feed, FeedSettings};
use producer_core::store::Store;
use producer_core::{Clock, Ingest};
use producer_maintenance::Database;
use producer_server::admin::{self, Admin};
use producer_server::cli::{self, CommandLine, ExitError, Program, StopSignals};
use producer_server::metrics::Exposition;
use producer_server::readiness::Readiness;
use producer_server::settings::CommonSettings;
use producer_server::traces::Traces;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::args::Cli;
use super::{config_file, health};
use crate::config::Config;
use crate::metrics::WorkerMetrics;
use crate::run;
use crate::runner::lease::LeaseTimes;
use crate::runner::parts::Parts;

/// How long closing may take beyond `SHUTDOWN_GRACE`, once every connector has stopped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// For the head of a request to the admin port.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests of a scraper.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

pub(super) async fn run(
    mut line: CommandLine<Cli>,
    writers: &Handle,
) -> Result<ExitCode, ExitError> {
    let config = config_file::read(&line)?;
    line.start_log()?;
    let traces = Traces::start(&line.program.traces, Cli::NAME).map_err(ExitError::invalid)?;
    let ended = work(line.program, &line.database, config, writers).await;
    if let Some(traces) = traces {
        traces.stop().await;
    }
    ended
}

async fn work(
    program: Cli,
    database: &Database,
    config: Config,
    writers: &Handle,
) -> Result<ExitCode, ExitError> {
    let mut stop = StopSignals::new()?;
    let settings = program.common;
    let port = program.own.admin_port;
    let listener = cli::listen_for_operators(settings.admin_bind_address, port)?;
    let store = tokio::select! {
        store = cli::connect(&settings) => store?,
        () = stop.next() => return Ok(ExitCode::SUCCESS),
    };
    let worker = Worker::new(store, &settings, writers, listener);
    let prepared = tokio::select! {
        prepared = prepare(database, &worker, settings.migrate_on_start) => Some(prepared),
        () = stop.next() => None,
    };
    if !matches!(prepared, Some(Ok(()))) {
        worker.close().await;
        return prepared.unwrap_or(Ok(())).map(|()| ExitCode::SUCCESS);
    }
    let (sinks, sources) = (config.sinks.len(), config.sources.len());
    tracing::info!(worker = %worker.parts.worker, %database, sinks, sources, "running");
    let readiness = worker.readiness.clone();
    tokio::spawn(async move { readiness.watch().await });
    let mut running = tokio::spawn(run::run(config, worker.parts.clone(), worker.shutdown.clone()));
    let error = tokio::select! {
        () = stop.next() => None,
        ended = &mut running => Some(ExitError::new(format!("running ended: {ended:?}"))),
    };
    tokio::select! {
        () = drain(worker, running, settings.shutdown_grace) => {}
        () = stop.next() => std::process::exit(1),
    }
    error.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Migrates, where the settings want it. Until then the worker is not ready, and nothing runs.
async fn prepare(
    database: &Database,
    worker: &Worker,
    migrate_on_start: bool,
) -> Result<(), ExitError> {
    if !migrate_on_start {
        return Ok(());
    }
    cli::migrate(database, &worker.readiness, &Notify::new()).await
}

/// What runs beside the connectors.
struct Worker {
    parts: Parts,
    readiness: Readiness,
    admin: Admin,
    /// Cancelled when the connectors have to stop.
    shutdown: CancellationToken,
    /// Cancelled when they have stopped: until then they read changes.
    feed_shutdown: CancellationToken,
}

impl Worker {
    fn new(
        store: Arc<dyn Store>,
        settings: &CommonSettings,
        writers: &Handle,
        listener: TcpListener,
    ) -> Self {
        let (shutdown, feed_shutdown) = (CancellationToken::new(), CancellationToken::new());
        let ingest = Ingest::start(store.clone(), settings.limits(), writers);
        // as many readers as the file has sinks
        let feed_settings = FeedSettings { max_readers: usize::MAX };
        let commits = ingest.commits();
        let feed = Feed::new(store.clone(), feed_settings, commits, feed_shutdown.clone());
        let timeout = settings.request_timeout;
        let readiness = Readiness::new(&store, &ingest, shutdown.clone(), timeout);
        let metrics = WorkerMetrics::default();
        let own = metrics.clone();
        let exposition = Exposition::new(&store, &ingest, &feed, move || own.gather());
        let routes = admin::router(exposition).merge(health::router(readiness.clone()));
        let admin = Admin::start(listener, routes, HEADER_TIMEOUT, IDLE_TIMEOUT);
        let (clock, worker) = (Clock::system(), name().into());
        let max_body_bytes = settings.max_body_bytes;
        let lease_times = LeaseTimes::default();
        let parts =
            Parts { store, feed, ingest, clock, worker, metrics, lease_times, max_body_bytes };
        Self { parts, readiness, admin, shutdown, feed_shutdown }
    }

    /// Closes everything, once the connectors have stopped.
    async fn close(self) {
        self.shutdown.cancel();
        self.parts.ingest.drain();
        self.parts.ingest.close_when_empty().await;
        self.feed_shutdown.cancel();
        self.parts.store.close().await;
        // last, so that the metrics of a worker that stops can be read
        self.admin.stop().await;
    }
}

/// Lets every connector stop in order, for up to `grace`, and closes everything.
async fn drain(worker: Worker, running: JoinHandle<()>, grace: Duration) {
    tracing::info!("stopping");
    worker.shutdown.cancel();
    let drained = async {
        if !running.is_finished() {
            let _ended = running.await;
        }
        worker.close().await;
    };
    match timeout(grace + CLOSE_TIMEOUT, drained).await {
        Ok(()) => tracing::info!("stopped"),
        Err(_) => tracing::warn!("stopped before every connector had"),
    }
}

/// A name that no other worker has: a restart in a container has the same host and process id.
fn name() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host}:{}:{:08x}", std::process::id(), fastrand::u32(..))
}
