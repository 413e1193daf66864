//! How values are written. Each error is the end of a sentence about the key, without secrets.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use producer_core::feed::{Start, Types};
use producer_core::filter::{Filter, Scope};
use redis::IntoConnectionInfo;
use url::Url;

use super::text::Text;
use crate::config::{Part, Rate, Secret, Template};

const SHORTEST: Duration = Duration::from_millis(1);
/// The longest pause or time-out.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The longest age.
const LONGEST_AGE: Duration = Duration::from_secs(36_500 * 86_400);

const MUST_BE_TEMPLATE: &str = "must be a text with names in braces, such as {type}";

/// A pause or a time-out.
pub(super) fn duration(text: &Text) -> Result<Duration, String> {
    within(LONGEST, text).ok_or_else(|| {
        format!("must be a duration from 1ms to 24h, such as 500ms or 2s, not {text}")
    })
}

/// An age, which may be days.
pub(super) fn age(text: &Text) -> Result<Duration, String> {
    within(LONGEST_AGE, text).ok_or_else(|| {
        format!("must be a duration from 1ms to 36500d, such as 12h or 90d, not {text}")
    })
}

/// An age, or `off`.
pub(super) fn age_or_off(text: &Text) -> Result<Option<Duration>, String> {
    match text.as_str() {
        "off" => Ok(None),
        _ => within(LONGEST_AGE, text).map(Some).ok_or_else(|| {
            format!("must be off or a duration from 1ms to 36500d, such as 12h or 90d, not {text}")
        }),
    }
}

fn within(longest: Duration, text: &Text) -> Option<Duration> {
    let duration = humantime::parse_duration(text.as_str()).ok()?;
    (SHORTEST..=longest).contains(&duration).then_some(duration)
}

/// So many in a second, minute or hour.
pub(super) fn rate(text: &Text) -> Result<Rate, String> {
    let parse = || {
        let (changes, unit) = text.as_str().split_once('/')?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let is_plain = changes.bytes().all(|byte| byte.is_ascii_digit());
        let changes = changes.parse().ok().filter(|&changes| is_plain && changes > 0)?;
        Some(Rate { changes, per: Duration::from_secs(seconds) })
    };
    parse().ok_or_else(|| {
        format!("must be a number of changes in s, m or h, such as \"50/s\", not {text}")
    })
}

/// Where a sink begins for the first time.
pub(super) fn start(text: &Text) -> Result<Start, String> {
    match Start::parse(text.as_str()) {
        // a token is of one database's log: that is for a reset, not for a file
        Ok(Start::Token(_)) | Err(_) => Err(format!(
            "must be \"start\", \"now\", \"snapshot\" or a time such as \"2026-01-31T08:00:00Z\", not {text}"
        )),
        Ok(start) => Ok(start),
    }
}

/// A filter over changes.
pub(super) fn filter(text: &Text) -> Result<Filter, String> {
    Filter::parse(text.as_str(), Scope::Change).map_err(|error| {
        let detail = text.wrong(error.detail, "must be a filter");
        format!("column {}: {detail}", error.column)
    })
}

/// The names of types, of which there is one at least.
pub(super) fn types(texts: Vec<Text>) -> Result<Types, String> {
    if texts.is_empty() {
        return Err("must name a type, or be left out for all of them".into());
    }
    Types::new(texts.into_iter().map(Text::into_string).collect())
}

/// A template with these names.
pub(super) fn template(text: &Text, allowed: &[Part]) -> Result<Template, String> {
    Template::parse(text.as_str(), allowed).map_err(|why| text.wrong(why, MUST_BE_TEMPLATE))
}

/// A text that is not empty.
pub(super) fn name(text: &Text) -> Result<String, String> {
    match text.as_str() {
        "" => Err("must not be empty".into()),
        name => Ok(name.to_owned()),
    }
}

/// The URL of a Redis server.
pub(super) fn redis_url(text: &Text) -> Result<Secret, String> {
    const RULE: &str =
        "must be redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS";
    let url = with_scheme(text, &["redis", "rediss"], RULE)?;
    // it also reads the number of the database, and its error may show the URL
    let is_read = text.as_str().into_connection_info().is_ok();
    if is_read { Ok(secret(text)) } else { Err(format!("{RULE}{}", not_url(text, Some(&url)))) }
}

/// The URL of an HTTP server.
pub(super) fn http_url(text: &Text) -> Result<Secret, String> {
    let rule = "must be a URL such as https://HOST or http://HOST:PORT";
    with_scheme(text, &["http", "https"], rule).map(|_| secret(text))
}

fn with_scheme(text: &Text, schemes: &[&str], rule: &str) -> Result<Url, String> {
    let url = Url::parse(text.as_str()).ok();
    let has_host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
    match url {
        Some(url) if schemes.contains(&url.scheme()) && has_host(&url) => Ok(url),
        url => Err(format!("{rule}{}", not_url(text, url.as_ref()))),
    }
}

/// What of a URL may be shown: its scheme and its host.
fn not_url(text: &Text, url: Option<&Url>) -> String {
    match url {
        _ if text.is_secret() => format!(", not {text}"),
        Some(url) => match url.host_str() {
            Some(host) => format!(", not {}://{host}…", url.scheme()),
            None => format!(", not {}:…", url.scheme()),
        },
        None => String::new(),
    }
}

/// Kafka's servers.
pub(super) fn kafka_servers(text: &Text) -> Result<Secret, String> {
    let is_server = |server: &str| {
        let (host, port) = server.rsplit_once(':').unwrap_or_default();
        let is_bare = !host.contains(['/', '@', ' ']);
        !host.is_empty() && is_bare && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if text.as_str().split(',').all(|server| is_server(server.trim())) {
        return Ok(secret(text));
    }
    // someone may have put a password into it
    Err("must be HOST:PORT, with commas between several".into())
}

/// A secret that signs webhooks.
pub(super) fn webhook_secret(text: &Text) -> Result<Secret, String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
    let key = text.as_str().strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
    match key {
        Some(key) if BYTES.contains(&key.len()) => Ok(secret(text)),
        Some(_) | None => Err("must be whsec_ and base64 of 24 to 64 bytes each".into()),
    }
}

/// The name of a header, and its value.
pub(super) fn header(name: &str, value: &Text) -> Result<Secret, String> {
    /// Set by the sink, or of the connection.
    const OURS: [&str; 5] =
        ["connection", "content-length", "content-type", "host", "transfer-encoding"];
    let name = name.to_ascii_lowercase();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err("is no name of a header".into());
    }
    if OURS.contains(&&*name) || name.starts_with("webhook-") {
        return Err("is set by the sink itself".into());
    }
    // HTTP leaves open what other bytes mean
    let is_ascii = value.as_str().is_ascii();
    match HeaderValue::from_str(value.as_str()) {
        Ok(_) if is_ascii => Ok(secret(value)),
        Ok(_) | Err(_) => Err("must be visible characters of ASCII".into()),
    }
}

/// A text that is not shown.
pub(super) fn secret(text: &Text) -> Secret {
    Secret::from(text.as_str().to_owned())
}
