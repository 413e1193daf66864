//! The accept loop: HTTP/1 and HTTP/2 over hyper, with TLS or without, with a limit on connections,
//! deadlines for the first byte, each head and the time between requests, and a graceful end.

mod head;
mod small_writes;
mod tls;

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use head::{HeadDeadline, IdleDeadline, TrackedService};
pub use head::{RequestBody, TrackedBody};
use http::{Request, Response};
use http_body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use small_writes::SmallWrites;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
pub use tls::Tls;
pub(crate) use tls::crypto_provider;
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf, WriteHalf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::settings::Settings;

/// Connections that the kernel holds until they are accepted (it caps this by `somaxconn`).
const BACKLOG: i32 = 4096;
/// The pause after an accept that failed for lack of a resource, most often a file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection made while draining may idle before its graceful shutdown.
const DRAINING_IDLE: Duration = Duration::from_secs(1);
/// The first bytes of an HTTP/2 connection (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Headers of one request at most. hyper reads HTTP/1 bodies through a buffer of this size too.
const HEADER_BYTES: u32 = 64 << 10;
/// Requests in flight on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 1000;
/// The interval of HTTP/2 keep-alive pings, and their timeout.
const HTTP2_KEEPALIVE: Duration = Duration::from_secs(20);
/// HTTP/2 streams that a client may reset before they are accepted, and streams that its protocol
/// errors may make us reset. More close the connection: each costs as much as a request.
const HTTP2_RESETS: usize = 32;
/// A peer that acknowledges none of our bytes, or no keep-alive probe, is disconnected after this time.
const DEAD_PEER: Duration = Duration::from_secs(60);

/// Limits of the accept loop.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// `MAX_CONNECTIONS`. One more is accepted and closed at once: an answer would need the very
    /// resources that the limit protects.
    pub max_connections: usize,
    /// `HEADER_TIMEOUT`, for the handshake and the first byte too.
    pub header_timeout: Duration,
    /// `IDLE_TIMEOUT`
    pub idle_timeout: Duration,
    /// `SHUTDOWN_GRACE`
    pub shutdown_grace: Duration,
}

impl From<&Settings> for ServeLimits {
    fn from(settings: &Settings) -> Self {
        Self {
            max_connections: settings.max_connections,
            header_timeout: settings.header_timeout,
            idle_timeout: settings.idle_timeout,
            shutdown_grace: settings.common.shutdown_grace,
        }
    }
}

/// A tower service over HTTP requests that never fails and is always ready, such as an axum `Router`: its
/// `poll_ready` is not called.
pub trait HttpService:
    Service<
        Request<RequestBody>,
        Response = Response<Self::ResponseBody>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type ResponseBody: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type ResponseBody = B;
}

/// Listens on `address`.
///
/// # Errors
/// Those of the operating system: the port is taken, the address isn't ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The socket to serve on, with or without TLS.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Tls>,
}

impl Listener {
    /// Serves TLS where `tls` is given.
    pub fn new(socket: TcpListener, tls: Option<Tls>) -> Self {
        Self { socket, tls }
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpListener {
        &self.socket
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::new(socket, None)
    }
}

/// Serves until `shutdown` is cancelled and what is in flight is answered, or `SHUTDOWN_GRACE` is
/// over.
///
/// While connections from before the shutdown have requests in flight, new ones are accepted, so that
/// their requests get the answer that the service is draining.
///
/// # Errors
/// None today; an accept that fails is logged and repeated.
pub async fn serve<S: HttpService>(
    listener: impl Into<Listener>,
    service: S,
    limits: ServeLimits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let Listener { socket, mut tls } = listener.into();
    let server = Server::new(service, &limits, tls.as_ref());
    let renewal = async {
        match &mut tls {
            Some(tls) => tls.renew().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = server.accept_all(&socket, &shutdown) => {}
        () = renewal => {}
    }
    if timeout(limits.shutdown_grace, server.drain(&socket, &shutdown)).await.is_err() {
        let connections = server.connections.len() + server.late_connections.len();
        tracing::warn!(connections, "SHUTDOWN_GRACE is over, closing the connections");
    }
    server.abort.cancel();
    Ok(())
}

struct Server<S> {
    service: S,
    protocols: Arc<Protocols>,
    free: Arc<Semaphore>,
    connections: TaskTracker,
    /// Connections made while draining. Tracked separately: clients that reconnect again and again
    /// must not delay the end.
    late_connections: TaskTracker,
    /// Cancelled when `SHUTDOWN_GRACE` is over.
    abort: CancellationToken,
}

/// How a connection is served.
struct Protocols {
    tls: Option<TlsAcceptor>,
    http: Builder<TokioExecutor>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl<S: HttpService> Server<S> {
    fn new(service: S, limits: &ServeLimits, tls: Option<&Tls>) -> Self {
        let protocols = Protocols {
            tls: tls.map(|tls| tls.acceptor.clone()),
            http: http_builder(),
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
        };
        Self {
            service,
            protocols: Arc::new(protocols),
            free: Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS))),
            connections: TaskTracker::new(),
            late_connections: TaskTracker::new(),
            abort: CancellationToken::new(),
        }
    }

    /// Waits for the connections from before the shutdown while it accepts others, then for those.
    async fn drain(&self, listener: &TcpListener, shutdown: &CancellationToken) {
        self.connections.close();
        tokio::select! {
            () = self.connections.wait() => {}
            () = self.accept_all(listener, shutdown) => {}
        }
        self.late_connections.close();
        self.late_connections.wait().await;
    }

