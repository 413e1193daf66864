//! `serve`: a service from its start to its end.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use producer_core::store::{ConnectError, Store};
use producer_core::types::BuilderSettings;
use producer_core::{Clock, store};
use producer_maintenance::Database;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::address::reachable;
use super::error::ExitError;
use super::open_files;
use super::start::{self, cannot_listen, listen_for_operators};
use super::stop::StopSignals;
use crate::admin::{self, Admin};
use crate::serve::{Listener, Tls};
use crate::settings::Settings;
use crate::{Api, App};

/// How long the migration may take before the service answers without waiting for its end. Most take
/// moments, so that nobody sees a 503.
const HEAD_START: Duration = Duration::from_secs(1);

/// How long closing may take beyond `SHUTDOWN_GRACE`, once every request is answered.
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
    let address = listener.local_addr().map_err(ExitError::new)?;
    let admin_ip = settings.common.admin_bind_address;
    let admin = settings.admin_port.map(|port| listen_for_operators(admin_ip, port)).transpose()?;
    let (store, replica) = tokio::select! {
        stores = connect(&settings) => stores?,
        () = stop.next() => return Ok(ExitCode::SUCCESS),
    };
    let search = settings.search_target().map_err(ExitError::invalid)?;
    let mut app = App::new(A::API, settings, args, store, Clock::system(), writers);
    if let Some(replica) = replica {
        app = app.reading_from(replica);
    }
    if let Some(target) = search {
        app = app.searching_in(target);
    }

    // most migrations take moments: then nobody sees a 503
    let blocked = Notify::new();
    let mut migration = Box::pin(migrate(&database, &app, &blocked));
    let head_start = tokio::select! {
        result = &mut migration => result.map(|()| true),
        () = blocked.notified() => Ok(false),
        () = sleep(HEAD_START) => Ok(false),
        () = stop.next() => {
            close(&app).await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let is_migrated = match head_start {
        Ok(is_migrated) => is_migrated,
        Err(error) => {
            close(&app).await;
            return Err(error);
        }
    };
    // owns the migration, so that a stop ends it at once
    let migration_error = async move {
        if !is_migrated && let Err(error) = migration.await {
            return error;
        }
        std::future::pending().await
    };

    let admin_port = admin.map(|listener| {
        let routes = admin::router(app.metrics.exposition().clone());
        Admin::start(listener, routes, app.settings.header_timeout, app.settings.idle_timeout)
    });
    let scheme = if tls.is_some() { "https" } else { "http" };
    let docs = A::DOCS.map(|path| format!("{scheme}://{}{path}", reachable(address)));
    let docs = docs.as_deref();
    tracing::info!(api = A::NAME, scheme, %address, %database, docs, "serving");
    let readiness = app.readiness.clone();
    tokio::spawn(async move { readiness.watch().await });
    let builder = app.types.builder(BuilderSettings::default(), app.shutdown.clone());
    tokio::spawn(builder.run());
    let mut server = tokio::spawn(A::serve(app.clone(), Listener::new(listener, tls)));
    let error = tokio::select! {
        () = stop.next() => None,
        ended = &mut server => Some(ExitError::new(format!("serving ended: {ended:?}"))),
        error = migration_error => Some(error),
    };
    tokio::select! {
        () = drain(&app, server, admin_port) => {}
        () = stop.next() => std::process::exit(1),
    }
    error.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Answers what is in flight, for up to `SHUTDOWN_GRACE`, and closes everything.
async fn drain<A: Send + Sync>(
    app: &App<A>,
    server: JoinHandle<std::io::Result<()>>,
    admin: Option<Admin>,
) {
    tracing::info!("draining");
    app.shutdown.cancel();
    app.ingest.drain();
    let drained = async {
        if !server.is_finished() {
            let _ended = server.await;
        }
        close(app).await;
        if let Some(admin) = admin {
            admin.stop().await;
        }
    };
    match timeout(app.settings.common.shutdown_grace + CLOSE_TIMEOUT, drained).await {
        Ok(()) => tracing::info!("stopped"),
        Err(_) => tracing::warn!("stopped before everything was answered"),
    }
}

async fn close<A>(app: &App<A>) {
    app.ingest.drain();
    app.ingest.close_when_empty().await;
    if let Some(replica) = &app.replica {
        replica.close().await;
    }
    app.store.close().await;
}

fn load_tls<A: Api>(settings: &Settings) -> Result<Option<Tls>, ExitError> {
    let files = settings.tls_cert_file.as_ref().zip(settings.tls_key_file.as_ref());
    let tls = files.map(|(cert, key)| Tls::load(cert, key, A::PROTOCOLS)).transpose();
    tls.map_err(ExitError::invalid)
}

fn listen<A: Api>(settings: &Settings, args: &A::Args) -> Result<TcpListener, ExitError> {
    let address = SocketAddr::new(settings.bind_address, A::port(args));
    crate::serve::bind(address)
        .map_err(|error| cannot_listen((A::PORT_SETTING, "BIND_ADDRESS"), address, &error))
}

/// The database, and the replica where there is one.
async fn connect(
    settings: &Settings,
) -> Result<(Arc<dyn Store>, Option<Arc<dyn Store>>), ExitError> {
    let database = settings.common.database();
    let replica = match &settings.read_database_url {
        Some(url) => {
            let replica = store::connect_replica(url.expose(), &database).await;
            Some(replica.map_err(|ConnectError(line)| ExitError::invalid(line))?)
        }
        None => None,
    };
    let store = start::connect(&settings.common).await?;
    Ok((store, replica))
}

/// Migrates, where the settings want it.
async fn migrate<A>(database: &Database, app: &App<A>, blocked: &Notify) -> Result<(), ExitError> {
    if !app.settings.common.migrate_on_start {
        return Ok(());
    }
    start::migrate(database, &app.readiness, blocked).await
}
