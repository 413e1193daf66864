//! Certificates for services, and connections that trust them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rcgen::SigningKey;
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

    /// One of X.509 version 1, as older tools make them: without extensions.
    pub fn version_1() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
        let [signed, algorithm, _] = parts(contents(made.cert.der()))[..] else {
            panic!("a certificate has three parts");
        };
        // without the version before the others, and the extensions after them
        let unsigned = sequence(&parts(contents(signed))[1..7].concat());
        let signature = made.signing_key.sign(&unsigned).expect("a signature");
        let signature = element(0x03, &[&[0], &*signature].concat());
        let der = sequence(&[&*unsigned, algorithm, &signature].concat());
        Self {
            pem: pem::encode(&pem::Pem::new("CERTIFICATE", der.clone())),
            key: made.signing_key.serialize_pem(),
            der: der.into(),
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

/// The elements of DER that follow each other.
fn parts(mut der: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while !der.is_empty() {
        let (part, rest) = der.split_at(der.len() - contents(der).len() + length(der));
        parts.push(part);
        der = rest;
    }
    parts
}

/// What is behind the tag and the length of the first element.
fn contents(der: &[u8]) -> &[u8] {
    let header = if der[1] < 0x80 { 2 } else { 2 + usize::from(der[1] & 0x7f) };
    &der[header..]
}

/// The length of the first element's contents.
fn length(der: &[u8]) -> usize {
    match der[1] {
        short if short < 0x80 => usize::from(short),
        long => der[2..2 + usize::from(long & 0x7f)]
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    }
}

fn sequence(contents: &[u8]) -> Vec<u8> {
    element(0x30, contents)
}

fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).expect("below 64 KiB").to_be_bytes();
    match contents.len() {
        0..0x80 => [&[tag, length[1]], contents].concat(),
        0x80..0x100 => [&[tag, 0x81, length[1]], contents].concat(),
        _ => [&[tag, 0x82, length[0], length[1]], contents].concat(),
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

    /// The path of the key.
    pub fn key(&self) -> PathBuf {
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
