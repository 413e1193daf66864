//! Connections to the receiver. Unless private addresses are allowed, every address is judged just before
//! it is connected to: what a name resolved to before does not count.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use super::address::is_public;

/// Finds the addresses of a name.
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// Its addresses, in the order in which they are to be tried.
    ///
    /// # Errors
    /// It has none, or they can't be found now.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Opens connections, with TLS for `https`, within a time: the pool opens some ahead, for which no request
/// waits any more.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Guarded>,
    timeout: Duration,
}

impl Connector {
    /// # Errors
    /// One sentence: TLS can't be used.
    pub(super) fn new(
        resolver: Arc<dyn Resolver>,
        allow_private: bool,
        trusted: &[CertificateDer<'static>],
        timeout: Duration,
    ) -> Result<Self, String> {
        let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        for certificate in trusted {
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http =
            HttpConnector::new_with_resolver(GuardedResolver { resolver, allow_private });
        http.enforce_http(false);
        http.set_nodelay(true);
        // several addresses share it, so that one that does not answer leaves time for the others
        http.set_connect_timeout(Some(timeout));
        let guarded = Guarded { http, allow_private };
        let builder =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Ok(Self { https: builder.wrap_connector(guarded), timeout })
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.https.call(uri));
        Box::pin(async {
            connecting.await.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
        })
    }
}

/// Judges an address in the URL itself, for which no resolver is asked.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    http: HttpConnector<GuardedResolver>,
    allow_private: bool,
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or("").trim_matches(['[', ']']);
        if let Ok(address) = host.parse()
            && !self.allow_private
            && !is_public(address)
        {
            let blocked = Blocked { host: host.to_owned(), address };
            return Box::pin(async { Err(blocked.into()) });
        }
        let connection = self.http.call(uri);
        Box::pin(async { Ok(connection.await?) })
    }
}

/// Drops the addresses of a name that are not public.
#[derive(Debug, Clone)]
pub(super) struct GuardedResolver {
    resolver: Arc<dyn Resolver>,
    allow_private: bool,
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { resolver, allow_private } = self.clone();
        Box::pin(async move {
            let found = resolver.resolve(name.as_str()).await?;
            let allowed = |address: &IpAddr| allow_private || is_public(*address);
            let reached: Vec<_> = found.iter().copied().filter(allowed).collect();
            match (reached.is_empty(), found.first()) {
                (true, Some(&address)) => {
                    Err(Blocked { host: name.as_str().to_owned(), address }.into())
                }
                (true, None) => Err("the name has no address".into()),
                (false, _) => {
                    // the connector sets the port
                    let reached: Vec<_> = reached.into_iter().map(|ip| (ip, 0).into()).collect();
                    Ok(reached.into_iter())
                }
            }
        })
    }
}

/// No address of the receiver may be reached.
#[derive(Debug, thiserror::Error)]
#[error("{host} is at {address}, which is no public address, and allow_private is not set")]
struct Blocked {
    host: String,
    address: IpAddr,
}

/// Why there is no connection, in one sentence.
pub(super) fn why_not_connected(host: &str, error: &(dyn std::error::Error + 'static)) -> String {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    if let Some(blocked) = causes.find_map(|error| error.downcast_ref::<Blocked>()) {
        return blocked.to_string();
    }
    format!("no connection to {host}: {}", innermost(error))
}

/// The last of the causes: those around it say only where it happened.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A name whose addresses change from one look to the next.
    #[derive(Debug)]
    struct Changing(Mutex<Vec<&'static [&'static str]>>);

    impl Resolver for Changing {
        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            let addresses = self.0.lock().expect("not poisoned").remove(0);
            let addresses = addresses.iter().map(|text| text.parse().expect("an address"));
            let addresses = addresses.collect();
            Box::pin(async { Ok(addresses) })
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_each_time() {
        let looks: Vec<&[&str]> = vec![
            &["10.0.0.1", "93.184.215.14", "::1", "2606:4700::1111"],
            &["127.0.0.1"],
            &["fd00::1", "169.254.169.254"],
            &[],
            &["93.184.215.14"],
        ];
        let resolver = Arc::new(Changing(Mutex::new(looks)));
        let mut guarded = GuardedResolver { resolver, allow_private: false };
        let mut look = async || {
            let found = guarded.call("hooks.example.com".parse().expect("a name")).await;
            found.map_err(|error| error.to_string()).map(Iterator::collect::<Vec<_>>)
        };
        let reached = |addresses: &[&str]| {
            let address = |text: &&str| (text.parse::<IpAddr>().expect("an address"), 0).into();
            Ok(addresses.iter().map(address).collect::<Vec<SocketAddr>>())
        };
        let blocked = |address: &str| {
            Err(format!(
                "hooks.example.com is at {address}, which is no public address, and \
                 allow_private is not set"
            ))
        };
        assert_eq!(look().await, reached(&["93.184.215.14", "2606:4700::1111"]));
        assert_eq!(look().await, blocked("127.0.0.1"));
        assert_eq!(look().await, blocked("fd00::1"));
        assert_eq!(look().await, Err("the name has no address".into()));
        assert_eq!(look().await, reached(&["93.184.215.14"]));
    }
}
