//! What the feed counts.

use producer_telemetry::metrics::{MetricFamily, Metrics};
use prometheus::{Gauge, IntCounter, IntGauge};

/// How a reader gets its changes; a label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderKind {
    /// Pages, also those that are waited for.
    Page,
    /// Server-sent events.
    Sse,
    /// Lines of JSON.
    Ndjson,
    /// A stream of gRPC.
    Grpc,
    /// A sink of a worker.
    Sink,
}

impl ReaderKind {
    const ALL: [Self; 5] = [Self::Page, Self::Sse, Self::Ndjson, Self::Grpc, Self::Sink];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Sse => "sse",
            Self::Ndjson => "ndjson",
            Self::Grpc => "grpc",
            Self::Sink => "sink",
        }
    }
}

/// The handles of one kind of reader.
#[derive(Debug, Clone)]
pub(super) struct ReaderMetrics {
    pub(super) readers: IntGauge,
    pub(super) sent: IntCounter,
}

/// The feed's handles.
#[derive(Debug)]
pub(super) struct FeedMetrics {
    readers: [ReaderMetrics; 5],
    pub(super) lag: Gauge,
    pub(super) oldest_writer: Gauge,
    group: Metrics,
}

impl FeedMetrics {
    pub(super) fn new() -> Self {
        let group = Metrics::default();
        let readers = group.gauges(
            "producer_change_readers",
            "Readers of the change feed: streams, and pages under way",
            &["form"],
        );
        let sent = group.counters(
            "producer_changes_sent_total",
            "Changes and snapshots sent to readers of the change feed",
            &["form"],
        );
        let of = |kind: ReaderKind| ReaderMetrics {
            readers: readers.with_label_values(&[kind.as_str()]),
            sent: sent.with_label_values(&[kind.as_str()]),
        };
        Self {
            readers: ReaderKind::ALL.map(of),
            lag: group.fractional_gauge(
                "producer_change_lag_seconds",
                "How long ago the end of the log was known to be read; 0 without readers",
            ),
            oldest_writer: group.fractional_gauge(
                "producer_change_oldest_writer_seconds",
                "Age of the oldest open transaction that has written to the log, while readers wait for it",
            ),
            group,
        }
    }

    pub(super) fn of(&self, kind: ReaderKind) -> &ReaderMetrics {
        &self.readers[kind as usize]
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.group.gather()
    }
}
