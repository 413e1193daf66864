//! 406: the client accepts nothing that the API can answer.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
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

fn takes_json(headers: &HeaderMap) -> bool {
    let mut accepts = headers.get_all(header::ACCEPT).iter().peekable();
    accepts.peek().is_none()
        || accepts.any(|value| value.to_str().unwrap_or_default().split(',').any(range_takes_json))
}

/// Whether one media range takes JSON (RFC 9110, 12.5.1). An empty one excludes nothing.
fn range_takes_json(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_refused = parts.any(|parameter| {
        let quality = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
        quality.is_some_and(|q| q.trim().parse() == Ok(0.0_f32))
    });
    let takes = ["", "*/*", "application/*", "application/json", "application/problem+json"];
    takes.contains(&media.as_str()) && !is_refused
}

#[cfg(test)]
mod tests {
    use super::range_takes_json;

    #[test]
    fn ranges_that_cover_json_take_it() {
        for range in ["*/*", "application/*;q=0.1", " Application/JSON; charset=utf-8", ""] {
            assert!(range_takes_json(range), "{range}");
        }
        for range in ["text/html", "application/json;q=0", "*/*; q=0.0", "application/xml"] {
            assert!(!range_takes_json(range), "{range}");
        }
    }
}
