//! A TCP proxy whose network fails on demand.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How the network is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// What each piece of data takes longer, either way.
    pub latency: Duration,
    /// Connections stay open, and nothing passes: half-open ones.
    pub silent: bool,
}

/// A proxy before a server. It ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    upstream: watch::Sender<SocketAddr>,
    weather: watch::Sender<Weather>,
    resets: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy that leads to `upstream`.
    pub async fn new(upstream: SocketAddr) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), upstream).await
    }

    /// A proxy at an address of one's choice.
    pub async fn at(address: SocketAddr, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (upstream, to) = watch::channel(upstream);
        let (weather, network) = watch::channel(Weather::default());
        let (resets, reset) = watch::channel(());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = *to.borrow();
                tokio::spawn(connection(client, to, network.clone(), reset.clone()));
            }
        });
        Self { address, upstream, weather, resets, accepting }
    }

    /// A proxy before the server of a database, and the database's URL through it.
    pub async fn before(url: &str) -> (Self, String) {
        let mut through = reqwest::Url::parse(url).expect("a URL of PostgreSQL");
        let (host, port) =
            (through.host_str().expect("a host").to_owned(), through.port().unwrap_or(5432));
        let address = lookup_host((host, port)).await.expect("a known host").next();
        let proxy = Self::new(address.expect("an address")).await;
        through.set_host(Some("127.0.0.1")).expect("a host");
        through.set_port(Some(proxy.address.port())).expect("a port");
        (proxy, through.into())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Changes the network.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Resets every connection.
    pub fn reset(&self) {
        self.resets.send_replace(());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connection(
    mut client: TcpStream,
    upstream: SocketAddr,
    weather: watch::Receiver<Weather>,
    mut reset: watch::Receiver<()>,
) {
    reset.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = pump(from_client, to_server, weather.clone());
    let down = pump(from_server, to_client, weather);
    let both = async { tokio::join!(up, down) };
    let is_reset = tokio::select! {
        _ = both => false,
        _ = reset.changed() => true,
    };
    if is_reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Carries what comes; an end of one side is an end for the other.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let latency = weather.wait_for(|weather| !weather.silent).await.map(|now| now.latency);
        sleep(latency.unwrap_or_default()).await;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
