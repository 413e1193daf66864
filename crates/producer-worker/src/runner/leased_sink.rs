//! A sink whose lease this worker has.

use std::sync::{Arc, Mutex, PoisonError};

use producer_core::Clock;
use producer_core::feed::Feed;
use producer_core::store::Store;
use producer_core::worker::{Control, Lease};
use tokio_util::sync::CancellationToken;

use super::lease::{Held, LeaseTimes};
use crate::config::SinkConfig;
use crate::metrics::{ConnectorMetrics, WorkerMetrics};
use crate::sink::Sink;

/// What all sinks of a worker share. Cheap to clone.
#[derive(Clone)]
pub struct SinkParts {
    /// Positions, leases and dead letters.
    pub store: Arc<dyn Store>,
    /// What is delivered.
    pub feed: Feed,
    /// Time.
    pub clock: Clock,
    /// The worker's name: no two workers have the same.
    pub worker: Arc<str>,
    /// What is counted.
    pub metrics: WorkerMetrics,
    /// How long leases last.
    pub lease_times: LeaseTimes,
}

/// A sink whose lease this worker has.
pub(super) struct LeasedSink {
    pub(super) config: Arc<SinkConfig>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) parts: SinkParts,
    pub(super) metrics: ConnectorMetrics,
    pub(super) held: Held,
    pub(super) lease: Mutex<Lease>,
    pub(super) shutdown: CancellationToken,
    /// A digest of the settings.
    pub(super) settings: String,
}

impl LeasedSink {
    pub(super) fn warn(&self, what: &str, detail: &str) {
        tracing::warn!(sink = self.config.name, detail, "{what}");
    }

    /// The lease, with the generation whose position this worker moves.
    pub(super) fn lease(&self) -> Lease {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is asked of the sink.
    pub(super) fn control(&self) -> Control {
        self.held.control().borrow().clone()
    }

    /// From now on this worker moves the position of this generation.
    pub(super) fn set_generation(&self, generation: u64) {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).generation = generation;
    }
}
