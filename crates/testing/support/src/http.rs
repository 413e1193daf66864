//! HTTP clients for tests.

use reqwest::{Client, ClientBuilder};

/// A client with reqwest's defaults.
pub fn http_client() -> Client {
    http_client_builder().build().expect("a client")
}

/// As [`http_client`], to be adapted. In a build in which another crate wants reqwest with TLS, a client needs a
/// provider of cryptography, also for plain HTTP.
pub fn http_client_builder() -> ClientBuilder {
    // an error means that there is one already
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
}
