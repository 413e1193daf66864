//! Sends spans to an OpenTelemetry receiver, where one is set. They are sent from a thread of its own,
//! out of a bounded queue: what it can't hold is dropped, and nobody waits.

mod post;
mod settings;

use std::time::Duration;

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use post::Poster;
use producer_telemetry::spans;
pub(crate) use settings::TraceSettings;

/// How long the end waits for the last spans to be taken.
const FLUSH: Duration = Duration::from_secs(1);

/// The way that spans go.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// From now on spans are made and sent; `None` where no receiver is set. `name` is the binary's.
    ///
    /// # Errors
    /// One line: a setting of OpenTelemetry's own that can't be used.
    pub(crate) fn start(
        settings: &TraceSettings,
        name: &'static str,
    ) -> Result<Option<Self>, String> {
        let Some(receiver) = settings.receiver() else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Poster::new(settings.timeout()))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(settings.timeout())
            .with_endpoint(&receiver)
            .build()
            .map_err(|error| error.to_string())?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(settings.service_name(), name))
            .with_sampler(settings.sampler())
            .with_batch_exporter(exporter)
            .build();
        spans::install(BoxedTracer::new(Box::new(provider.tracer("producer"))));
        tracing::info!(receiver, "traces are sent");
        Ok(Some(Self(provider)))
    }

    /// Sends what is left, for a moment.
    pub(crate) async fn stop(self) {
        let stopped =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH)).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be delivered");
        }
    }
}

/// Who sends the spans. `OTEL_RESOURCE_ATTRIBUTES` may name it too.
fn resource(service_name: Option<&str>, binary: &'static str) -> Resource {
    const NAME: Key = Key::from_static_str("service.name");
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let detected = Resource::builder().with_attribute(version);
    let known = Resource::builder().build().get_ref(&NAME).map(ToString::to_string);
    let known = known.filter(|name| !name.starts_with("unknown_service"));
    let name = service_name.map(str::to_owned).or(known);
    detected.with_service_name(name.unwrap_or_else(|| binary.to_owned())).build()
}
