//! What a worker says of a connector that it runs.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a worker says of a connector, every second. The database keeps it as JSON, in which members that
/// another release does not know are passed over.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Report {
    /// Whether a delivery failed and is tried again.
    pub retrying: bool,
    /// Whether nothing more was there.
    pub caught_up: bool,
    /// What it can't get past at the moment.
    pub current: Option<Current>,
    /// What failed last.
    pub last_error: Option<LastError>,
    /// Whether it sends at all.
    pub breaker: Breaker,
    /// A digest of its settings in the worker's file: another one means that two workers have different files.
    pub settings: Option<String>,
    /// Of a source: messages that wait for it, where its kind can tell.
    pub waiting: Option<u64>,
    /// Of a source: seconds since the first of them was sent, where its kind can tell.
    pub waiting_seconds: Option<f64>,
}

/// A change that is tried again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Current {
    /// The token that goes on behind it; of a source the message's place.
    pub token: String,
    /// Its entity.
    pub entity_type: String,
    /// Its entity.
    pub entity_id: String,
    /// How often it was tried.
    pub tries: u32,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When, in microseconds since 1970.
    pub at_micros: i64,
    /// What failed, in one sentence without secrets.
    pub detail: String,
}

impl LastError {
    /// A failure at this time.
    pub fn new(at: Timestamp, detail: impl Into<String>) -> Self {
        Self { at_micros: at.micros(), detail: detail.into() }
    }

    /// When.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at_micros)
    }
}

/// A circuit breaker's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaker {
    /// It sends.
    #[default]
    Closed,
    /// It waits after failures.
    Open,
    /// One delivery is tried.
    HalfOpen,
}

impl Breaker {
    /// As answers have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}
