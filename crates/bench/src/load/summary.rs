//! The counts of k6, as `load-test/lib/summary.js` writes them.

use std::path::Path;

use serde::Deserialize;

use crate::Result;
use crate::report::thousands;

/// A run of k6.
#[derive(Debug, Deserialize)]
pub(super) struct Summary {
    /// When its first phase began, in Unix milliseconds.
    pub(super) started: i64,
    /// Its phases in their order.
    pub(super) phases: Vec<Phase>,
    /// All phases together by operation; empty where only events are sent.
    pub(super) operations: Vec<Operation>,
    /// The requests of all phases.
    pub(super) total: Counts,
    /// The thresholds that were crossed.
    pub(super) crossed: Vec<String>,
}

/// A phase: some users, or a rate, for some seconds.
#[derive(Debug, Deserialize)]
pub(super) struct Phase {
    pub(super) name: String,
    pub(super) users: Option<f64>,
    pub(super) rate: Option<f64>,
    /// The payload's label: `400`, `4KiB`, `mixed`.
    pub(super) size: String,
    /// Its duration.
    pub(super) seconds: f64,
    /// When it began, in seconds from the first phase.
    pub(super) start: f64,
    /// Whether it varies the payload size.
    #[serde(rename = "bySize", default)]
    pub(super) by_size: bool,
    #[serde(flatten)]
    pub(super) counts: Counts,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

/// The requests of one kind.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) counts: Counts,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

/// Latency in milliseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// Requests by their outcome.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Counts {
    pub(super) sent: u64,
    /// Accepted as new.
    pub(super) new: u64,
    /// Accepted as a duplicate.
    pub(super) duplicate: u64,
    /// Answered, and nothing is stored for it.
    pub(super) read: u64,
    /// The service says that nothing was stored.
    pub(super) refused: u64,
    /// Neither accepted nor refused: they may be stored.
    pub(super) unknown: u64,
    /// OK with the wrong content; included in `unknown`.
    pub(super) wrong: u64,
    /// Not sent, because all users were waiting.
    pub(super) dropped: u64,
}

impl Summary {
    pub(super) fn read(file: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(file)?)?)
    }
}

impl Phase {
    /// Its name in the report.
    pub(super) fn label(&self) -> String {
        match (self.users, self.rate) {
            _ if self.by_size && self.size.ends_with('B') => self.size.clone(),
            _ if self.by_size => format!("{} B", self.size),
            (Some(users), _) if !self.name.starts_with("part") => {
                format!("{} users", thousands(users))
            }
            (_, Some(rate)) => format!("{} events/s offered", thousands(rate)),
            _ => self.name.clone(),
        }
    }

    /// Accepted requests per second.
    pub(super) fn throughput(&self) -> f64 {
        self.counts.accepted() as f64 / self.seconds
    }
}

impl Counts {
    /// New events, duplicates and reads.
    pub(super) fn accepted(&self) -> u64 {
        self.new + self.duplicate + self.read
    }

    /// The share that was not accepted, of what should have been sent.
    pub(super) fn failed(&self) -> f64 {
        let wanted = self.sent + self.dropped;
        if wanted == 0 { 0.0 } else { 1.0 - self.accepted() as f64 / wanted as f64 }
    }
}
