//! The figures to reach: ratios of medians, each with what is asked and what is striven for.

use std::collections::BTreeMap;

use crate::report::{Cell, Table, Tone, number};
use crate::results::Summary;

#[cfg(test)]
mod tests;

const MIB: f64 = (1 << 20) as f64;

/// What is asked of a figure, and what is striven for.
#[derive(Debug, Clone, Copy)]
struct Goal {
    /// Whether more is better.
    more: bool,
    asked: Option<f64>,
    striven: Option<f64>,
}

impl Goal {
    const fn at_least(asked: f64, striven: f64) -> Self {
        Self { more: true, asked: Some(asked), striven: Some(striven) }
    }

    const fn at_most(asked: f64, striven: f64) -> Self {
        Self { more: false, asked: Some(asked), striven: Some(striven) }
    }

    fn allows(self, seen: f64, bound: f64) -> bool {
        if self.more { seen >= bound } else { seen <= bound }
    }
}

/// One line of the table.
struct Figure {
    name: &'static str,
    against: &'static str,
    /// How values are written: `1.5×`, `64 MiB`.
    unit: &'static str,
    goal: Goal,
    /// The cells that it is made of.
    cells: Vec<&'static str>,
    seen: Option<f64>,
}

/// Medians of cells, by name.
pub(crate) type Cells<'a> = BTreeMap<&'a str, Summary>;

/// The table of figures with what was seen; those whose cells weren't measured say so.
pub(crate) fn table(cells: &Cells<'_>) -> Table {
    let mut table = Table::new(["cell", "against", "asked", "striven for", "seen", "verdict"]);
    table.rows = all(cells).iter().map(|figure| figure.row(cells)).collect();
    table
}

/// Events a second of the better one of pgbench's cells on those keys.
pub(crate) fn best_by_hand(cells: &Cells<'_>, keys: &str) -> Option<f64> {
    let rate = |clients: &str| rate(cells, &format!("pgbench-{clients}{keys}"));
    [rate("8"), rate("32")].into_iter().flatten().reduce(f64::max)
}

fn good<'c>(cells: &'c Cells<'_>, name: &str) -> Option<&'c Summary> {
    cells.get(name).filter(|summary| summary.rounds > 0 && summary.error.is_none())
}

fn rate(cells: &Cells<'_>, name: &str) -> Option<f64> {
    Some(good(cells, name)?.events_per_second)
}

fn all(cells: &Cells<'_>) -> Vec<Figure> {
    [by_hand(cells), between_ways(cells), latencies(cells), memory(cells)]
        .into_iter()
        .flatten()
        .collect()
}

fn by_hand(cells: &Cells<'_>) -> Vec<Figure> {
    const SAME: &str = "pgbench, same work, its best";
    let figure = |name, cell, keys: &str, least, strive| Figure {
        name,
        against: SAME,
        unit: "×",
        goal: Goal::at_least(least, strive),
        cells: match keys {
            "-set" => vec![cell, "pgbench-8-set", "pgbench-32-set"],
            "-hot" => vec![cell, "pgbench-8-hot", "pgbench-32-hot"],
            _ => vec![cell, "pgbench-8", "pgbench-32"],
        },
        seen: quotient(rate(cells, cell), best_by_hand(cells, keys)),
    };
    vec![
        figure("REST single, new keys, 64 connections", "rest-64", "", 1.5, 2.5),
        figure("REST single, new keys, 256", "rest-256", "", 1.8, 3.0),
        figure("REST single, 100,000 set, 256", "rest-256-set", "-set", 1.8, 3.0),
        figure("REST single, 10 hot keys, 256", "rest-256-hot", "-hot", 4.0, 8.0),
        figure("REST bulk 8 × 100", "bulk-8x100", "", 3.5, 6.0),
    ]
}

fn between_ways(cells: &Cells<'_>) -> Vec<Figure> {
    let figure = |name, against, cell, other, least, strive| Figure {
        name,
        against,
        unit: "×",
        goal: Goal::at_least(least, strive),
        cells: vec![cell, other],
        seen: quotient(rate(cells, cell), rate(cells, other)),
    };
    vec![
        figure("REST bulk 8 × 1,000", "COPY, one connection", "bulk-8x1000", "copy", 0.3, 0.5),
        figure("gRPC unary, 256", "REST single, 256", "unary-256", "rest-256", 0.7, 1.0),
        figure("gRPC stream, 4 × 256", "gRPC unary, 256", "stream-4x256", "unary-256", 2.0, 3.0),
        figure("SQLite single, 64", "PostgreSQL single, 64", "sqlite-rest-64", "rest-64", 0.6, 1.0),
        figure("10 million entities in the table", "none", "rest-64-grown", "rest-64", 0.6, 0.8),
        figure("deep road, 256", "flat road, 256", "rest-256-deep", "rest-256", 0.5, 0.7),
    ]
}

