//! `healthcheck`: asks the service that runs with these settings whether it is ready.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::address::reachable;
use super::error::ExitError;
use crate::Api;
use crate::serve::crypto_provider;
use crate::settings::Settings;

/// How long a service that isn't ready is asked with TLS instead of without, or the other way round.
const OTHER_WAY_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) async fn healthcheck<A: Api>(
    settings: &Settings,
    args: &A::Args,
) -> Result<ExitCode, ExitError> {
    let address = reachable(SocketAddr::new(settings.bind_address, A::port(args)));
    // a service that hangs accepts connections and doesn't answer
    let limit = settings.common.request_timeout;
    let asked = timeout(limit, ask::<A>(address, settings)).await;
    let ready = asked.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
    ready.map_err(|reason| ExitError::new(format!("{address}: {reason}")))?;
    Ok(ExitCode::SUCCESS)
}

async fn ask<A: Api>(address: SocketAddr, settings: &Settings) -> Result<(), String> {
    let asked = match settings.tls_cert_file {
        None => ask_plain::<A>(address).await,
        Some(_) => ask_tls::<A>(address).await,
    };
    let Err(reason) = asked else { return Ok(()) };
    let other_way = timeout(OTHER_WAY_TIMEOUT, async {
        match settings.tls_cert_file {
            None => connect_tls(address).await.is_ok(),
            Some(_) => ask_plain::<A>(address).await.is_ok(),
        }
    });
    // the settings are not those of the service
    Err(match (other_way.await, &settings.tls_cert_file) {
        (Ok(true), None) => format!(
            "the port speaks TLS: set TLS_CERT_FILE and TLS_KEY_FILE as the service has them ({reason})"
        ),
        (Ok(true), Some(_)) => format!(
            "the port speaks no TLS: unset TLS_CERT_FILE and TLS_KEY_FILE, or start the service with them \
             ({reason})"
        ),
        (Ok(false) | Err(_), _) => reason,
    })
}

async fn ask_plain<A: Api>(address: SocketAddr) -> Result<(), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    A::healthcheck(address, Either::Left(stream)).await
}

async fn ask_tls<A: Api>(address: SocketAddr) -> Result<(), String> {
    let stream = connect_tls(address).await.map_err(|error| error.to_string())?;
    A::healthcheck(address, Either::Right(stream)).await
}

async fn connect_tls(address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    tls(TcpStream::connect(address).await?, address.ip()).await
}

/// Asks `/readyz` on a connection to a process at `address`.
///
/// # Errors
/// Why it is not ready: the answer's body, or that of the connection.
pub async fn ask_readyz(
    address: SocketAddr,
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), String> {
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let asked = async {
        connection.write_all(request.as_bytes()).await?;
        connection.read_to_end(&mut answer).await
    };
    asked.await.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(body.to_owned()) }
}

/// Connects with TLS and accepts any certificate.
///
/// Its names are those that clients use, never the loopback address. And the question is whether the
/// service is ready: a restart doesn't help one whose certificate has expired or was just replaced.
async fn tls(stream: TcpStream, ip: IpAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = crypto_provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::IpAddress(ip.into()), stream).await
}

/// Accepts any certificate whose key the service has.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
