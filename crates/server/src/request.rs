//! The context of a request, from its headers. gRPC's metadata are headers too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use producer_telemetry::request::RequestContext;

/// The header that names the caller's span (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Begins the context of a request with these headers, whose answer carries `id`. `client` is the address
/// that its connection comes from, `slow_after` is `SLOW_REQUEST`.
pub fn begin(
    headers: &HeaderMap,
    client: Option<SocketAddr>,
    id: &HeaderValue,
    slow_after: Duration,
) -> Arc<RequestContext> {
    let id = id.to_str().unwrap_or_default();
    RequestContext::begin(id, client, caller(headers), slow_after)
}

/// The caller's span.
fn caller(headers: &HeaderMap) -> SpanContext {
    if !headers.contains_key(TRACEPARENT) {
        return SpanContext::NONE;
    }
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    context.span().span_context().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(traceparent: &'static str) -> SpanContext {
        let value = HeaderValue::from_static(traceparent);
        caller(&HeaderMap::from_iter([(TRACEPARENT, value)]))
    }

    #[test]
    fn a_valid_traceparent_is_used() {
        let given = parsed("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(given.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(given.is_sampled() && given.is_remote());
        let unsampled = parsed("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        assert!(unsampled.is_valid() && !unsampled.is_sampled());
        for wrong in ["", "00-00-00-00", "00-00000000000000000000000000000000-b7ad6b7169203331-01"]
        {
            assert!(!parsed(wrong).is_valid(), "{wrong}");
        }
        assert!(!caller(&HeaderMap::new()).is_valid());
    }
}
