//! What sources work with.

use std::sync::Arc;

use producer_core::store::Store;
use producer_core::{Clock, Ingest};

use crate::metrics::WorkerMetrics;
use crate::runner::lease::LeaseTimes;

/// What all sources of a worker share. Cheap to clone.
#[derive(Clone)]
pub struct SourceParts {
    /// Leases and dead letters.
    pub store: Arc<dyn Store>,
    /// Where events go.
    pub ingest: Ingest,
    /// Time.
    pub clock: Clock,
    /// The worker's name: no two workers have the same.
    pub worker: Arc<str>,
    /// What is counted.
    pub metrics: WorkerMetrics,
    /// How long leases last.
    pub lease_times: LeaseTimes,
    /// `MAX_BODY_BYTES`: a larger message is a dead letter.
    pub max_body_bytes: usize,
}
