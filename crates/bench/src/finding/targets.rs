//! The targets of finding.

use crate::report::Table;
use crate::targets::{self, Bounds, Summaries, Target, quotient, rate, valid};

/// Milliseconds that single GETs beside scans may take, however short they are without.
const GETS_MS: f64 = 20.0;
/// How many times as long as without scans they may take.
const GETS_RATIO: f64 = 3.0;

/// The table of targets with the measured values.
pub(super) fn table(cells: &Summaries<'_>) -> Table {
    targets::table(&all(cells), cells)
}

/// The targets that were measured, for the terminal.
pub(super) fn to_text(cells: &Summaries<'_>) -> String {
    targets::to_text(&all(cells), cells)
}

fn all(cells: &Summaries<'_>) -> Vec<Target> {
    [pages(cells), beside_scans(cells), ingest(cells)].into_iter().flatten().collect()
}

const fn at_least(required: f64) -> Bounds {
    Bounds { higher: true, required: Some(required), goal: None }
}

const fn at_most(required: f64) -> Bounds {
    Bounds { higher: false, required: Some(required), goal: None }
}

/// A cell's events per second, as a multiple of another's.
fn rates(
    cells: &Summaries<'_>,
    (name, against): (&'static str, &'static str),
    required: f64,
    (cell, other): (&'static str, &'static str),
) -> Target {
    Target {
        name,
        against,
        unit: "×",
        bounds: at_least(required),
        cells: vec![cell, other],
        measured: quotient(rate(cells, cell), rate(cells, other)),
    }
}

fn p99(cells: &Summaries<'_>, cell: &str) -> Option<f64> {
    valid(cells, cell)?.milliseconds(|latency| latency.p99)
}

fn milliseconds(
    name: &'static str,
    required: f64,
    cell: &'static str,
    measured: Option<f64>,
) -> Target {
    let bounds = at_most(required);
    Target { name, against: "", unit: " ms", bounds, cells: vec![cell], measured }
}

fn pages(cells: &Summaries<'_>) -> Vec<Target> {
    const PGBENCH: &str = "the same in SQL by pgbench";
    let rates = |names, required, both| rates(cells, names, required, both);
    vec![
        rates(("page of 100 by id, 8 connections", PGBENCH), 0.4, ("list", "pgbench-list")),
        rates(
            ("page of 100 by id, large type", PGBENCH),
            0.4,
            ("list-large", "pgbench-list-large"),
        ),
        rates(
            ("indexed filter, 1 of 10,000, 8 connections", PGBENCH),
            0.4,
            ("indexed", "pgbench-indexed"),
        ),
        rates(
            ("indexed filter, large type", "the smaller type"),
            0.8,
            ("indexed-large", "indexed"),
        ),
        rates(
            ("two words, 20 hits, a facet, 8 connections", PGBENCH),
            0.4,
            ("search", "pgbench-search"),
        ),
        milliseconds(
            "page without an index, nothing matches, p99",
            700.0,
            "unindexed",
            p99(cells, "unindexed"),
        ),
        milliseconds(
            "GET /types, large type, p99",
            1000.0,
            "types-large",
            p99(cells, "types-large"),
        ),
    ]
}

fn beside_scans(cells: &Summaries<'_>) -> Vec<Target> {
    let (alone, beside) = (p99(cells, "gets"), p99(cells, "gets-scans"));
    let allowed = alone.filter(|&alone| alone > 0.0).map_or(0.0, |alone| GETS_MS / alone);
    vec![
        Target {
            name: "single GETs beside 20 scans, p99",
            against: "without scans: 3×, or 20 ms",
            unit: "×",
            bounds: at_most(GETS_RATIO.max(allowed)),
            cells: vec!["gets-scans", "gets"],
            measured: quotient(beside, alone),
        },
        rates(
            cells,
            ("writers beside 20 scans, 64 connections", "without scans"),
            0.6,
            ("writes-scans", "writes"),
        ),
    ]
}

fn ingest(cells: &Summaries<'_>) -> Vec<Target> {
    let rates = |names, required, both| rates(cells, names, required, both);
    vec![
        rates(
            ("events of a type without definition, 256", "the binary of --before"),
            0.97,
            ("ingest", "ingest-before"),
        ),
        rates(
            ("events of a type with three indexes, 256", "without"),
            0.6,
            ("ingest-indexes", "ingest"),
        ),
        rates(
            ("the same on SQLite, 256", "without"),
            0.4,
            ("sqlite-ingest-indexes", "sqlite-ingest"),
        ),
        rates(
            ("events while their type is being indexed, 64", "without"),
            0.6,
            ("writes-building", "writes-long"),
        ),
        milliseconds(
            "the slowest event meanwhile",
            1000.0,
            "writes-building",
            valid(cells, "writes-building")
                .and_then(|summary| summary.slowest_us)
                .map(|slowest| slowest / 1e3),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::steps::Step;
    use super::*;
    use crate::meter::Latency;
    use crate::results::Summary;

    fn gets(p99: f64) -> Summary {
        let latency = Latency { p50: 100.0, p90: 200.0, p99: p99 * 1e3, p999: 1e6 };
        Summary { rounds: 1, latency_us: Some(latency), ..Summary::default() }
    }

    #[test]
    fn targets_are_of_cells_that_there_are() {
        let names: Vec<String> = Step::all().iter().map(Step::to_string).collect();
        for target in all(&Summaries::new()) {
            for cell in target.cells {
                assert!(names.contains(&cell.to_owned()), "{cell}");
            }
        }
    }

    #[test]
    fn gets_beside_scans_may_take_three_times_as_long_or_20_ms() {
        let reached = |alone, beside| {
            let cells = Summaries::from([("gets", gets(alone)), ("gets-scans", gets(beside))]);
            let text = to_text(&cells);
            assert!(text.starts_with("single GETs beside"), "{text}");
            text.ends_with("reached")
        };
        assert!(reached(1.0, 19.9) && !reached(1.0, 20.5), "20 ms");
        assert!(reached(10.0, 29.9) && !reached(10.0, 30.5), "three times");
    }
}
