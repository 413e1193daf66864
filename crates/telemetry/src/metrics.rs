//! Counters, gauges and histograms in Prometheus' model. A handle is a few atomics: code that counts
//! keeps its handles, so that counting looks nothing up and takes no lock.

use prometheus::core::Collector;
pub use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// Bucket bounds of durations, in seconds: from a read out of memory to beyond `REQUEST_TIMEOUT`.
pub const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

const VALID: &str = "names and labels are valid constants, each registered once";

/// A group of metrics: makes them and gathers their values. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Registry);

impl Metrics {
    /// The present values of the group's metrics.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.0.gather()
    }

    /// A counter; by convention its name ends with `_total`.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.registered(IntCounter::new(name, help))
    }

    /// Counters with labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge of whole numbers.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.registered(IntGauge::new(name, help))
    }

    /// Gauges of whole numbers with labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge of fractional numbers: seconds, most often.
    pub fn fractional_gauge(&self, name: &str, help: &str) -> Gauge {
        self.registered(Gauge::new(name, help))
    }

    /// A histogram with these upper bucket bounds.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.registered(Histogram::with_opts(options))
    }

    /// Histograms with labels.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        labels: &[&str],
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.registered(HistogramVec::new(options, labels))
    }

    /// Adds a metric that was made elsewhere.
    pub fn register(&self, metric: impl Collector + 'static) {
        self.0.register(Box::new(metric)).expect(VALID);
    }

    fn registered<M: Collector + Clone + 'static>(&self, made: prometheus::Result<M>) -> M {
        let metric = made.expect(VALID);
        self.register(metric.clone());
        metric
    }
}
