//! What the client accepts: 406 where the API can answer none of it, and never for an encoding.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use producer_core::ProblemKind;

use crate::problem::Failure;

/// Lets requests through whose `Accept` doesn't exclude JSON.
pub(crate) async fn json(request: Request, next: Next) -> Response {
    if takes_json(request.headers()) {
        return next.run(request).await;
    }
    let detail = "the answers are application/json and application/problem+json";
    Failure::new(ProblemKind::NotAcceptable, detail).into_response()
}

/// Makes identity the last choice of a client that refuses it. The compression layer would answer
/// 406 otherwise, after the handler ran: an event that is stored would look refused. RFC 9110
/// (12.5.3) leaves it to us to answer unencoded.
pub(crate) async fn identity_last(mut request: Request) -> Request {
    let headers = request.headers_mut();
    if refuses_identity(headers) {
        let named: Vec<_> = headers.get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity;q=0.001"));
        for value in named {
            headers.append(header::ACCEPT_ENCODING, value);
        }
    }
    request
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

/// Whether the parameters of a range say that its quality is 0.
fn is_refused(parameters: &str) -> bool {
    parameters.split(';').map(str::trim).any(|parameter| {
        let quality = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
        quality.is_some_and(|q| q.trim().parse() == Ok(0.0_f32))
    })
}

/// The most specific range that covers JSON decides (RFC 9110, 12.5.1). An empty one excludes
/// nothing.
fn takes_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let mut is_absent = true;
    let best = ranges.inspect(|_| is_absent = false).filter_map(json_range).max();
    is_absent || best.is_some_and(|(_, takes)| takes)
}

/// How specific a media range that covers JSON is, and whether it takes it.
fn json_range(range: &str) -> Option<(u8, bool)> {
    let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
    let specific = match media.trim().to_ascii_lowercase().as_str() {
        "" | "*/*" => 0,
        "application/*" => 1,
        "application/json" | "application/problem+json" => 2,
        _ => return None,
    };
    Some((specific, !is_refused(parameters)))
}

#[cfg(test)]
mod tests {
    use super::json_range;

    #[test]
    fn ranges_that_cover_json_take_it() {
        let takes = |range| json_range(range).is_some_and(|(_, takes)| takes);
        for range in ["*/*", "application/*;q=0.1", " Application/JSON; charset=utf-8", ""] {
            assert!(takes(range), "{range}");
        }
        for range in ["text/html", "application/json;q=0", "*/*; q=0.0", "application/xml"] {
            assert!(!takes(range), "{range}");
        }
    }
}
