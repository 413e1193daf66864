//! Certificates for services, and connections that trust them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name in every certificate.
const NAME: &str = "localhost";

/// A self-signed certificate.
#[derive(Debug)]
pub struct Certificate {
    /// In the format for clients.
    pub pem: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// A new one for `localhost`.
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
        Self {
            pem: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            der: made.cert.der().clone(),
        }
    }

    /// Connects with TLS, trusting only this certificate.
    ///
    /// # Errors
    /// Those of the handshake, such as another certificate.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(NAME).expect("a name");
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// A server that shows this certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key);
        Arc::new(config.expect("a certificate and its key")).into()
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

/// The two files of a service.
#[derive(Debug)]
pub struct CertificateFiles(TempDir);

impl CertificateFiles {
    /// Files with this certificate.
    pub fn new(certificate: &Certificate) -> Self {
        let files = Self(tempfile::tempdir().expect("a temporary folder"));
        files.write_cert(certificate);
        files.write_key(certificate);
        files
    }

    /// Replaces only the certificate.
    pub fn write_cert(&self, certificate: &Certificate) {
        replace(&self.cert(), &certificate.pem);
    }

    /// Replaces only the key.
    pub fn write_key(&self, certificate: &Certificate) {
        replace(&self.key(), &certificate.key);
    }

    /// The path of the certificate.
    pub fn cert(&self) -> PathBuf {
        self.0.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("tls.key")
    }

    /// The settings for a service.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        let text = |path: PathBuf| path.display().to_string();
        [("TLS_CERT_FILE", text(self.cert())), ("TLS_KEY_FILE", text(self.key()))]
    }
}

/// Atomically, as renewal tools do.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, file).expect("renamed");
}