fn latencies(cells: &Cells<'_>) -> Vec<Figure> {
    let latency = |name: &str| good(cells, name)?.latency_us;
    let figure =
        |name, against, unit, goal, cells, seen| Figure { name, against, unit, goal, cells, seen };
    let p50 = |name: &str| latency(name).map(|latency| latency.p50);
    let p99 = |name: &str| latency(name).map(|latency| latency.p99);
    vec![
        figure(
            "REST single, 1 connection, p50",
            "pgbench, 1 client",
            "×",
            Goal::at_most(1.7, 1.4),
            vec!["rest-1", "pgbench-1"],
            quotient(p50("rest-1"), p50("pgbench-1")),
        ),
        figure(
            "p99 at 64 connections",
            "p50 there",
            "×",
            Goal::at_most(4.0, 2.5),
            vec!["rest-64"],
            quotient(p99("rest-64"), p50("rest-64")),
        ),
        figure(
            "SQLite single, 64, p99",
            "",
            " ms",
            Goal { more: false, asked: None, striven: Some(20.0) },
            vec!["sqlite-rest-64"],
            p99("sqlite-rest-64").map(|micros| micros / 1e3),
        ),
    ]
}

fn memory(cells: &Cells<'_>) -> Vec<Figure> {
    let peak = |wanted: &dyn Fn(&str) -> bool| {
        // the ceiling isn't the service
        let names = cells.keys().filter(|name| wanted(name) && !name.starts_with("ceiling-"));
        let peaks = names.filter_map(|name| cells.get(name)?.peak_memory_bytes);
        peaks.max().map(|bytes| bytes as f64 / MIB)
    };
    let figure = |name, goal, seen| Figure {
        name,
        against: "",
        unit: " MiB",
        goal,
        cells: Vec::new(),
        seen,
    };
    let at_256 = |name: &str| name.contains("-256") && !name.contains("stream");
    vec![
        figure("peak memory at 256 connections, 400 B", Goal::at_most(64.0, 32.0), peak(&at_256)),
        // INGEST_QUEUE_BYTES is 64 MiB by default
        figure(
            "peak memory, any cell",
            Goal { more: false, asked: Some(128.0), striven: None },
            peak(&|_| true),
        ),
    ]
}

fn quotient(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other.filter(|&other| other > 0.0)?)
}

impl Figure {
    fn row(&self, cells: &Cells<'_>) -> Vec<Cell> {
        let sign = if self.goal.more { "≥" } else { "≤" };
        let bound = |value: Option<f64>| {
            value.map(|value| format!("{sign} {}", self.written(value))).unwrap_or_default()
        };
        let seen = self.seen.map_or_else(|| "–".to_owned(), |seen| self.written(seen));
        let mut verdict = self.verdict();
        if self.seen.is_some() && !self.one_run(cells) {
            verdict.text.push_str(" (cells of different runs)");
        }
        vec![
            self.name.into(),
            self.against.into(),
            bound(self.goal.asked).into(),
            bound(self.goal.striven).into(),
            seen.into(),
            verdict,
        ]
    }

    fn written(&self, value: f64) -> String {
        format!("{}{}", number(value), self.unit)
    }

    fn verdict(&self) -> Cell {
        let Some(seen) = self.seen else { return "not measured".into() };
        let Goal { asked, striven, .. } = self.goal;
        match (asked, striven) {
            (Some(asked), _) if !self.goal.allows(seen, asked) => {
                let off = number((seen / asked - 1.0).abs() * 100.0);
                Cell::toned(format!("missed by {off} %"), Tone::Bad)
            }
            (_, Some(striven)) if self.goal.allows(seen, striven) => {
                Cell::toned("reached, as striven for", Tone::Good)
            }
            (None, _) => Cell::toned("not as striven for", Tone::Fair),
            (Some(_), None) => Cell::toned("reached", Tone::Good),
            (Some(_), Some(_)) => Cell::toned("reached", Tone::Fair),
        }
    }

    /// Whether all that is compared was measured together.
    fn one_run(&self, cells: &Cells<'_>) -> bool {
        let runs = self.cells.iter().filter_map(|name| cells.get(name)).map(|cell| &cell.runs);
        let mut runs = runs.collect::<Vec<_>>();
        runs.dedup();
        runs.len() <= 1 && runs.iter().all(|runs| runs.len() <= 1)
    }
}
