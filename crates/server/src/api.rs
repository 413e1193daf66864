//! What a binary adds to the command line, the start and the accept loop.

use std::future::Future;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::app::App;
use crate::serve::Listener;

/// One of the two APIs: what a binary adds to [`cli::main`](crate::cli::main).
pub trait Api: Sized + 'static {
    /// The binary's name.
    const NAME: &'static str;

    /// The API's name in metrics: `rest` or `grpc`.
    const API: &'static str;

    /// Settings that this binary alone has; the port at least.
    type Args: clap::Args + Clone + std::fmt::Debug + Send + Sync + 'static;

    /// The name of the setting for the port.
    const PORT_SETTING: &'static str;

    /// The path of the API's documentation, where it serves one.
    const DOCS: Option<&'static str> = None;

    /// The port to listen on.
    fn port(args: &Self::Args) -> u16;

    /// The protocols that a client may choose by ALPN, where TLS is served; the first is preferred.
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
