//! The receiver, as the settings name it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Uri, Version};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::{Form, Secret, Secrets};

/// Headers that a request has by itself, or that concern the connection.
const OWN_HEADERS: [HeaderName; 5] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TRANSFER_ENCODING,
];

/// Headers with this prefix are those of Standard Webhooks.
const OWN_PREFIX: &str = "webhook-";

const USER_AGENT: &str = concat!("producer/", env!("CARGO_PKG_VERSION"));

/// Shorter texts are no secrets, and would make errors unreadable.
const MIN_SECRET_BYTES: usize = 6;

/// Of a path, only longer parts are taken for secrets.
const MIN_SECRET_PART_BYTES: usize = 16;

/// Where requests go, with what all of them have.
pub(super) struct Target {
    /// Without user, password and fragment.
    url: Url,
    uri: Uri,
    headers: HeaderMap,
    /// What errors must not show.
    secrets: Secrets,
}

impl Target {
    /// # Errors
    /// One sentence without secrets about what is wrong.
    pub(super) fn new(
        url: &Secret,
        headers: &BTreeMap<String, Secret>,
        secrets: &[Secret],
        form: Form,
    ) -> Result<Self, String> {
        let (mut url, uri) = read_url(url.expose()).map_err(|problem| format!("url {problem}"))?;
        let mut redacted = secrets_of(&url);
        redacted.extend(secrets.iter().map(|secret| secret.expose().to_owned()));
        let mut all = own_headers(form);
        all.extend(authorization(&url).map(|value| (header::AUTHORIZATION, value)));
        for (name, value) in headers {
            let value = value.expose();
            let header = read_header(name, value);
            let (name, header) = header.map_err(|problem| format!("header {name} {problem}"))?;
            all.insert(name, header);
            redacted.push(value.to_owned());
            // `Bearer …`: a receiver may repeat the token alone
            redacted.extend(value.split_whitespace().map(str::to_owned));
        }
        redacted.retain(|secret| secret.len() >= MIN_SECRET_BYTES);
        // http and https URLs always have room for both
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self { url, uri, headers: all, secrets: Secrets::new(redacted) })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The host, with the port where the URL names one.
    pub(super) fn host(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// A request of HTTP/1.1 with the headers of all.
    pub(super) fn request<B>(&self, body: B) -> http::Request<B> {
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The text without secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets.removed_from(text)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.host())
    }
}

fn own_headers(form: Form) -> HeaderMap {
    let content_type = match form {
        Form::CloudEvents => "application/cloudevents+json; charset=utf-8",
        Form::Plain => "application/json",
    };
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::USER_AGENT, HeaderValue::from_static(USER_AGENT)),
    ])
}

/// The URL, and the same without user and password.
fn read_url(text: &str) -> Result<(Url, Uri), &'static str> {
    const INVALID: &str = "must be a URL that begins with https:// or http://";
    let mut url = Url::parse(text).map_err(|_| INVALID)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(INVALID);
    }
    url.set_fragment(None);
    let mut bare = url.clone();
    let cleared = bare.set_username("").and_then(|()| bare.set_password(None));
    let uri = cleared.ok().and_then(|()| bare.as_str().parse().ok());
    Ok((url, uri.ok_or(INVALID)?))
}

fn read_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name: HeaderName = name.parse().map_err(|_| "must have a name that HTTP allows")?;
    if OWN_HEADERS.contains(&name) || name.as_str().starts_with(OWN_PREFIX) {
        return Err("must not be set: it is set for each request");
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| "must have a value of visible ASCII characters and spaces")?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// User and password of the URL, as HTTP sends them.
fn authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or("")));
    let encoded = format!("Basic {}", STANDARD.encode(credentials));
    let mut value = HeaderValue::try_from(encoded).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What may be secret in a URL: user, password, path, long parts of the path, and values of the query.