    /// Accepts without end.
    async fn accept_all(&self, listener: &TcpListener, shutdown: &CancellationToken) {
        let mut was_full = false;
        loop {
            let Some((stream, client)) = accept(listener).await else { continue };
            let permit = Arc::clone(&self.free).try_acquire_owned().ok();
            if permit.is_none() && !was_full {
                tracing::warn!("MAX_CONNECTIONS reached, closing new connections at once");
            }
            was_full = permit.is_none();
            if let Some(permit) = permit {
                self.spawn(stream, client, permit, shutdown.clone());
            }
        }
    }

    fn spawn(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        permit: OwnedSemaphorePermit,
        shutdown: CancellationToken,
    ) {
        let service = TrackedService::new(self.service.clone(), client);
        let protocols = Arc::clone(&self.protocols);
        let abort = self.abort.clone();
        let tracker =
            if shutdown.is_cancelled() { &self.late_connections } else { &self.connections };
        tracker.spawn(async move {
            let connection = serve_connection(stream, service, &protocols, shutdown, abort);
            // caused by the peer or the network, so not worth a line by default
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(permit);
        });
    }
}

/// The next connection; `None` where it failed.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) if is_caused_by_peer(&error) => None,
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whether an error of `accept` is about the one connection only.
fn is_caused_by_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_connection<S: HttpService>(
    stream: TcpStream,
    service: TrackedService<S>,
    protocols: &Protocols,
    shutdown: CancellationToken,
    abort: CancellationToken,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let made_while_draining = shutdown.is_cancelled();
    let opened = open(stream, protocols.tls.as_ref());
    let header_timeout = protocols.header_timeout;
    // a silent connection must not delay the end
    let opened = if made_while_draining {
        Some(timeout(DRAINING_IDLE.min(header_timeout), opened).await)
    } else {
        shutdown.run_until_cancelled(timeout(header_timeout, opened)).await
    };
    let Some(opened) = opened else { return Ok(()) };
    let Opened { first, read, write } = opened??;
    let is_http1 = first != HTTP2_PREFACE;
    let read = io::Cursor::new(first).chain(read);
    let read = HeadDeadline::new(read, is_http1.then_some(header_timeout), service.requests());
    let mut idle = is_http1.then(|| IdleDeadline::new(protocols.idle_timeout, service.requests()));
    let stream = tokio::io::join(read, SmallWrites(write));
    let connection = protocols.http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let end = async {
        shutdown.cancelled().await;
        if made_while_draining {
            let _aborted = timeout(DRAINING_IDLE, abort.cancelled()).await;
        }
    };
    let mut end = std::pin::pin!(end);
    let mut is_registered = false;
    // the task's waker is registered once: to poll this at each of its turns would take locks for nothing
    let end = poll_fn(|cx| {
        if is_registered && !shutdown.is_cancelled() {
            return Poll::Pending;
        }
        is_registered = true;
        end.as_mut().poll(cx)
    });
    let served = poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => match &mut idle {
            Some(idle) => idle.poll(cx).map(|()| Err("nothing came for IDLE_TIMEOUT".into())),
            None => Poll::Pending,
        },
    });
    tokio::select! {
        biased;
        result = served => return result,
        () = end => connection.as_mut().graceful_shutdown(),
    }
    // not polled before: it is cancelled only after the shutdown has begun
    abort.run_until_cancelled(connection).await.unwrap_or(Ok(()))
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_PEER))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_PEER))?;
    Ok(())
}

/// A connection whose version of HTTP is known.
struct Opened {
    first: Bytes,
    read: Either<OwnedReadHalf, ReadHalf<TlsStream<TcpStream>>>,
    write: Either<OwnedWriteHalf, WriteHalf<TlsStream<TcpStream>>>,
}

/// Does the TLS handshake, where TLS is served, and reads the first bytes.
async fn open(stream: TcpStream, tls: Option<&TlsAcceptor>) -> io::Result<Opened> {
    set_options(&stream)?;
    let (mut read, write) = match tls {
        None => {
            let (read, write) = stream.into_split();
            (Either::Left(read), Either::Left(write))
        }
        Some(tls) => {
            let (read, write) = tokio::io::split(tls.accept(stream).await?);
            (Either::Right(read), Either::Right(write))
        }
    };
    let first = read_first_bytes(&mut read).await?;
    Ok(Opened { first, read, write })
}

/// Reads until the version is known. hyper-util's builder would do the same, without a deadline.
async fn read_first_bytes(read: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut first = Vec::with_capacity(HTTP2_PREFACE.len());
    while first.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&first) {
        let room = (HTTP2_PREFACE.len() - first.len()) as u64;
        if (&mut *read).take(room).read_buf(&mut first).await? == 0 {
            break;
        }
    }
    Ok(first.into())
}

fn http_builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // `HeadDeadline` and `IdleDeadline` bound both parts of that time
    builder.http1().header_read_timeout(None).max_buf_size(HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .keep_alive_interval(HTTP2_KEEPALIVE)
        .keep_alive_timeout(HTTP2_KEEPALIVE)
        .max_pending_accept_reset_streams(HTTP2_RESETS)
        .max_local_error_reset_streams(HTTP2_RESETS);
    builder
}
