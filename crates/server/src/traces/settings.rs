//! OpenTelemetry's standard settings, as far as they decide whether, where and how much. The rest
//! (`OTEL_BSP_…`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, …) the library reads out of
//! the environment.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use http::Uri;
use opentelemetry_sdk::trace::Sampler;

/// What the command line and the environment say about traces.
#[derive(Debug, Clone, Args)]
pub(crate) struct TraceSettings {
    /// Receiver of traces (OTLP over HTTP), such as http://127.0.0.1:4318; unset: none are made
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = endpoint, value_name = "URL")]
    otel_exporter_otlp_endpoint: Option<Uri>,
    /// The same as a whole URL, path included
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_parser = endpoint, value_name = "URL")]
    otel_exporter_otlp_traces_endpoint: Option<Uri>,
    /// How traces are sent: http/protobuf alone
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = "http/protobuf", value_parser = protocol, value_name = "NAME")]
    otel_exporter_otlp_protocol: String,
    /// Milliseconds that sending may take
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value = "10000", value_parser = millis, value_name = "MILLIS")]
    otel_exporter_otlp_timeout: Duration,
    /// The name that traces come under; unset: the binary's
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    otel_service_name: Option<String>,
    /// Which requests are traced: always_on, always_off, traceidratio, or with parentbased_ before it
    #[arg(long, env = "OTEL_TRACES_SAMPLER", default_value = "parentbased_always_on", value_parser = SamplerName::from_str, value_name = "NAME")]
    otel_traces_sampler: SamplerName,
    /// The share that traceidratio takes
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1", value_parser = share, value_name = "SHARE")]
    otel_traces_sampler_arg: f64,
}

impl TraceSettings {
    /// Where spans go.
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

    pub(super) fn service_name(&self) -> Option<&str> {
        self.otel_service_name.as_deref()
    }

    pub(super) fn sampler(&self) -> Sampler {
        let SamplerName { follows_caller, own } = self.otel_traces_sampler;
        let own = match own {
            Own::On => Sampler::AlwaysOn,
            Own::Off => Sampler::AlwaysOff,
            Own::Ratio => Sampler::TraceIdRatioBased(self.otel_traces_sampler_arg),
        };
        if follows_caller { Sampler::ParentBased(Box::new(own)) } else { own }
    }
}

/// Whether the caller's decision is followed, and what is decided where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SamplerName {
    follows_caller: bool,
    own: Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    On,
    Off,
    Ratio,
}

impl FromStr for SamplerName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (follows_caller, own) = match text.strip_prefix("parentbased_") {
            Some(own) => (true, own),
            None => (false, text),
        };
        let own = match own {
            "always_on" => Own::On,
            "always_off" => Own::Off,
            "traceidratio" => Own::Ratio,
            _ => {
                return Err("allowed is always_on, always_off or traceidratio, \
                            or one of them after parentbased_");
            }
        };
        Ok(Self { follows_caller, own })
    }
}

fn endpoint(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok();
    uri.filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some())
        .ok_or_else(|| "allowed is a URL such as http://127.0.0.1:4318, without TLS".into())
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
    struct Line {
        #[command(flatten)]
        traces: TraceSettings,
    }

    fn settings(flags: &[&str]) -> TraceSettings {
        Line::parse_from(["producer"].iter().chain(flags)).traces
    }

    #[test]
    fn the_receiver_is_the_endpoint_and_the_standard_path() {
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
        let of = |name| settings(&["--otel-traces-sampler", name]).sampler();
        assert!(matches!(settings(&[]).sampler(), Sampler::ParentBased(_)));
        assert!(matches!(of("always_off"), Sampler::AlwaysOff));
        assert!(matches!(of("traceidratio"), Sampler::TraceIdRatioBased(1.0)));
        assert!("xray".parse::<SamplerName>().is_err() && share("1.5").is_err());
        assert!(share("NaN").is_err() && endpoint("collector:4318").is_err());
    }
}