fn secrets_of(url: &Url) -> Vec<String> {
    let mut secrets = vec![url.path().to_owned()];
    secrets.extend(url.query().map(str::to_owned));
    secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    let raw = url.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
    secrets.extend(raw.map(|(_, value)| value.to_owned()));
    secrets.push(url.username().to_owned());
    let password = url.password().unwrap_or("");
    secrets.push(password.to_owned());
    secrets.push(percent_decode_str(password).decode_utf8_lossy().into_owned());
    let credentials = authorization(url);
    let credentials = credentials.as_ref().and_then(|value| value.to_str().ok());
    secrets.extend(credentials.and_then(|text| text.split_once(' ')).map(|(_, text)| text.into()));
    let parts = url.path().split('/').filter(|part| part.len() >= MIN_SECRET_PART_BYTES);
    secrets.extend(parts.map(str::to_owned));
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, headers: &[(&str, &str)]) -> Result<Target, String> {
        let headers = headers.iter().map(|(name, value)| {
            let (name, value) = ((*name).to_owned(), (*value).to_owned());
            (name, Secret::from(value))
        });
        let secret = Secret::from("whsec_c2VjcmV0".to_owned());
        Target::new(&url.to_owned().into(), &headers.collect(), &[secret], Form::CloudEvents)
    }

    #[test]
    fn a_request_has_no_credentials_in_its_uri() {
        let url = "https://us%20er:pa%3Ass@hooks.example.com/in?token=t0ken12#part";
        let target = target(url, &[("X-Shop", "a shop"), ("User-Agent", "shop/1")]).unwrap();
        let request = target.request(());
        assert_eq!(request.uri(), "https://hooks.example.com/in?token=t0ken12");
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(header("authorization"), format!("Basic {}", STANDARD.encode("us er:pa:ss")));
        assert_eq!(header("x-shop"), "a shop");
        assert_eq!(header("user-agent"), "shop/1");
        assert_eq!(header("content-type"), "application/cloudevents+json; charset=utf-8");
        assert!(request.headers()["authorization"].is_sensitive());
        assert_eq!(target.host(), "hooks.example.com");
        assert_eq!(format!("{target:?}"), "Target(hooks.example.com)");
    }

    #[test]
    fn errors_show_no_secret() {
        let url = "https://user01:passw%3Ard@hooks.example.com/services/T0/0123456789abcdef0\
                   ?token=t0ken%2B12";
        let target = target(url, &[("Authorization", "Bearer abcdef-1")]).unwrap();
        for (text, shown) in [
            ("Bearer abcdef-1 is unknown, abcdef-1 too", "… is unknown, … too"),
            ("no /services/T0/0123456789abcdef0 here", "no … here"),
            ("no 0123456789abcdef0 here", "no … here"),
            ("t0ken%2B12 t0ken+12 token=t0ken%2B12", "… … …"),
            ("user01 passw:rd passw%3Ard", "… … …"),
            ("whsec_c2VjcmV0", "…"),
            ("services", "services"),
        ] {
            assert_eq!(target.redact(text), shown);
        }
    }

    #[test]
    fn settings_are_checked() {
        for url in
            ["https://a", "http://127.0.0.1:80/x?y=z", "http://[::1]/", "HTTPS://ä.example/é{}"]
        {
            assert!(read_url(url).is_ok(), "{url}");
        }
        for url in ["", "a", "//a", "ftp://a", "https://", "https:// a", "http://a:b"] {
            assert!(read_url(url).is_err(), "{url}");
        }
        assert!(read_header("X-Any", "a b").is_ok());
        for (name, value) in [
            ("", "a"),
            ("a b", "a"),
            ("X-Any", "a\nb"),
            ("X-Any", "a\u{7f}"),
            ("Host", "a"),
            ("content-type", "text/plain"),
            ("Webhook-Id", "1"),
            ("Transfer-Encoding", "chunked"),
        ] {
            assert!(read_header(name, value).is_err(), "{name}: {value}");
        }
        let error = target("https://a", &[("X-Any", "hidden\n")]).unwrap_err();
        assert_eq!(error, "header X-Any must have a value of visible ASCII characters and spaces");
    }
}
