//! The performance targets: ratios of medians, each with a required value and a goal beyond it.

use std::collections::BTreeMap;

use crate::report::{Cell, Table, Tone, number};
use crate::results::Summary;

#[cfg(test)]
mod tests;

/// Shown instead of a value.
const NOT_MEASURED: &str = "–";
const MIB: f64 = (1 << 20) as f64;

/// The bounds of a target.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Whether higher is better.
    higher: bool,
    required: Option<f64>,
    goal: Option<f64>,
}

impl Bounds {
    const fn at_least(required: f64, goal: f64) -> Self {
        Self { higher: true, required: Some(required), goal: Some(goal) }
    }

    const fn at_most(required: f64, goal: f64) -> Self {
        Self { higher: false, required: Some(required), goal: Some(goal) }
    }

    fn allow(self, measured: f64, bound: f64) -> bool {
        if self.higher { measured >= bound } else { measured <= bound }
    }
}

/// One row of the table.
struct Target {
    name: &'static str,
    against: &'static str,
    /// The suffix of its values: `1.5×`, `64 MiB`.
    unit: &'static str,
    bounds: Bounds,
    /// The cells that it is computed from.
    cells: Vec<&'static str>,
    measured: Option<f64>,
}

/// Cells over their rounds, by name.
pub(super) type Summaries<'a> = BTreeMap<&'a str, Summary>;

/// The table of targets with the measured values.
pub(super) fn table(cells: &Summaries<'_>) -> Table {
    let mut table = Table::new(["cell", "compared with", "required", "goal", "measured", "result"]);
    table.rows = all(cells).iter().map(|target| target.row(cells)).collect();
    table
}

