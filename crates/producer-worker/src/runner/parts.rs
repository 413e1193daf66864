//! What connectors work with.

use std::sync::Arc;

use producer_core::feed::Feed;
use producer_core::store::Store;
use producer_core::{Clock, Ingest};

use super::lease::LeaseTimes;
use crate::metrics::WorkerMetrics;

/// What all connectors of a worker share. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// Entities, positions, leases, dead letters.
    pub store: Arc<dyn Store>,
    /// What sinks deliver. It must go on for as long as they run.
    pub feed: Feed,
    /// What sources bring goes there.
    pub ingest: Ingest,
    /// Time.
    pub clock: Clock,
    /// The worker's name: no two workers have the same.
    pub worker: Arc<str>,
    /// What is counted.
    pub metrics: WorkerMetrics,
    /// How long leases last.
    pub lease_times: LeaseTimes,
    /// `MAX_BODY_BYTES`: a larger message of a source is a dead letter.
    pub max_body_bytes: usize,
}
