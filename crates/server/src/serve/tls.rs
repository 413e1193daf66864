//! TLS of a listener: which certificate is shown, and how a renewed one takes its place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use std::{fmt, fs};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// TLS 1.2 and 1.3 with the certificate of two files.
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    files: Files,
    shown: Arc<Shown>,
    /// What the files held when they were last looked at, or why they couldn't be read.
    seen: Result<Contents, String>,
}

impl Tls {
    /// Reads the certificate with its chain and the key. A client chooses among `protocols` by ALPN;
    /// one that names none is taken as well.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed.
    pub fn load(
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        protocols: &[&[u8]],
    ) -> Result<Self, String> {
        let files = Files { cert: cert.into(), key: key.into() };
        let seen = files.read()?;
        let shown = Arc::new(Shown(RwLock::new(files.certificate(&seen)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&shown) as _;
        let mut config = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self { acceptor: Arc::new(config).into(), files, shown, seen: Ok(seen) })
    }

    /// Looks at the files now and then, for ever, and shows what they hold to new connections. What
    /// can't be used is logged, and the certificate before it stays.
    pub(super) async fn renew(&mut self) {
        loop {
            sleep(RENEW_EVERY).await;
            let files = self.files.clone();
            let Ok(seen) = spawn_blocking(move || files.read()).await else { continue };
            // not their times: a link may lead elsewhere, a copy may keep its time
            if seen == self.seen {
                continue;
            }
            match seen.as_ref().map_err(Clone::clone).and_then(|seen| self.files.certificate(seen))
            {
                Ok(certificate) => {
                    self.shown.set(certificate);
                    tracing::info!(file = %self.files.cert.display(), "a renewed certificate is shown");
                }
                Err(reason) => tracing::warn!(reason, "the certificate before it stays"),
            }
            self.seen = seen;
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // not what the files hold: one is the key
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The only crypto provider in the dependency tree.
pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificate that the next connection is shown.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn set(&self, certificate: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Where certificate and key are.
#[derive(Debug, Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// What the two files hold.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(&self) -> Result<Contents, String> {
        let read = |file: &Path| fs::read(file).map_err(|error| error.to_string());
        Ok(Contents {
            cert: read(&self.cert).map_err(|why| self.cert_unusable(&why))?,
            key: read(&self.key).map_err(|why| self.key_unusable(&why))?,
        })
    }

    fn certificate(&self, contents: &Contents) -> Result<Arc<CertifiedKey>, String> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&contents.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| self.cert_unusable(&error.to_string()))?;
        if chain.is_empty() {
            return Err(self.cert_unusable("it holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|_| self.key_unusable("it holds no private key"))?;
        let key = crypto_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| self.key_unusable(&error.to_string()))?;
        let certificate = CertifiedKey::new(chain, key);
        match certificate.keys_match() {
            Ok(()) => Ok(Arc::new(certificate)),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(self.key_unusable("it doesn't belong to TLS_CERT_FILE's certificate"))
            }
            Err(error) => Err(self.cert_unusable(&error.to_string())),
        }
    }

    fn cert_unusable(&self, why: &str) -> String {
        format!(
            "TLS_CERT_FILE: {:?} is unusable: {why}; \
             allowed is a PEM file with the certificate and then its chain",
            self.cert
        )
    }

    fn key_unusable(&self, why: &str) -> String {
        format!(
            "TLS_KEY_FILE: {:?} is unusable: {why}; \
             allowed is a PEM file with the certificate's private key, without a passphrase",
            self.key
        )
    }
}
