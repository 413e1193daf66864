//! A TCP proxy whose network fails on demand.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The conditions of the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetworkConditions {
    /// Added latency in each direction.
    pub latency: Duration,
    /// Connections stay open, but no data passes.
    pub stalled: bool,
}

impl NetworkConditions {
    /// Only latency.
    pub fn slow(latency: Duration) -> Self {
        Self { latency, stalled: false }
    }

    /// No data passes.
    pub fn stalled() -> Self {
        Self { latency: Duration::ZERO, stalled: true }
    }
}

/// A proxy in front of a server. It ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    upstream: watch::Sender<SocketAddr>,
    conditions: watch::Sender<NetworkConditions>,
    resets: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy for `upstream`.
    pub async fn new(upstream: SocketAddr) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), upstream).await
    }

    /// A proxy that listens on this address.
    pub async fn at(address: SocketAddr, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (upstream, to) = watch::channel(upstream);
        let (conditions, network) = watch::channel(NetworkConditions::default());
        let (resets, reset) = watch::channel(());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = *to.borrow();
                tokio::spawn(connection(client, to, network.clone(), reset.clone()));
            }
        });
        Self { address, upstream, conditions, resets, accepting }
    }

    /// A proxy for the server of a database, and the database's URL through it.
    pub async fn for_database(url: &str) -> (Self, String) {
        let proxy = Self::new(address_of(url).await).await;
        let mut through = reqwest::Url::parse(url).expect("a URL of PostgreSQL");
        through.set_host(Some("127.0.0.1")).expect("a host");
        through.set_port(Some(proxy.address.port())).expect("a port");
        (proxy, through.into())
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the server of new connections to that of another database.
    pub async fn set_database(&self, url: &str) {
        self.set_upstream(address_of(url).await);
    }

    /// Changes the server of new connections.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Changes the conditions.
    pub fn set(&self, conditions: NetworkConditions) {
        self.conditions.send_replace(conditions);
    }

    /// Resets every connection.
    pub fn reset(&self) {
        self.resets.send_replace(());
    }
}

/// The address of a database's server.
async fn address_of(url: &str) -> SocketAddr {
    let url = reqwest::Url::parse(url).expect("a URL of PostgreSQL");
    let (host, port) = (url.host_str().expect("a host"), url.port().unwrap_or(5432));
    let address = lookup_host((host, port)).await.expect("a known host").next();
    address.expect("an address")
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connection(
    mut client: TcpStream,
    upstream: SocketAddr,
    conditions: watch::Receiver<NetworkConditions>,
    mut reset: watch::Receiver<()>,
) {
    reset.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = pump(from_client, to_server, conditions.clone());
    let down = pump(from_server, to_client, conditions);
    let both = async { tokio::join!(up, down) };
    let is_reset = tokio::select! {
        _ = both => false,
        _ = reset.changed() => true,
    };
    if is_reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Copies the data; the end of one side ends the other.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut conditions: watch::Receiver<NetworkConditions>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let latency =
            conditions.wait_for(|conditions| !conditions.stalled).await.map(|now| now.latency);
        sleep(latency.unwrap_or_default()).await;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
