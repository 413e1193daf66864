//! What both binaries share around the core: command line, start and stop, and an accept loop with
//! limits. An [`Api`] is what a binary adds.

pub mod admin;
pub mod budget;
pub mod cli;
pub mod metrics;
mod profile;
pub mod request;
pub mod request_id;
pub mod serve;
pub mod settings;
mod traces;

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use producer_core::store::Store;
use producer_core::{Clock, Ingest};
use serve::Listener;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// One of the two ways in: what a binary adds to [`cli::main`].
pub trait Api: Sized + 'static {
    /// The binary's name.
    const NAME: &'static str;

    /// The API's name in metrics: `rest` or `grpc`.
    const API: &'static str;

    /// Settings that this binary alone has; the port at least.
    type Args: clap::Args + Clone + std::fmt::Debug + Send + Sync + 'static;

    /// The port to listen on.
    fn port(args: &Self::Args) -> u16;

    /// What a client may choose by ALPN, where TLS is served; the first is preferred.
    const PROTOCOLS: &'static [&'static [u8]];

    /// Serves until `app.shutdown` is cancelled and everything in flight is answered.
    fn serve(
        app: App<Self::Args>,
        listener: Listener,
    ) -> impl Future<Output = std::io::Result<()>> + Send;

    /// Asks a running service at `address` whether it is ready; the error says why not.
    fn healthcheck(
        address: SocketAddr,
        connection: Connection,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// A client's connection to a service, plain or with TLS.
pub type Connection = Either<TcpStream, TlsStream<TcpStream>>;

/// What an [`Api`] serves from.
#[derive(Clone)]
pub struct App<A> {
    /// The settings of both binaries.
    pub settings: Settings,
    /// The settings of this one.
    pub args: A,
    /// For reads and health; writes go through `ingest`.
    pub store: Arc<dyn Store>,
    /// For writes.
    pub ingest: Ingest,
    /// Time and ids.
    pub clock: Clock,
    /// `BODY_BUFFER_BYTES`: what requests have read and not queued yet.
    pub budget: budget::Budget,
    /// `MAX_CONCURRENT_REQUESTS`, one for each request under way.
    pub request_slots: budget::Budget,
    /// What is counted.
    pub metrics: metrics::ServiceMetrics,
    /// Cancelled when the service is told to stop: not ready at once, no new work.
    pub shutdown: CancellationToken,
}

/// What runs everything but the writers: as many threads as there are cores, less the writers' one.
/// A thread more on two cores, and half of the wake-ups find nothing to do.
///
/// # Errors
/// Those of the operating system: no thread can be had.
pub fn connections_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(cores.saturating_sub(1).max(1)).enable_all().build()
}

/// The writers have a thread of their own. Beside the connections, a database's answer would be
/// seen only when the worker looks at its sockets again, after dozens of requests: the database
/// would idle meanwhile.
///
/// # Errors
/// Those of the operating system: no thread can be had.
pub fn writers_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("writers").enable_all().build()
}
