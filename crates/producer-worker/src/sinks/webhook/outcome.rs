//! What a receiver's answer means.

use std::time::{Duration, SystemTime};

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use producer_core::Timestamp;

use super::target::Target;
use crate::sink::Failure;

/// A receiver may ask for a pause this long, not longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Bytes of an answer's body that an error shows.
const SHOWN_BYTES: usize = 200;

/// An answer, with the beginning of its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What became of a request that was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    /// The receiver refuses this message: it becomes a dead letter.
    Refused(String),
    Failed(Failure),
}

/// Judges an answer that came `now`.
pub(super) fn judge(answer: &Answer, target: &Target, now: Timestamp) -> Outcome {
    let status = answer.status;
    if status.is_success() {
        return Outcome::Delivered;
    }
    let detail = detail(answer, target);
    match status.as_u16() {
        400 | 409 | 413 | 415 | 422 => Outcome::Refused(detail),
        410 => Outcome::Failed(Failure { pauses: true, ..Failure::new(detail) }),
        429 | 503 => {
            let retry_after = retry_after(&answer.headers, now);
            Outcome::Failed(Failure { retry_after, ..Failure::new(detail) })
        }
        _ => Outcome::Failed(Failure::new(detail)),
    }
}

/// The answer in one sentence, without secrets that it may repeat.
fn detail(answer: &Answer, target: &Target) -> String {
    let mut detail = format!("{} answered {}", target.host(), answer.status);
    if answer.status.is_redirection() {
        detail.push_str(": redirects are not followed");
        if let Some(host) = redirect_host(answer, target) {
            detail.push_str("; this one goes to ");
            detail.push_str(shortened(&host));
        }
        return detail;
    }
    let text = target.redact(&one_line(&answer.body));
    if !text.is_empty() {
        detail.push_str(": ");
        detail.push_str(shortened(&text));
    }
    detail
}

fn redirect_host(answer: &Answer, target: &Target) -> Option<String> {
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    Some(target.url().join(location).ok()?.host_str()?.to_owned())
}

/// The text with single spaces for white space and whatever a terminal would not print.
fn one_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control() || is_invisible(c));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Characters that change the order of text, or have no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES)]
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => MAX_RETRY_AFTER,
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            let since_epoch = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            since_epoch.saturating_sub(Duration::from_micros(now.micros().try_into().ok()?))
        }
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_read_and_bounded() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp::from_micros(784_111_777_500_000);
        let read = |text: &str| {
            let headers = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            retry_after(&headers, now)
        };
        for (text, seconds) in [
            ("0", 0.0),
            (" 120", 120.0),
            ("3601", 3600.0),
            ("99999999999999999999999", 3600.0),
            ("Sun, 06 Nov 1994 08:50:37 GMT", 59.5),
            ("Sunday, 06-Nov-94 08:50:37 GMT", 59.5),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
            ("Mon, 07 Nov 1994 08:49:37 GMT", 3600.0),
        ] {
            assert_eq!(read(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "-1", "1.5", "soon", "06 Nov 1994", "Thu, 01 Jan 1960 00:00:00 GMT"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn bodies_become_one_line() {
        let body = b" {\n\t\"error\": \"no\x1b[31m\xff\",\r\n \"a\": \"\xe2\x80\xae\" }\0 ";
        assert_eq!(one_line(body), "{ \"error\": \"no [31m\u{fffd}\", \"a\": \" \" }");
        assert_eq!(shortened(&"ä".repeat(150)), "ä".repeat(100));
        assert_eq!(shortened(&format!("a{}", "ä".repeat(150))).len(), 199);
    }
}
