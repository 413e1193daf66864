//! HTTP: one request, one answer, within a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::{Cause, Error, ErrorBody};

/// For a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest pause that `Retry-After` may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// A client of one cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Without user and password.
    base: Url,
    credentials: Option<Credentials>,
}

#[derive(Clone)]
struct Credentials {
    user: String,
    password: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A body.
#[derive(Debug, Clone)]
pub enum Body {
    /// None.
    Empty,
    /// JSON.
    Json(String),
    /// JSON on lines, for a bulk.
    Lines(Bytes),
}

#[derive(Deserialize)]
struct Refusal {
    error: ErrorBody,
}

impl Client {
    /// `url` is `http://` or `https://`, with user and password where they are needed; a path is put before
    /// those of all requests.
    ///
    /// # Errors
    /// What is wrong with the URL, in one sentence without secrets.
    pub fn new(url: &str) -> Result<Self, String> {
        let mut base = Url::parse(url).map_err(|error| format!("the URL is none: {error}"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err("the URL must begin with http:// or https://".to_owned());
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err("the URL must end with its path".to_owned());
        }
        let credentials = credentials(&base)?;
        // an http URL takes both
        let _ = (base.set_username(""), base.set_password(None));
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("producer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.without_url().to_string())?;
        Ok(Self { http, base, credentials })
    }

    /// Sends a request, and reads a successful answer as JSON.
    ///
    /// `path` is made of segments, which are escaped; `query` is used as it is.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &str,
        body: Body,
        timeout: Duration,
    ) -> Result<T, Error> {
        let bytes = self.send(method, path, query, body, timeout).await?;
        serde_json::from_slice(&bytes).map_err(Error::unreadable)
    }

    /// Sends a request, and returns the body of a successful answer.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &str,
        body: Body,
        timeout: Duration,
    ) -> Result<Bytes, Error> {
        let request = self.request(method, path, query, body)?.timeout(timeout);
        let response = request.send().await.map_err(no_answer)?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let bytes = response.bytes().await.map_err(no_answer)?;
        if status.is_success() {
            return Ok(bytes);
        }
        let refusal = serde_json::from_slice(&bytes).map(|Refusal { error }| error.into_cause());
        Err(Error::Status {
            status: status.as_u16(),
            cause: refusal.unwrap_or_else(|_| Cause::default()),
            retry_after,
        })
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &str,
        body: Body,
    ) -> Result<RequestBuilder, Error> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::NoAnswer("the URL takes no path".to_owned()))?
            .pop_if_empty()
            .extend(path);
        url.set_query((!query.is_empty()).then_some(query));
        let mut request = self.http.request(method, url);
        if let Some(Credentials { user, password }) = &self.credentials {
            request = request.basic_auth(user, password.as_ref());
        }
        Ok(match body {
            Body::Empty => request,
            Body::Json(text) => request.header(CONTENT_TYPE, "application/json").body(text),
            Body::Lines(lines) => request.header(CONTENT_TYPE, "application/x-ndjson").body(lines),
        })
    }
}

fn credentials(url: &Url) -> Result<Option<Credentials>, String> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decode = |text: &str| {
        // the URL's parser has escaped what is not allowed there
        let text = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
        let decoded = url::form_urlencoded::parse(text.as_bytes()).next();
        decoded.map(|(_, value)| value.into_owned()).ok_or("the URL's password can't be read")
    };
    let password = url.password().map(decode).transpose()?;
    Ok(Some(Credentials { user: decode(url.username())?, password }))
}

/// Trusts the authorities of the machine (`SSL_CERT_FILE`, `SSL_CERT_DIR`) and the public ones.
fn tls() -> Result<ClientConfig, String> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn no_answer(error: reqwest::Error) -> Error {
    let error = error.without_url();
    if error.is_timeout() {
        return Error::NoAnswer("it does not answer in time".to_owned());
    }
    let mut text = "it can't be reached".to_owned();
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        // the innermost says why
        text = format!("it can't be reached: {deeper}");
        source = deeper.source();
    }
    Error::NoAnswer(text)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_password_never_shows_it() {
        let client =
            Client::new("https://me%40x:s%2Bcr%26t+1@search.test:9200/es/").expect("a URL");
        let Credentials { user, password } = client.credentials.clone().expect("credentials");
        assert_eq!((user.as_str(), password.as_deref()), ("me@x", Some("s+cr&t+1")));
        assert_eq!(client.base.as_str(), "https://search.test:9200/es/");
        let shown = format!("{client:?}");
        assert!(!shown.contains("cr&t") && !shown.contains("s%2B"), "{shown}");
        let request = client.request(Method::GET, &["störung", "_doc", "a/b"], "x=1", Body::Empty);
        let url = request.expect("a request").build().expect("a request").url().to_string();
        assert_eq!(url, "https://search.test:9200/es/st%C3%B6rung/_doc/a%2Fb?x=1");
    }

    #[test]
    fn other_urls_are_refused() {
        for url in ["", "localhost:9200", "redis://x", "http://x/?a", "http://x/#a"] {
            let error = Client::new(url).expect_err(url);
            assert!(error.starts_with("the URL "), "{error}");
        }
    }
}
