//! Posts spans to the receiver. opentelemetry-otlp's own clients don't fit: hyper's has no TLS and needs
//! a Tokio runtime, which the exporter's thread isn't in; reqwest's brings aws-lc or, without it, makes
//! every other reqwest client of the process panic that names no crypto provider.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Runtime};

use crate::serve::crypto_provider;

/// An HTTP client with a runtime of its own, so that sending spans takes no time of the service's.
#[derive(Debug)]
pub(super) struct OtlpClient {
    client: HyperClient<HttpsConnector<HttpConnector>>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    failing: AtomicBool,
}

impl OtlpClient {
    /// `trusted` is a PEM file with the certificates to trust instead of the public authorities'.
    ///
    /// # Errors
    /// One line: the file can't be read or holds no certificate, or no thread can be started.
    pub(super) fn new(timeout: Duration, trusted: Option<&Path>) -> Result<Self, String> {
        let roots = match trusted {
            Some(file) => read_roots(file)?,
            None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
        };
        let tls = ClientConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(1).max_blocking_threads(1).thread_name("traces").enable_all();
        Ok(Self {
            client: HyperClient::new(connector.build(), timeout, None),
            runtime: Some(runtime.build().map_err(|error| error.to_string())?),
            failing: AtomicBool::new(false),
        })
    }

    /// Logs when the receiver fails for the first time and when it is back, not each time.
    fn log_change(&self, response: &Result<Response<Bytes>, HttpError>) {
        let error = match response {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(with_sources(&**error)),
        };
        let failed_before = self.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !failed_before => tracing::warn!(error, "traces can't be delivered"),
            None if failed_before => tracing::info!("traces are delivered again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for OtlpClient {
    /// Blocks: the exporter calls it on a thread of its own.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = self.runtime.as_ref().ok_or("the client is closed")?;
        let response = runtime.block_on(self.client.send_bytes(request));
        self.log_change(&response);
        response
    }
}

impl Drop for OtlpClient {
    /// A runtime that is dropped waits for names that are being looked up, and panics inside another.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let invalid = |why: String| {
        format!(
            "OTEL_EXPORTER_OTLP_CERTIFICATE: {file:?} is invalid: {why}; \
             allowed is a PEM file with the certificates to trust"
        )
    };
    let certificates = CertificateDer::pem_file_iter(file);
    let certificates = certificates.map_err(|error| invalid(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(invalid("it holds no certificate".into()));
    }
    Ok(roots)
}

/// The error with what caused it: hyper's own text is "client error (Connect)".
fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