/// The targets that were measured, for the terminal.
pub(super) fn to_text(cells: &Summaries<'_>) -> String {
    let table = table(cells);
    let measured = table.rows.iter().filter(|row| row[4].text != NOT_MEASURED);
    let lines = measured.map(|row| {
        let [name, other, required, measured, result] = [0, 1, 2, 4, 5].map(|at| &row[at].text);
        format!("{name:<40} {other:<30} {required:>10} {measured:>10}  {result}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Events per second of the best pgbench cell on these keys.
pub(super) fn best_pgbench(cells: &Summaries<'_>, keys: &str) -> Option<f64> {
    let rate = |clients: &str| rate(cells, &format!("pgbench-{clients}{keys}"));
    [rate("8"), rate("32")].into_iter().flatten().reduce(f64::max)
}

fn valid<'c>(cells: &'c Summaries<'_>, name: &str) -> Option<&'c Summary> {
    cells.get(name).filter(|summary| summary.rounds > 0 && summary.error.is_none())
}

fn rate(cells: &Summaries<'_>, name: &str) -> Option<f64> {
    Some(valid(cells, name)?.events_per_second)
}

fn all(cells: &Summaries<'_>) -> Vec<Target> {
    [against_pgbench(cells), between_interfaces(cells), latencies(cells), memory(cells)]
        .into_iter()
        .flatten()
        .collect()
}

fn against_pgbench(cells: &Summaries<'_>) -> Vec<Target> {
    const PGBENCH: &str = "pgbench, same work, its best";
    let target = |name, cell, keys: &str, required, goal| Target {
        name,
        against: PGBENCH,
        unit: "×",
        bounds: Bounds::at_least(required, goal),
        cells: match keys {
            "-set" => vec![cell, "pgbench-8-set", "pgbench-32-set"],
            "-hot" => vec![cell, "pgbench-8-hot", "pgbench-32-hot"],
            _ => vec![cell, "pgbench-8", "pgbench-32"],
        },
        measured: quotient(rate(cells, cell), best_pgbench(cells, keys)),
    };
    vec![
        target("REST single, new keys, 64 connections", "rest-64", "", 1.5, 2.5),
        target("REST single, new keys, 256", "rest-256", "", 1.8, 3.0),
        target("REST single, 100,000 set, 256", "rest-256-set", "-set", 1.8, 3.0),
        target("REST single, 10 hot keys, 256", "rest-256-hot", "-hot", 4.0, 8.0),
        target("REST bulk 8 × 100", "bulk-8x100", "", 3.5, 6.0),
    ]
}

fn between_interfaces(cells: &Summaries<'_>) -> Vec<Target> {
    let target = |name, against, cell, other, required, goal| Target {
        name,
        against,
        unit: "×",
        bounds: Bounds::at_least(required, goal),
        cells: vec![cell, other],
        measured: quotient(rate(cells, cell), rate(cells, other)),
    };
    vec![
        target("REST bulk 8 × 1,000", "COPY, one connection", "bulk-8x1000", "copy", 0.3, 0.5),
        target("PUT of existing entities, 64", "REST single, 64", "put-64", "rest-64", 0.8, 1.0),
        target(
            "PATCH of existing entities, 64",
            "REST single, 64",
            "patch-64",
            "rest-64",
            0.8,
            1.0,
        ),
        target(
            "DELETE of existing entities, 64",
            "REST single, 64",
            "delete-64",
            "rest-64",
            0.5,
            0.8,
        ),
        target(
            "one in 20 a PATCH with If-Match, 256",
            "REST single, 256",
            "rest-256-match",
            "rest-256",
            0.8,
            0.95,
        ),
        target("gRPC unary, 256", "REST single, 256", "unary-256", "rest-256", 0.7, 1.0),
        target("gRPC stream, 4 × 256", "gRPC unary, 256", "stream-4x256", "unary-256", 2.0, 3.0),
        target("SQLite single, 64", "PostgreSQL single, 64", "sqlite-rest-64", "rest-64", 0.6, 1.0),
        target("10 million entities in the table", "none", "rest-64-grown", "rest-64", 0.6, 0.8),
        target("nested patches, 256", "flat patches, 256", "rest-256-deep", "rest-256", 0.5, 0.7),
    ]
}

fn latencies(cells: &Summaries<'_>) -> Vec<Target> {
    let latency = |name: &str| valid(cells, name)?.latency_us;
    let target = |name, against, unit, bounds, cells, measured| Target {
        name,
        against,
        unit,
        bounds,
        cells,
        measured,
    };
    let p50 = |name: &str| latency(name).map(|latency| latency.p50);
    let p99 = |name: &str| latency(name).map(|latency| latency.p99);
    vec![
        target(
            "REST single, 1 connection, p50",
            "pgbench, 1 client",
            "×",
            Bounds::at_most(1.7, 1.4),
            vec!["rest-1", "pgbench-1"],
            quotient(p50("rest-1"), p50("pgbench-1")),
        ),
        target(
            "p99 at 64 connections",
            "p50 there",
            "×",
            Bounds::at_most(4.0, 2.5),
            vec!["rest-64"],
            quotient(p99("rest-64"), p50("rest-64")),
        ),
        target(
            "SQLite single, 64, p99",
            "",
            " ms",
            Bounds { higher: false, required: None, goal: Some(20.0) },
            vec!["sqlite-rest-64"],
            p99("sqlite-rest-64").map(|micros| micros / 1e3),
        ),
    ]
}

fn memory(cells: &Summaries<'_>) -> Vec<Target> {
    let peak = |wanted: &dyn Fn(&str) -> bool| {
        // the ceiling is not the service
        let names = cells.keys().filter(|name| wanted(name) && !name.starts_with("ceiling-"));
        let peaks = names.filter_map(|name| cells.get(name)?.peak_memory_bytes);
        peaks.max().map(|bytes| bytes as f64 / MIB)
    };
    let target = |name, bounds, measured| Target {
        name,
        against: "",
        unit: " MiB",
        bounds,
        cells: Vec::new(),
        measured,
    };
    let at_256 = |name: &str| name.contains("-256") && !name.contains("stream");
    vec![
        target("peak memory at 256 connections, 400 B", Bounds::at_most(64.0, 32.0), peak(&at_256)),
        // INGEST_QUEUE_BYTES is 64 MiB by default
        target(
            "peak memory, any cell",
            Bounds { higher: false, required: Some(128.0), goal: None },
            peak(&|_| true),
        ),
    ]
}

fn quotient(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other.filter(|&other| other > 0.0)?)
}

impl Target {
    fn row(&self, cells: &Summaries<'_>) -> Vec<Cell> {
        let sign = if self.bounds.higher { "≥" } else { "≤" };
        let bound = |value: Option<f64>| {
            value.map(|value| format!("{sign} {}", self.with_unit(value))).unwrap_or_default()
        };
        let measured = self.measured.map_or_else(|| NOT_MEASURED.into(), |v| self.with_unit(v));
        let mut result = self.result();
        if self.measured.is_some() && !self.is_of_one_run(cells) {
            result.text.push_str(" (cells of different runs)");
        }
        vec![
            self.name.into(),
            self.against.into(),
            bound(self.bounds.required).into(),
            bound(self.bounds.goal).into(),
            measured.into(),
            result,
        ]
    }

    fn with_unit(&self, value: f64) -> String {
        format!("{}{}", number(value), self.unit)
    }

    fn result(&self) -> Cell {
        let Some(measured) = self.measured else { return "not measured".into() };
        let Bounds { required, goal, .. } = self.bounds;
        let reaches = |bound| self.bounds.allow(measured, bound);
        match (required, goal) {
            (Some(required), _) if !reaches(required) => {
                let off = number((measured / required - 1.0).abs() * 100.0);
                Cell::new(format!("missed by {off} %"), Tone::Bad)
            }
            (_, Some(goal)) if reaches(goal) => Cell::new("goal reached", Tone::Good),
            (None, _) => Cell::new("below the goal", Tone::Fair),
            (Some(_), None) => Cell::new("reached", Tone::Good),
            (Some(_), Some(_)) => Cell::new("reached", Tone::Fair),
        }
    }

    /// Whether all of its cells were measured in the same run.
    fn is_of_one_run(&self, cells: &Summaries<'_>) -> bool {
        let runs = self.cells.iter().filter_map(|name| cells.get(name)).map(|cell| &cell.runs);
        let mut runs = runs.collect::<Vec<_>>();
        runs.dedup();
        runs.len() <= 1 && runs.iter().all(|runs| runs.len() <= 1)
    }
}
