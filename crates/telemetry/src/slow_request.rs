//! The log line of a slow request.

use super::log_rate::LogRate;
use super::stopwatch::{Part, Parts, RequestEnd, millis};

static RATE: LogRate = LogRate::new();

/// Logs a slow request and where its time went.
pub(crate) fn log(end: &RequestEnd<'_>, parts: &Parts) {
    let Some(omitted) = RATE.try_log() else { return };
    tracing::warn!(
        method = end.method,
        route = end.route,
        status = end.status,
        duration_ms = millis(end.took),
        body_ms = parts.millis(Part::Body),
        queue_ms = parts.millis(Part::Queue),
        database_ms = parts.millis(Part::Database),
        rest_ms = parts.millis(Part::Rest),
        omitted,
        "slow request"
    );
}
