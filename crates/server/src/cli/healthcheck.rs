//! `healthcheck`: asks the service that runs with these settings whether it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::error::ExitError;
use crate::Api;
use crate::serve::crypto_provider;
use crate::settings::Settings;

pub(super) async fn healthcheck<A: Api>(
    settings: &Settings,
    args: &A::Args,
) -> Result<ExitCode, ExitError> {
    // a service that listens on every address is asked on the loopback one
    let ip = match settings.bind_address {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, A::port(args));
    // a service that hangs accepts connections and doesn't answer
    let timeout = settings.request_timeout;
    let asked = tokio::time::timeout(timeout, ask::<A>(address, settings)).await;
    let ready = asked.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
    ready.map_err(|reason| ExitError::new(format!("{address}: {reason}")))?;
    Ok(ExitCode::SUCCESS)
}

async fn ask<A: Api>(address: SocketAddr, settings: &Settings) -> Result<(), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let connection = match settings.tls_cert_file {
        None => Either::Left(stream),
        Some(_) => Either::Right(tls(stream, address.ip()).await.map_err(|e| e.to_string())?),
    };
    A::healthcheck(address, connection).await
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
