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
    parameters.split(';').map(str::trim).any(|parameter| {
        let quality = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
        quality.is_some_and(|q| q.trim().parse() == Ok(0.0_f32))
    })
}

/// The most specific range that covers JSON decides (RFC 9110, 12.5.1). An empty one excludes
/// nothing.
fn accepts_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let mut is_absent = true;
    let best = ranges.inspect(|_| is_absent = false).filter_map(json_range).max();
    is_absent || best.is_some_and(|(_, accepted)| accepted)
}

/// How specific a media range that covers JSON is, and whether it accepts it.
fn json_range(range: &str) -> Option<(u8, bool)> {
    let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
    let specificity = match media.trim().to_ascii_lowercase().as_str() {
        "" | "*/*" => 0,
        "application/*" => 1,
        "application/json" | "application/problem+json" => 2,
        _ => return None,
    };
    Some((specificity, !is_refused(parameters)))
}

#[cfg(test)]
mod tests {
    use super::json_range;

    #[test]
    fn ranges_that_cover_json_accept_it() {
        let accepts = |range| json_range(range).is_some_and(|(_, accepted)| accepted);
        for range in ["*/*", "application/*;q=0.1", " Application/JSON; charset=utf-8", ""] {
            assert!(accepts(range), "{range}");
        }
        for range in ["text/html", "application/json;q=0", "*/*; q=0.0", "application/xml"] {
            assert!(!accepts(range), "{range}");
        }
    }
}
