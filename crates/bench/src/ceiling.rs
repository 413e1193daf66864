//! The ceiling of the transports: the real routes over a store that keeps nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::{Args, Subcommand};
use futures_util::future::BoxFuture;
use producer_core::ingest::{ApplyError, ApplyMode, Verdict, WriteStore, Writer};
use producer_core::model::{AsOf, Entity, LogEntry, LogPoint, LogRange, LoggedEvent, NewVersion};
use producer_core::query::{ReadError, ReadStore};
use producer_core::store::Store;
use producer_core::{Clock, EntityKey, Event};
use producer_grpc::Grpc;
use producer_rest::Rest;
use producer_server::settings::Settings;
use producer_server::{Api, App};
use producer_telemetry::log::{self, Filter};
use uuid::Uuid;

use crate::Result;

/// One of the services.
#[derive(Debug, Subcommand)]
pub(crate) enum Ceiling {
    /// The routes of producer-rest
    Rest(ServiceArgs<producer_rest::RestArgs>),
    /// The rpcs of producer-grpc
    Grpc(ServiceArgs<producer_grpc::Args>),
}

/// The settings of a service.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs<A: Args> {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    args: A,
}

/// Serves until SIGTERM.
pub(crate) async fn serve(ceiling: Ceiling) -> Result<()> {
    match ceiling {
        Ceiling::Rest(args) => serve_api::<Rest>(args).await,
        Ceiling::Grpc(args) => serve_api::<Grpc>(args).await,
    }
}

async fn serve_api<A: Api>(args: ServiceArgs<A::Args>) -> Result<()> {
    log::init(Filter::new(args.settings.log_level, None)?)?;
    let address = SocketAddr::new(args.settings.bind_address, A::port(&args.args));
    let listener = producer_server::serve::bind(address)?;
    let store: Arc<dyn Store> = Arc::new(NullStore);
    let writers = producer_server::writers_runtime()?;
    let ServiceArgs { settings, args } = args;
    let app = App::new(A::API, settings, args, store, Clock::system(), writers.handle());
    let shutdown = app.shutdown.clone();
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stop = async {
        terminated.recv().await;
        shutdown.cancel();
        std::future::pending::<()>().await;
    };
    let served = tokio::select! {
        served = A::serve(app, listener.into()) => served,
        () = stop => Ok(()),
    };
    writers.shutdown_background();
    Ok(served?)
}

/// A store that keeps nothing.
struct NullStore;

impl WriteStore for NullStore {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(NullStore)
    }

    fn max_writers(&self) -> usize {
        2
    }
}

impl ReadStore for NullStore {
    fn entity<'a>(
        &'a self,
        _key: &'a EntityKey,
    ) -> BoxFuture<'a, std::result::Result<Option<Entity>, ReadError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn event(
        &self,
        _uuid: Uuid,
    ) -> BoxFuture<'_, std::result::Result<Option<LoggedEvent>, ReadError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn log<'a>(
        &'a self,
        _key: &'a EntityKey,
        _range: LogRange,
    ) -> BoxFuture<'a, std::result::Result<Vec<LogEntry>, ReadError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn log_point<'a>(
        &'a self,
        _key: &'a EntityKey,
        _as_of: AsOf,
        _within: u64,
    ) -> BoxFuture<'a, std::result::Result<Option<LogPoint>, ReadError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl Store for NullStore {
    fn ping(&self) -> BoxFuture<'_, std::result::Result<(), ReadError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Writer for NullStore {
    fn apply<'a>(
        &'a mut self,
        batch: &'a [Event],
        _mode: ApplyMode,
    ) -> BoxFuture<'a, std::result::Result<Vec<Verdict>, ApplyError>> {
        let verdict = |event: &Event| {
            Verdict::Applied(vec![NewVersion { version: 1, created: true }; event.updates().len()])
        };
        Box::pin(std::future::ready(Ok(batch.iter().map(verdict).collect())))
    }
}
