//! TLS of a listener: the certificate that is shown, and its renewal.

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

/// How often the files are read.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// TLS 1.2 and 1.3 with the certificate of two files.
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    files: Files,
    current: Arc<CurrentCertificate>,
    /// The contents of the files when they were last read, or why they couldn't be read.
    seen: Result<Contents, String>,
}

impl Tls {
    /// Reads the certificate with its chain and the key. A client chooses among `protocols` by ALPN;
    /// one without ALPN is accepted too.
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
        let current = Arc::new(CurrentCertificate(RwLock::new(files.certificate(&seen)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&current) as _;
        let mut config = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self { acceptor: Arc::new(config).into(), files, current, seen: Ok(seen) })
    }

    /// Reads the files periodically, without end, and shows a renewed certificate to new connections. An
    /// invalid one is logged, and the previous one stays.
    pub(super) async fn renew(&mut self) {
        loop {
            sleep(RENEW_EVERY).await;
            let files = self.files.clone();
            let Ok(seen) = spawn_blocking(move || files.read()).await else { continue };
            // compared by content, not by time: a link may point elsewhere, a copy may keep its time
            if seen == self.seen {
                continue;
            }
            match seen.as_ref().map_err(Clone::clone).and_then(|seen| self.files.certificate(seen))
            {
                Ok(certificate) => {
                    self.current.set(certificate);
                    tracing::info!(file = %self.files.cert.display(), "certificate renewed");
                }
                Err(reason) => tracing::warn!(reason, "the previous certificate stays"),
            }
            self.seen = seen;
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // not the contents: one of them is the key
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The only crypto provider in the dependency tree.
pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificate for new connections.
#[derive(Debug)]
struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl CurrentCertificate {
    fn set(&self, certificate: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The paths of certificate and key.
#[derive(Debug, Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// The contents of the two files.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(&self) -> Result<Contents, String> {
        let read = |file: &Path| fs::read(file).map_err(|error| error.to_string());
        Ok(Contents {
            cert: read(&self.cert).map_err(|why| self.invalid_cert(&why))?,
            key: read(&self.key).map_err(|why| self.invalid_key(&why))?,
        })
    }

    fn certificate(&self, contents: &Contents) -> Result<Arc<CertifiedKey>, String> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&contents.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| self.invalid_cert(&error.to_string()))?;
        if chain.is_empty() {
            return Err(self.invalid_cert("it holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|_| self.invalid_key("it holds no private key"))?;
        let key = crypto_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| self.invalid_key(&error.to_string()))?;
        let certificate = CertifiedKey::new(chain, key);
        match certificate.keys_match() {
            Ok(()) => Ok(Arc::new(certificate)),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(self.invalid_key("it doesn't belong to TLS_CERT_FILE's certificate"))
            }
            Err(error) => Err(self.invalid_cert(&error.to_string())),
        }
    }

    fn invalid_cert(&self, why: &str) -> String {
        format!(
            "TLS_CERT_FILE: {:?} is invalid: {why}; \
             allowed is a PEM file with the certificate and then its chain",
            self.cert
        )
    }

    fn invalid_key(&self, why: &str) -> String {
        format!(
            "TLS_KEY_FILE: {:?} is invalid: {why}; \
             allowed is a PEM file with the certificate's private key, without a passphrase",
            self.key
        )
    }
}
