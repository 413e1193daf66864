//! What the ingest counts while it works.

use std::time::Duration;

use producer_telemetry::metrics::{MetricFamily, Metrics, SECONDS};
use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

use super::job::Load;
use crate::model::{Outcome, ProblemKind};

/// Bounds of the histogram of batch sizes, in events.
const EVENTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// What is waiting or under way, at one moment.
pub(super) struct Depth {
    pub(super) load: Load,
    /// Zero where nothing waits.
    pub(super) oldest_age: Duration,
}

/// The handles of the ingest's metrics.
pub(super) struct IngestMetrics {
    group: Metrics,
    outcomes: OutcomeCounters,
    /// Entity updates committed.
    pub(super) updates: IntCounter,
    queue_events: IntGauge,
    queue_bytes: IntGauge,
    oldest_age: Gauge,
    batch_events: Histogram,
    commit: Histogram,
    /// Attempts that it took to learn a batch's unknown outcome.
    pub(super) retries_unknown: IntCounter,
    /// Refused batches that were split.
    pub(super) retries_split: IntCounter,
    /// Attempts that panicked.
    pub(super) retries_panic: IntCounter,
    /// Events parked because another session held a lock.
    pub(super) retries_locked: IntCounter,
}

/// Events by their outcome.
struct OutcomeCounters {
    created: IntCounter,
    updated: IntCounter,
    duplicate: IntCounter,
    invalid: IntCounter,
    conflict: IntCounter,
    precondition_failed: IntCounter,
    refused: IntCounter,
    unknown: IntCounter,
    failed: IntCounter,
    cancelled: IntCounter,
}

impl IngestMetrics {
    pub(super) fn new() -> Self {
        let group = Metrics::default();
        let retries = group.counters(
            "producer_ingest_retries_total",
            "What had to be applied again, by reason",
            &["reason"],
        );
        let retries = |reason| retries.with_label_values(&[reason]);
        Self {
            outcomes: OutcomeCounters::new(&group),
            updates: group
                .counter("producer_entity_updates_total", "Updates of entities committed"),
            queue_events: group.gauge(
                "producer_ingest_queue_events",
                "Events that are not answered yet: waiting, or in a batch under way",
            ),
            queue_bytes: group
                .gauge("producer_ingest_queue_bytes", "Bytes of the events not answered yet"),
            oldest_age: group.fractional_gauge(
                "producer_ingest_queue_oldest_age_seconds",
                "How long the event that waits longest has waited",
            ),
            batch_events: group.histogram(
                "producer_ingest_batch_events",
                "Events in one batch that shares a commit",
                EVENTS,
            ),
            commit: group.histogram(
                "producer_ingest_commit_duration_seconds",
                "Time from sending a batch to the database until it is committed or refused",
                SECONDS,
            ),
            retries_unknown: retries("outcome_unknown"),
            retries_split: retries("split"),
            retries_panic: retries("panic"),
            retries_locked: retries("locked"),
            group,
        }
    }

    /// Counts the outcome of one event.
    pub(super) fn record(&self, outcome: &Outcome) {
        match outcome {
            Ok(receipt) if receipt.duplicate => self.outcomes.duplicate.inc(),
            Ok(receipt) if receipt.entities.iter().any(|entity| entity.created) => {
                self.outcomes.created.inc();
            }
            Ok(_) => self.outcomes.updated.inc(),
            Err(problem) => self.record_all(1, problem.kind),
        }
    }

    /// Counts several events with the same problem.
    pub(super) fn record_all(&self, events: usize, kind: ProblemKind) {
        let counter = match kind {
            ProblemKind::Conflict => &self.outcomes.conflict,
            ProblemKind::PreconditionFailed => &self.outcomes.precondition_failed,
            ProblemKind::Overloaded | ProblemKind::Unavailable => &self.outcomes.refused,
            ProblemKind::OutcomeUnknown => &self.outcomes.unknown,
            ProblemKind::Internal => &self.outcomes.failed,
            _ => &self.outcomes.invalid,
        };
        counter.inc_by(events as u64);
    }

    /// Counts events whose sender left before a writer had them.
    pub(super) fn record_cancelled(&self, events: usize) {
        self.outcomes.cancelled.inc_by(events as u64);
    }

    /// Counts one attempt to commit a batch.
    pub(super) fn record_attempt(&self, events: usize, took: Duration) {
        self.batch_events.observe(events as f64);
        self.commit.observe(took.as_secs_f64());
    }

    pub(super) fn gather(&self, depth: &Depth) -> Vec<MetricFamily> {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.queue_events.set(whole(depth.load.events));
        self.queue_bytes.set(whole(depth.load.bytes));
        self.oldest_age.set(depth.oldest_age.as_secs_f64());
        self.group.gather()
    }
}

impl OutcomeCounters {
    fn new(group: &Metrics) -> Self {
        let events = group.counters(
            "producer_events_total",
            "Events by outcome; created if one of its entities was new, cancelled if its client left before it was stored",
            &["result"],
        );
        let counter = |result| events.with_label_values(&[result]);
        Self {
            created: counter("created"),
            updated: counter("updated"),
            duplicate: counter("duplicate"),
            invalid: counter("invalid"),
            conflict: counter("conflict"),
            precondition_failed: counter("precondition_failed"),
            refused: counter("refused"),
            unknown: counter("unknown"),
            failed: counter("failed"),
            cancelled: counter("cancelled"),
        }
    }
}
