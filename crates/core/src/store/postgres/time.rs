//! Moments as PostgreSQL has them.

use chrono::{DateTime, Utc};

use crate::model::Timestamp;

/// PostgreSQL's time of a moment. Every [`Timestamp`] of an event is within chrono's range.
pub fn to_pg(moment: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(moment.micros()).unwrap_or_default()
}

/// The moment of PostgreSQL's time.
pub fn from_pg(moment: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(moment.timestamp_micros())
}
