//! `serve`: from the start to the end of a service.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use producer_core::store::Store;
use producer_core::{Clock, Ingest, store};
use producer_maintenance::{Database, MaintenanceError, migrate};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::ExitError;
use super::open_files;
use crate::admin::Admin;
use crate::budget::Budget;
use crate::metrics::ServiceMetrics;
use crate::serve::{Listener, Tls};
use crate::settings::Settings;
use crate::{Api, App};

/// How often a database that was out of reach at the start is tried.
const MIGRATE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What `SHUTDOWN_GRACE` doesn't cover: closing, once everybody is answered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn serve<A: Api>(
    settings: Settings,
    args: A::Args,
    database: Database,
    writers: &Handle,
) -> Result<ExitCode, ExitError> {
    let mut stop = StopSignals::new()?;
    let tls = load_tls::<A>(&settings)?;
    open_files::raise_limit(&settings);
    let listener = listen::<A>(&settings, &args)?;
    let admin = listen_for_operators(&settings)?;
    let started = tokio::select! {
        started = start(&settings, &database) => started?,
        () = stop.next() => return Ok(ExitCode::SUCCESS),
    };
    let app = app::<A>(settings, args, &started, writers);
    let admin = admin.map(|listener| Admin::start(listener, &app.settings, app.metrics.clone()));
    let address = listener.local_addr().map_err(ExitError::new)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!(api = A::NAME, scheme, %address, %database, "serving");
    let (shutdown, grace) = (app.shutdown.clone(), app.settings.shutdown_grace);
    let mut server = tokio::spawn(A::serve(app.clone(), Listener::new(listener, tls)));

    let early = tokio::select! {
        () = stop.next() => None,
        ended = &mut server => Some(ExitError::new(format!("serving ended: {ended:?}"))),
        error = finish_start(&database, &started) => Some(error),
    };
    tracing::info!("draining");
    shutdown.cancel();
    app.ingest.drain();
    let drained = async {
        if !server.is_finished() {
            let _ended = server.await;
        }
        app.ingest.finished().await;
        app.store.close().await;
        if let Some(admin) = admin {
            admin.stop().await;
        }
    };
    tokio::select! {
        drained = tokio::time::timeout(grace + CLOSE_TIMEOUT, drained) => match drained {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => tracing::warn!("stopped before everything was answered"),
        },
        () = stop.next() => std::process::exit(1),
    }
    early.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn load_tls<A: Api>(settings: &Settings) -> Result<Option<Tls>, ExitError> {
    let files = settings.tls_cert_file.as_ref().zip(settings.tls_key_file.as_ref());
    let tls = files.map(|(cert, key)| Tls::load(cert, key, A::PROTOCOLS)).transpose();
    tls.map_err(ExitError::invalid)
}

fn listen<A: Api>(settings: &Settings, args: &A::Args) -> Result<TcpListener, ExitError> {
    let address = SocketAddr::new(settings.bind_address, A::port(args));
    crate::serve::bind(address).map_err(|error| taken(address, &error))
}

fn listen_for_operators(settings: &Settings) -> Result<Option<TcpListener>, ExitError> {
    let Some(port) = settings.admin_port else { return Ok(None) };
    let address = SocketAddr::new(settings.admin_bind_address, port);
    let listener = crate::serve::bind(address).map_err(|error| taken(address, &error))?;
    let address = listener.local_addr().map_err(ExitError::new)?;
    tracing::info!(%address, "metrics are served apart");
    Ok(Some(listener))
}

fn taken(address: SocketAddr, error: &std::io::Error) -> ExitError {
    ExitError::new(format!("{address} can't be listened on: {error}"))
}

/// What a start leads to.
struct Started {
    store: Arc<dyn Store>,
    /// The database was out of reach, so that its schema is still to be looked after.
    migrate_later: bool,
}

async fn start(settings: &Settings, database: &Database) -> Result<Started, ExitError> {
    let migrate_later = settings.migrate_on_start
        && match prepare(database).await {
            Ok(()) => false,
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, "the database can't be used yet: answering 503");
                true
            }
            Err(error) => return Err(ExitError::new(error)),
        };
    let store = store::connect(&settings.database()).await.map_err(ExitError::new)?;
    Ok(Started { store, migrate_later })
}

async fn prepare(database: &Database) -> Result<(), MaintenanceError> {
    migrate::up(database).await?;
    if database.has_older_table().await? {
        tracing::warn!(
            "the older services' table car_entities is here; `migrate adopt` takes it over"
        );
    }
    Ok(())
}

/// Migrates once the database is back; returns only when that can never be.
async fn finish_start(database: &Database, started: &Started) -> ExitError {
    let mut pending = started.migrate_later;
    while pending {
        tokio::time::sleep(MIGRATE_AGAIN_AFTER).await;
        match prepare(database).await {
            Ok(()) => pending = false,
            Err(error) if error.may_pass() => {}
            Err(error) => return ExitError::new(error),
        }
    }
    std::future::pending().await
}

fn app<A: Api>(
    settings: Settings,
    args: A::Args,
    started: &Started,
    writers: &Handle,
) -> App<A::Args> {
    let ingest = Ingest::start(started.store.clone(), settings.limits(), writers);
    App {
        metrics: ServiceMetrics::new(A::API, &started.store, &ingest),
        ingest,
        store: Arc::clone(&started.store),
        clock: Clock::system(),
        budget: Budget::new(settings.body_buffer_bytes),
        in_hand: Budget::new(settings.max_concurrent_requests),
        shutdown: CancellationToken::new(),
        settings,
        args,
    }
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> Result<Self, ExitError> {
        let listen = |kind| signal(kind).map_err(ExitError::new);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
