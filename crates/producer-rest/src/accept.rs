//! `Accept` and `Accept-Encoding`: 406 for a client that excludes JSON, and never for an encoding.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, header};
use producer_core::ProblemKind;
use tower::{Layer, Service};

use crate::problem::ProblemResponse;

/// Makes [`AcceptJsonService`]s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AcceptJsonLayer;

impl<S> Layer<S> for AcceptJsonLayer {
    type Service = AcceptJsonService<S>;

    fn layer(&self, inner: S) -> AcceptJsonService<S> {
        AcceptJsonService { inner }
    }
}

/// Answers 406 to requests whose `Accept` excludes JSON.
#[derive(Debug, Clone)]
pub(crate) struct AcceptJsonService<S> {
    inner: S,
}

impl<S> Service<Request> for AcceptJsonService<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if accepts_json(request.headers()) {
            return Either::Left(self.inner.call(request));
        }
        let detail = "the answers are application/json and application/problem+json";
        let refusal = ProblemResponse::new(ProblemKind::NotAcceptable, detail).into_response();
        Either::Right(ready(Ok(refusal)))
    }
}

/// Makes identity the last choice of a client that refuses it. Else the compression layer would
/// answer 406 after the handler ran, and a stored event would look refused. RFC 9110 (12.5.3) allows
/// to answer unencoded.
pub(crate) fn put_identity_last(headers: &mut HeaderMap) {
    if refuses_identity(headers) {
        let given: Vec<_> = headers.get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity;q=0.001"));
        for value in given {
            headers.append(header::ACCEPT_ENCODING, value);
        }
    }
}

fn refuses_identity(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut members = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    members.any(|member| {
        let (coding, parameters) = member.split_once(';').unwrap_or((member, ""));
        let is_identity = coding.trim() == "*" || coding.trim().eq_ignore_ascii_case("identity");
        is_identity && is_refused(parameters)
    })
}

/// Whether the parameters of a range set its quality to 0.
fn is_refused(parameters: &str) -> bool {
    quality(parameters) == 0
}

/// The quality that the parameters of a range set, in thousandths; 1,000 where they set none.
fn quality(parameters: &str) -> u16 {
    let given = parameters.split(';').map(str::trim).find_map(|parameter| {
        parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))
    });
    let quality = given.and_then(|quality| quality.trim().parse().ok());
    // it has at most three digits behind the point, and a cast of what is out of range saturates
    quality.map_or(1000, |quality: f32| (quality * 1000.0).ceil() as u16)
}

const JSON: &str = "application/json";

/// An empty `Accept` excludes nothing.
fn accepts_json(headers: &HeaderMap) -> bool {
    choose(headers, &[(JSON, ())]).is_some()
}

/// What of `offers` the client prefers: that with the highest quality, then the one that it names more
/// precisely, then the earlier one. `None` where it accepts nothing of it.
pub(crate) fn choose<T: Copy>(headers: &HeaderMap, offers: &[(&str, T)]) -> Option<T> {
    let rank = |media| acceptance(headers, media).filter(|&(quality, _)| quality > 0);
    let ranked = offers.iter().filter_map(|&(media, offer)| Some((rank(media)?, offer)));
    // of equal ones `max_by_key` returns the last
    ranked.rev().max_by_key(|&(rank, _)| rank).map(|(_, offer)| offer)
}

/// The quality that the client gives a media type, and how specific the range is that says so. The most
/// specific one that covers it decides (RFC 9110, 12.5.1).
fn acceptance(headers: &HeaderMap, media: &str) -> Option<(u16, u8)> {
    let values = headers.get_all(header::ACCEPT).iter();
    let mut ranges =
        values.flat_map(|value| value.to_str().unwrap_or_default().split(',')).peekable();
    if ranges.peek().is_none() {
        return Some((1000, 0));
    }
    let best = ranges.filter_map(|range| coverage(range, media)).max();
    best.map(|(specificity, quality)| (quality, specificity))
}

/// How specific a media range that covers a media type is, and its quality.
fn coverage(range: &str, media: &str) -> Option<(u8, u16)> {
    let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
    let name = name.trim().to_ascii_lowercase();
    let is_of_type = |of: &str| media.split_once('/').is_some_and(|(main, _)| main == of);
    let specificity = match &*name {
        "" | "*/*" => 0,
        // what has JSON has our problems too
        "application/problem+json" if media == JSON => 2,
        name if name == media => 2,
        name if name.strip_suffix("/*").is_some_and(is_of_type) => 1,
        _ => return None,
    };
    Some((specificity, quality(parameters)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_cover_json_accept_it() {
        let accepts = |range| coverage(range, JSON).is_some_and(|(_, quality)| quality > 0);
        for range in ["*/*", "application/*;q=0.1", " Application/JSON; charset=utf-8", ""] {
            assert!(accepts(range), "{range}");
        }
        for range in ["text/html", "application/json;q=0", "*/*; q=0.0", "application/xml"] {
            assert!(!accepts(range), "{range}");
        }
    }

    #[test]
    fn the_client_chooses_what_it_prefers() {
        let chosen = |accept: &str| {
            let accept = HeaderValue::from_str(accept).expect("a header");
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept)]);
            choose(&headers, &[(JSON, "json"), ("text/event-stream", "sse")])
        };
        assert_eq!(choose(&HeaderMap::new(), &[(JSON, 1), ("text/plain", 2)]), Some(1));
        for (accept, expected) in [
            ("", Some("json")),
            ("*/*", Some("json")),
            ("text/event-stream", Some("sse")),
            ("text/*", Some("sse")),
            ("application/problem+json", Some("json")),
            ("text/event-stream, application/json", Some("json")),
            ("*/*, text/event-stream", Some("sse")),
            ("application/json;q=0.5, text/event-stream;q=0.501", Some("sse")),
            ("application/json;q=0, */*", Some("sse")),
            ("*/*;q=0.9, text/event-stream;q=0.1", Some("json")),
            ("text/html, application/json;q=0.001", Some("json")),
            ("text/html", None),
            ("application/json;q=0, text/event-stream;q=0.0", None),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
    }
}
