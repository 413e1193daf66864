//! Measurements, as JSON on disk, and their medians.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::meter::{Admission, Latency, Preconditions};
use crate::report::{Block, Document, Section, Table, to_html, to_markdown};

pub(crate) mod table;
#[cfg(test)]
mod tests;

/// The measurements of one or more runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Where and how it was measured: names with values.
    pub(crate) facts: Vec<(String, String)>,
    /// One for each cell and round, in the order of time.
    pub(crate) measurements: Vec<Measurement>,
}

/// One cell in one round.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The cell's name.
    pub(crate) cell: String,
    /// When its run began. Only measurements of one run are comparable.
    pub(crate) run: String,
    /// From 1.
    pub(crate) round: u32,
    /// Events (COPY: rows; entities: requests) acknowledged in the measured time.
    pub(crate) events: u64,
    /// The measured time.
    pub(crate) seconds: f64,
    /// Events divided by seconds.
    pub(crate) events_per_second: f64,
    /// Of requests; COPY has none.
    pub(crate) latency_us: Option<Latency>,
    /// CPU microseconds per event.
    pub(crate) cpu_us: Cpu,
    /// How many times its best time the machine needed for a fixed piece of work, before or after
    /// the measured time.
    pub(crate) slowdown: Option<f64>,
    /// The service's peak memory since its start.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// The latency of the slowest request. Of finding only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slowest_us: Option<f64>,
    /// Of the cells with conditional writes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) preconditions: Option<Preconditions>,
    /// Overload only: connections, or concurrent calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<usize>,
    /// Overload only: the rate of the arrivals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offered_per_second: Option<f64>,
    /// Overload only: what was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admission: Option<Admission>,
    /// Why the measurement is invalid, where it is.
    pub(crate) error: Option<String>,
}

/// CPU microseconds per event (user and system) by process; SQLite's are the service's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) service: Option<f64>,
    pub(crate) database: Option<f64>,
    pub(crate) generator: Option<f64>,
}

/// A cell over its rounds: medians, and the maximum of the memory peaks and of the slowest requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    pub(crate) rounds: usize,
    pub(crate) events_per_second: f64,
    /// The slowest and the fastest round.
    pub(crate) range: (f64, f64),
    pub(crate) latency_us: Option<Latency>,
    /// Of all rounds.
    pub(crate) slowest_us: Option<f64>,
    pub(crate) cpu_us: Cpu,
    /// The machine's slowdown; 1 is full speed.
    pub(crate) slowdown: Option<f64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    /// The sums over the rounds.
    pub(crate) preconditions: Option<Preconditions>,
    /// The first error of any round.
    pub(crate) error: Option<String>,
    /// The runs that measured it.
    pub(crate) runs: Vec<String>,
}

impl Results {
    /// Reads a file. Empty where there is none, or one of an older format.
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes `path` with the extensions `json`, `md` and `html`: the measurements, and their report.
    pub(crate) fn write(&self, path: &Path, report: &Document) -> Result<()> {
        write_atomically(&path.with_extension("json"), &serde_json::to_vec_pretty(self)?)?;
        write_atomically(&path.with_extension("md"), to_markdown(report).as_bytes())?;
        write_atomically(&path.with_extension("html"), to_html(report)?.as_bytes())
    }

    /// Renders the report of existing results again.
    ///
    /// # Errors
    /// There are none at `path`, or the report can't be written.
    pub(crate) fn render(path: &Path, report: impl Fn(&Self) -> Document) -> Result<()> {
        let results = Self::read(path);
        if results.measurements.is_empty() {
            return Err(format!("{} has no results", path.display()).into());
        }
        results.write(&path.with_extension(""), &report(&results))
    }

    /// A section with the errors; `None` where there are none.
    pub(crate) fn errors(&self) -> Option<Section> {
        let mut table = Table::new(["cell", "error"]);
        for measured in &self.measurements {
            if let Some(error) = &measured.error {
                table
                    .rows
                    .push(vec![measured.cell.clone().into(), error.replace('\n', " ").into()]);
            }
        }
        (!table.rows.is_empty()).then(|| Section::new("Errors", [Block::Table(table)]))
    }

    /// Whether a measurement failed.
    pub(crate) fn has_errors(&self) -> bool {
        self.measurements.iter().any(|measurement| measurement.error.is_some())
    }

    /// Removes a cell, before it is measured again.
    pub(crate) fn remove(&mut self, cell: &str) {
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

impl Summary {
    /// One of its latencies.
    pub(crate) fn milliseconds(&self, value: fn(&Latency) -> f64) -> Option<f64> {
        Some(value(&self.latency_us?) / 1e3)
    }
}

fn summary(rounds: &[&Measurement]) -> Summary {
    let valid: Vec<_> = rounds.iter().filter(|round| round.error.is_none()).collect();
    let median_of = |value: &dyn Fn(&Measurement) -> Option<f64>| {
        median(valid.iter().filter_map(|round| value(round)).collect())
    };
    let rates = || valid.iter().map(|round| round.events_per_second);
    let latency =
        |value: &dyn Fn(&Latency) -> f64| median_of(&|round| round.latency_us.as_ref().map(value));
    let latencies = || {
        Some(Latency {
            p50: latency(&|l| l.p50)?,
            p90: latency(&|l| l.p90)?,
            p99: latency(&|l| l.p99)?,
            p999: latency(&|l| l.p999)?,
        })
    };
    let mut runs: Vec<_> = rounds.iter().map(|round| round.run.clone()).collect();
    runs.dedup();
    Summary {
        rounds: valid.len(),
        events_per_second: median_of(&|round| Some(round.events_per_second)).unwrap_or_default(),
        range: (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max)),
        latency_us: latencies(),
        slowest_us: valid.iter().filter_map(|round| round.slowest_us).reduce(f64::max),
        cpu_us: Cpu {
            service: median_of(&|round| round.cpu_us.service),
            database: median_of(&|round| round.cpu_us.database),
            generator: median_of(&|round| round.cpu_us.generator),
        },
        slowdown: median_of(&|round| round.slowdown),
        peak_memory_bytes: valid.iter().filter_map(|round| round.peak_memory_bytes).max(),
        preconditions: valid
            .iter()
            .filter_map(|round| round.preconditions)
            .reduce(|a, b| Preconditions { met: a.met + b.met, failed: a.failed + b.failed }),
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

/// Writes another file and renames it, so that a reader sees the old content or the new.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes)?;
    std::fs::rename(new, path)?;
    Ok(())
}
