//! Sends spans to an OpenTelemetry receiver, where one is set. They are sent by a thread of their own
//! from a bounded queue: what it can't hold is dropped, and no request waits.

mod otlp_client;
mod settings;

use std::time::Duration;

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use otlp_client::OtlpClient;
use producer_telemetry::spans;
pub use settings::TraceSettings;

/// How long a stop waits until the last spans are sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes and sends spans, until [`Traces::stop`].
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to make and send spans; `None` where no receiver is set. `name` is the binary's.
    ///
    /// # Errors
    /// One line: an invalid setting.
    pub fn start(settings: &TraceSettings, name: &'static str) -> Result<Option<Self>, String> {
        let Some(receiver) = settings.receiver() else { return Ok(None) };
        let client = OtlpClient::new(settings.timeout(), settings.certificate())?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
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
        tracing::info!(receiver, "sending traces");
        Ok(Some(Self(provider)))
    }

    /// Sends the spans that are left, for up to a second.
    pub async fn stop(self) {
        let stopped =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
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
