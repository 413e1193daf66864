//! What the worker counts, for each connector.

use producer_core::worker::{Breaker, Connector, Report, Role};
use producer_telemetry::metrics::{MetricFamily, Metrics, SECONDS};
use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};

/// Bucket bounds of the changes of one delivery.
const CHANGES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const LABELS: &[&str] = &["role", "connector"];

/// The families of all connectors. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    delivered: IntCounterVec,
    retried: IntCounterVec,
    dead: IntCounterVec,
    lag_changes: IntGaugeVec,
    lag_seconds: GaugeVec,
    breaker: IntGaugeVec,
    dead_letters: IntGaugeVec,
    assigned: IntGaugeVec,
    batch: HistogramVec,
    seconds: HistogramVec,
    group: Metrics,
}

/// The handles of one connector.
#[derive(Debug, Clone)]
pub struct ConnectorMetrics {
    /// Changes that the target has acknowledged; of a source events that are committed.
    pub delivered: IntCounter,
    /// Changes whose delivery failed and is tried again; of a source events.
    pub retried: IntCounter,
    /// What became a dead letter.
    pub dead: IntCounter,
    /// Changes of a delivery, or messages that were received at once.
    pub batch: Histogram,
    /// How long a delivery takes.
    pub seconds: Histogram,
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        let group = Metrics::default();
        let counters = |name, help| group.counters(name, help, LABELS);
        let gauges = |name, help| group.gauges(name, help, LABELS);
        let lag_seconds = GaugeVec::new(
            Opts::new(
                "producer_connector_lag_seconds",
                "How long ago the first change was committed that a sink has not delivered, or the first message \
                 sent that a source has not settled",
            ),
            LABELS,
        );
        #[expect(clippy::expect_used, reason = "name and labels are valid constants")]
        let lag_seconds = lag_seconds.expect("a valid family");
        group.register(lag_seconds.clone());
        Self {
            delivered: counters(
                "producer_connector_delivered_total",
                "Changes that a sink's target has acknowledged; events of a source that are committed",
            ),
            retried: counters(
                "producer_connector_retried_total",
                "Changes or events that failed and are tried again",
            ),
            dead: counters("producer_connector_dead_total", "Changes or messages that became dead letters"),
            lag_changes: gauges(
                "producer_connector_lag_changes",
                "Changes, at most, that a sink has not delivered; messages that a source has not settled",
            ),
            breaker: gauges(
                "producer_connector_breaker",
                "The circuit breaker of a sink: 0 closed, 1 half-open, 2 open",
            ),
            dead_letters: gauges(
                "producer_connector_dead_letters",
                "Dead letters of a connector, and changes that wait behind one; at most 10,001 are counted",
            ),
            assigned: gauges("producer_connector_assigned", "1 where a worker runs the connector, else 0"),
            batch: group.histograms(
                "producer_connector_batch_changes",
                "Changes of one delivery of a sink; messages that a source received at once",
                CHANGES,
                LABELS,
            ),
            seconds: group.histograms(
                "producer_connector_delivery_seconds",
                "How long one delivery of a sink takes; how long a source's messages take until they are committed",
                SECONDS,
                LABELS,
            ),
            lag_seconds,
            group,
        }
    }
}

impl WorkerMetrics {
    /// The present values.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.group.gather()
    }

    /// The handles of a connector. Its counters are there from now on.
    pub fn of(&self, role: Role, name: &str) -> ConnectorMetrics {
        let labels = &[role.as_str(), name];
        ConnectorMetrics {
            delivered: self.delivered.with_label_values(labels),
            retried: self.retried.with_label_values(labels),
            dead: self.dead.with_label_values(labels),
            batch: self.batch.with_label_values(labels),
            seconds: self.seconds.with_label_values(labels),
        }
    }

    /// Takes over what the database says of a connector.
    pub fn show(&self, connector: &Connector) {
        let labels = &[connector.role.as_str(), connector.name.as_str()];
        let Report { breaker, waiting, waiting_seconds, .. } = &connector.report;
        let (changes, seconds) = match connector.lag {
            Some(lag) => (lag.changes, lag.age.as_secs_f64()),
            None => (waiting.unwrap_or(0), waiting_seconds.unwrap_or(0.0)),
        };
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.lag_changes.with_label_values(labels).set(gauge(changes));
        self.lag_seconds.with_label_values(labels).set(seconds);
        self.dead_letters.with_label_values(labels).set(gauge(connector.dead_letters));
        self.assigned.with_label_values(labels).set(i64::from(connector.worker.is_some()));
        let breaker = match breaker {
            Breaker::Closed => 0,
            Breaker::HalfOpen => 1,
            Breaker::Open => 2,
        };
        self.breaker.with_label_values(labels).set(breaker);
    }
}
