//! OpenTelemetry spans: of a request, of its wait in the queue, of the batch that it shares, of the
//! batch's commits. Without a tracer, which [`install`] sets, there are none.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Link, Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, KeyValue};
use tokio::time::Instant;

use super::stopwatch::RequestEnd;

/// Requests that a batch's span links to at most.
const MAX_LINKS: usize = 128;

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// Sets the tracer, once in a process: a second one is ignored.
pub fn install(tracer: BoxedTracer) {
    drop(TRACER.set(tracer));
}

/// The date and time of an instant.
#[expect(clippy::disallowed_methods, reason = "spans show real times, also in tests")]
fn date(moment: Instant) -> SystemTime {
    SystemTime::now() - moment.elapsed()
}

/// An invalid parent is no parent: samplers would take it for one that is not sampled.
fn child_of(parent: &SpanContext) -> Context {
    let context = Context::new();
    if parent.is_valid() { context.with_remote_span_context(parent.clone()) } else { context }
}

/// The span of one request.
pub(crate) struct RequestSpan {
    context: SpanContext,
    span: Mutex<BoxedSpan>,
}

impl RequestSpan {
    pub(crate) fn begin(caller: &SpanContext) -> Option<Self> {
        let tracer = TRACER.get()?;
        let builder = tracer.span_builder("request").with_kind(SpanKind::Server);
        let span = tracer.build_with_context(builder, &child_of(caller));
        Some(Self { context: span.span_context().clone(), span: Mutex::new(span) })
    }

    pub(crate) fn context(&self) -> &SpanContext {
        &self.context
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.context.is_sampled()
    }

    pub(crate) fn end(&self, id: &str, end: &RequestEnd<'_>) {
        if !self.is_recorded() {
            return;
        }
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, attributes) = describe(end);
        span.update_name(name);
        span.set_attributes(attributes);
        span.set_attribute(KeyValue::new("producer.request_id", id.to_owned()));
        if is_server_error(end.status) {
            span.set_status(Status::error(end.status.to_owned()));
        }
        span.end();
    }
}

/// Whether the server is at fault, not the client.
fn is_server_error(status: &str) -> bool {
    const CODES: [&str; 6] =
        ["DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNIMPLEMENTED", "UNKNOWN"];
    status.starts_with('5') || CODES.contains(&status)
}

/// Name and attributes by OpenTelemetry's conventions. A gRPC route is the rpc's path; an HTTP status
/// is a number.
fn describe(end: &RequestEnd<'_>) -> (String, Vec<KeyValue>) {
    let route = end.route.to_owned();
    let status = end.status.to_owned();
    match (end.status.parse::<i64>(), end.route.strip_prefix('/')) {
        (Err(_), Some(rpc)) if end.status != "cancelled" => {
            let attributes = vec![
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", rpc.to_owned()),
                KeyValue::new("rpc.response.status_code", status),
            ];
            (rpc.to_owned(), attributes)
        }
        (code, _) => {
            let mut attributes = vec![
                KeyValue::new("http.request.method", end.method.to_owned()),
                KeyValue::new("http.route", route),
            ];
            attributes.extend(code.map(|code| KeyValue::new("http.response.status_code", code)));
            (format!("{} {}", end.method, end.route), attributes)
        }
    }
}

/// Records that an event of a request waited until a writer took it into a batch.
pub fn record_queue(request: &SpanContext, batch: &SpanContext, queued: Instant, taken: Instant) {
    let Some(tracer) = TRACER.get() else { return };
    let builder = tracer
        .span_builder("queue")
        .with_start_time(date(queued))
        .with_links(vec![Link::with_context(batch.clone())]);
    let mut span = tracer.build_with_context(builder, &child_of(request));
    span.end_with_timestamp(date(taken));
}

/// The span of a batch under way; it ends when this is dropped.
pub struct BatchSpan(BoxedSpan);

impl BatchSpan {
    /// A batch serves many requests: its span links to the first 128 that are recorded, and the first
    /// of them is its parent. None where none is recorded.
    pub fn begin<'a>(
        events: usize,
        requests: impl Iterator<Item = &'a SpanContext>,
    ) -> Option<Self> {
        let tracer = TRACER.get()?;
        let mut seen = Vec::<SpanId>::new();
        let mut links = Vec::new();
        for request in requests {
            if !seen.contains(&request.span_id()) {
                seen.push(request.span_id());
                links.push(Link::with_context(request.clone()));
            }
            if links.len() == MAX_LINKS {
                break;
            }
        }
        let parent = child_of(&links.first()?.span_context);
        let builder = tracer
            .span_builder("batch")
            .with_attributes([KeyValue::new("producer.events", count(events))])
            .with_links(links);
        Some(Self(tracer.build_with_context(builder, &parent)))
    }

    /// The span's context, for links.
    pub fn context(&self) -> &SpanContext {
        self.0.span_context()
    }

    /// Records an attempt to commit `events` of the batch, which ends now.
    pub fn record_commit(&self, events: usize, started: Instant, error: Option<&str>) {
        let Some(tracer) = TRACER.get() else { return };
        let builder = tracer
            .span_builder("commit")
            .with_kind(SpanKind::Client)
            .with_start_time(date(started))
            .with_attributes([KeyValue::new("producer.events", count(events))]);
        let mut span = tracer.build_with_context(builder, &child_of(self.context()));
        if let Some(error) = error {
            span.set_status(Status::error(error.to_owned()));
        }
        span.end();
    }
}

/// Records a delivery of a sink, which ends now. It is a trace of its own: the log does not keep which request sent
/// an event.
pub fn record_delivery(
    sink: &str,
    kind: &'static str,
    changes: usize,
    started: Instant,
    error: Option<&str>,
) {
    let Some(tracer) = TRACER.get() else { return };
    let builder = tracer
        .span_builder("delivery")
        .with_kind(SpanKind::Producer)
        .with_start_time(date(started))
        .with_attributes([
            KeyValue::new("producer.sink", sink.to_owned()),
            KeyValue::new("producer.sink_kind", kind),
            KeyValue::new("producer.changes", count(changes)),
        ]);
    let mut span = tracer.build_with_context(builder, &Context::new());
    if let Some(error) = error {
        span.set_status(Status::error(error.to_owned()));
    }
    span.end();
}

fn count(events: usize) -> i64 {
    i64::try_from(events).unwrap_or(i64::MAX)
}
