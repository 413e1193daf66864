//! OpenTelemetry's standard settings that decide whether, where and how much is sent. The SDK reads them
//! too, but from the environment alone, and falls back to a default where a value is invalid; ours may
//! be flags or lines of `.env`, and an invalid one ends the start. Those without a flag (`OTEL_BSP_…`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, …) are left to the SDK.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use http::Uri;
use opentelemetry_sdk::trace::Sampler;

/// What the command line and the environment say about traces.
#[derive(Debug, Clone, Args)]
pub struct TraceSettings {
    /// Receiver of traces (OTLP over HTTP or HTTPS), such as http://127.0.0.1:4318; unset: none are made
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = endpoint, value_name = "URL")]
    otel_exporter_otlp_endpoint: Option<Uri>,
    /// The same as a whole URL, path included
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_parser = endpoint, value_name = "URL")]
    otel_exporter_otlp_traces_endpoint: Option<Uri>,
    /// PEM file with the certificates to trust at an https:// receiver; unset: the public authorities'
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE")]
    otel_exporter_otlp_certificate: Option<PathBuf>,
    /// How traces are sent: only http/protobuf
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = "http/protobuf", value_parser = protocol, value_name = "NAME")]
    otel_exporter_otlp_protocol: String,
    /// Milliseconds that one export may take
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value = "10000", value_parser = millis, value_name = "MILLIS")]
    otel_exporter_otlp_timeout: Duration,
    /// Name of the service in its traces; unset: the binary's
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    otel_service_name: Option<String>,
    /// Which requests are traced: always_on, always_off, traceidratio, or with parentbased_ before it
    #[arg(long, env = "OTEL_TRACES_SAMPLER", default_value = "parentbased_always_on", value_parser = SamplerName::from_str, value_name = "NAME")]
    otel_traces_sampler: SamplerName,
    /// The share of requests that traceidratio traces, from 0 to 1
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1", value_parser = share, value_name = "SHARE")]
    otel_traces_sampler_arg: f64,
}

impl TraceSettings {
    /// The URL that spans are posted to; `None` where no receiver is set.
    pub(super) fn receiver(&self) -> Option<String> {
        if let Some(whole) = &self.otel_exporter_otlp_traces_endpoint {
            return Some(whole.to_string());
        }
        let base = self.otel_exporter_otlp_endpoint.as_ref()?.to_string();
        Some(format!("{}/v1/traces", base.trim_end_matches('/')))
    }

    pub(super) fn timeout(&self) -> Duration {
        self.otel_exporter_otlp_timeout
    }

    /// The PEM file of `OTEL_EXPORTER_OTLP_CERTIFICATE`.
    pub(super) fn certificate(&self) -> Option<&Path> {
        self.otel_exporter_otlp_certificate.as_deref()
    }

    pub(super) fn service_name(&self) -> Option<&str> {
        self.otel_service_name.as_deref()
    }

    pub(super) fn sampler(&self) -> Sampler {
        let SamplerName { parent_based, root } = self.otel_traces_sampler;
        let root = match root {
            RootSampler::AlwaysOn => Sampler::AlwaysOn,
            RootSampler::AlwaysOff => Sampler::AlwaysOff,
            RootSampler::Ratio => Sampler::TraceIdRatioBased(self.otel_traces_sampler_arg),
        };
        if parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
    }
}

/// Whether the caller's decision holds, and what decides where there is no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SamplerName {
    parent_based: bool,
    root: RootSampler,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RootSampler {
    AlwaysOn,
    AlwaysOff,
    Ratio,
}

impl FromStr for SamplerName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (parent_based, root) = match text.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, text),
        };
        let root = match root {
            "always_on" => RootSampler::AlwaysOn,
            "always_off" => RootSampler::AlwaysOff,
            "traceidratio" => RootSampler::Ratio,
            _ => {
                return Err("allowed is always_on, always_off or traceidratio, \
                            or one of them after parentbased_");
            }
        };
        Ok(Self { parent_based, root })
    }
}

fn endpoint(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok();
    let known = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    uri.filter(|uri| known(uri) && uri.host().is_some())
        .ok_or_else(|| "allowed is a URL such as http://127.0.0.1:4318 or https://host:4318".into())
}

fn protocol(text: &str) -> Result<String, String> {
    match text {
        "http/protobuf" => Ok(text.to_owned()),
        _ => Err("allowed is http/protobuf".into()),
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    let millis = text.parse().ok().filter(|millis| (1..=3_600_000).contains(millis));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "allowed is a whole number of milliseconds from 1 to 3600000".into())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "allowed is a number from 0 to 1".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        traces: TraceSettings,
    }

    fn settings(flags: &[&str]) -> TraceSettings {
        Cli::parse_from(["producer"].iter().chain(flags)).traces
    }

    #[test]
    fn the_receiver_is_the_endpoint_with_the_standard_path() {
        assert_eq!(settings(&[]).receiver(), None);
        for base in ["http://collector:4318", "http://collector:4318/"] {
            let set = settings(&["--otel-exporter-otlp-endpoint", base]);
            assert_eq!(set.receiver().as_deref(), Some("http://collector:4318/v1/traces"));
        }
        let whole = ["--otel-exporter-otlp-traces-endpoint", "http://collector:4318/in"];
        assert_eq!(settings(&whole).receiver().as_deref(), Some("http://collector:4318/in"));
    }

    #[test]
    fn samplers_are_named_as_the_standard_does() {
        let named = |name| settings(&["--otel-traces-sampler", name]).sampler();
        assert!(matches!(settings(&[]).sampler(), Sampler::ParentBased(_)));
        assert!(matches!(named("always_off"), Sampler::AlwaysOff));
        assert!(matches!(named("traceidratio"), Sampler::TraceIdRatioBased(1.0)));
        assert!("xray".parse::<SamplerName>().is_err() && share("1.5").is_err());
        assert!(share("NaN").is_err());
    }

    #[test]
    fn an_endpoint_is_a_url_of_http_or_https() {
        assert!(endpoint("http://collector:4318").is_ok());
        assert!(endpoint("https://collector").is_ok());
        for invalid in ["collector:4318", "ftp://collector", "/v1/traces", ""] {
            assert!(endpoint(invalid).is_err_and(|e| e.contains("https://")), "{invalid}");
        }
    }
}
