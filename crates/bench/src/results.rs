//! What was measured, as JSON on disk, and its medians.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::meter::{Admission, Latency};

#[cfg(test)]
mod tests;

/// Everything that runs have measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Where and how: names with values.
    pub(crate) facts: Vec<(String, String)>,
    /// One for each cell of each round, in the order in which they were taken.
    pub(crate) measurements: Vec<Measurement>,
}

/// One cell in one round.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The cell's name.
    pub(crate) cell: String,
    /// When its run began: what one run measured may be compared.
    pub(crate) run: String,
    /// From 1.
    pub(crate) round: u32,
    /// Events (COPY: rows) answered in the measured time.
    pub(crate) events: u64,
    /// The measured time.
    pub(crate) seconds: f64,
    /// Both in one.
    pub(crate) events_per_second: f64,
    /// Of requests; of COPY none.
    pub(crate) latency_us: Option<Latency>,
    /// CPU microseconds an event.
    pub(crate) cpu_us: Cpu,
    /// How many times as long as at its best the machine took for a fixed piece of work, before or
    /// after the measured time.
    pub(crate) pace: Option<f64>,
    /// The most memory that the service held, from its start on.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// What it held at the end of the measured time, still under load.
    pub(crate) memory_bytes: Option<u64>,
    /// Of an overload: connections, or calls at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<usize>,
    /// Of an overload: the rate at which requests were due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offered_per_second: Option<f64>,
    /// Of an overload: what was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admission: Option<Admission>,
    /// Why the figures are worth nothing, if they are not.
    pub(crate) error: Option<String>,
}

/// CPU microseconds an event (user and system) by who took them; SQLite's are the service's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) service: Option<f64>,
    pub(crate) database: Option<f64>,
    pub(crate) generator: Option<f64>,
}

/// A cell over its rounds: medians, and the largest peak of memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    pub(crate) rounds: usize,
    pub(crate) events_per_second: f64,
    /// The slowest and the fastest round.
    pub(crate) range: (f64, f64),
    pub(crate) latency_us: Option<Latency>,
    pub(crate) cpu_us: Cpu,
    /// The machine's pace, 1 being its best.
    pub(crate) pace: Option<f64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    /// The first error of any round.
    pub(crate) error: Option<String>,
    /// The runs that it was measured in.
    pub(crate) runs: Vec<String>,
}

impl Results {
    /// What is on disk; nothing if there is nothing, or if an older form stands there.
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes the file anew; whoever reads it sees the old one or the new one.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        write_whole(path, &serde_json::to_vec_pretty(self)?)
    }

    /// Forgets a cell, which is going to be measured again.
    pub(crate) fn forget(&mut self, cell: &str) {
        self.measurements.retain(|measurement| measurement.cell != cell);
    }

    /// Every cell by name, over its rounds.
    pub(crate) fn summaries(&self) -> BTreeMap<&str, Summary> {
        let mut cells = BTreeMap::<&str, Vec<&Measurement>>::new();
        for measurement in &self.measurements {
            cells.entry(&measurement.cell).or_default().push(measurement);
        }
        cells.into_iter().map(|(cell, rounds)| (cell, summary(&rounds))).collect()
    }
}

fn summary(rounds: &[&Measurement]) -> Summary {
    let good: Vec<_> = rounds.iter().filter(|round| round.error.is_none()).collect();
    let of = |value: &dyn Fn(&Measurement) -> Option<f64>| {
        median(good.iter().filter_map(|round| value(round)).collect())
    };
    let rates = || good.iter().map(|round| round.events_per_second);
    let latency =
        |value: &dyn Fn(&Latency) -> f64| of(&|round| round.latency_us.as_ref().map(value));
    let latencies = || {
        Some(Latency {
            mean: latency(&|l| l.mean)?,
            p50: latency(&|l| l.p50)?,
            p90: latency(&|l| l.p90)?,
            p99: latency(&|l| l.p99)?,
            p999: latency(&|l| l.p999)?,
            max: latency(&|l| l.max)?,
        })
    };
    let mut runs: Vec<_> = rounds.iter().map(|round| round.run.clone()).collect();
    runs.dedup();
    Summary {
        rounds: good.len(),
        events_per_second: of(&|round| Some(round.events_per_second)).unwrap_or_default(),
        range: (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max)),
        latency_us: latencies(),
        cpu_us: Cpu {
            service: of(&|round| round.cpu_us.service),
            database: of(&|round| round.cpu_us.database),
            generator: of(&|round| round.cpu_us.generator),
        },
        pace: of(&|round| round.pace),
        peak_memory_bytes: good.iter().filter_map(|round| round.peak_memory_bytes).max(),
        error: rounds.iter().find_map(|round| round.error.clone()),
        runs,
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// Writes a file by way of another name.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes)?;
    std::fs::rename(new, path)?;
    Ok(())
}
