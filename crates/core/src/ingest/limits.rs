//! Limits of the queue.

use std::time::Duration;

/// Limits of the queue, from the settings of the same names.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `INGEST_QUEUE_EVENTS`
    pub queue_events: usize,
    /// `INGEST_QUEUE_BYTES`
    pub queue_bytes: usize,
    /// `INGEST_QUEUE_AGE`
    pub queue_age: Duration,
    /// `REQUEST_TIMEOUT`
    pub request_timeout: Duration,
    /// `LOG_PROGRESS_EVERY`
    pub log_progress_every: u64,
}
