use super::*;
use crate::meter::Latency;
use crate::report::{Cell, Tone};
use crate::results::Summary;

fn cell(rate: f64, run: &str) -> Summary {
    let latency = Latency { p50: 1000.0, p90: 2000.0, p99: 3000.0, p999: 4000.0 };
    Summary {
        rounds: 3,
        events_per_second: rate,
        latency_us: Some(latency),
        peak_memory_bytes: Some(40 << 20),
        runs: vec![run.to_owned()],
        ..Summary::default()
    }
}

fn row(cells: &Summaries<'_>, name: &str) -> Vec<Cell> {
    let table = table(cells);
    table.rows.into_iter().find(|row| row[0].text == name).expect("a row")
}

#[test]
fn a_ratio_is_relative_to_the_best_pgbench_cell() {
    let cells: Summaries<'_> = [
        ("pgbench-8", cell(10_000.0, "a")),
        ("pgbench-32", cell(12_000.0, "a")),
        ("rest-64", cell(24_000.0, "a")),
        ("bulk-8x100", cell(40_000.0, "a")),
        ("rest-256", cell(48_000.0, "b")),
    ]
    .into();
    let texts = |name| row(&cells, name).into_iter().map(|cell| cell.text).collect::<Vec<_>>();
    let rest = texts("REST single, new keys, 64 connections");
    assert_eq!(rest[2..], ["≥ 1.5×", "≥ 2.5×", "2×", "reached"]);
    assert_eq!(texts("REST bulk 8 × 100")[4..], ["3.33×", "missed by 4.76 %"]);
    let other_run = texts("REST single, new keys, 256");
    assert_eq!(other_run[5], "goal reached (cells of different runs)");
    assert_eq!(texts("gRPC unary, 256")[4..], ["–", "not measured"]);
}

#[test]
fn lower_is_better_for_latency_and_memory() {
    let cells: Summaries<'_> = [("rest-64", cell(1.0, "a")), ("rest-256", cell(1.0, "a"))].into();
    assert_eq!(row(&cells, "p99 at 64 connections")[5].tone, Tone::Fair);
    let memory = row(&cells, "peak memory at 256 connections, 400 B");
    assert_eq!((memory[4].text.as_str(), memory[5].tone), ("40 MiB", Tone::Fair));
}

#[test]
fn a_failed_cell_is_not_used() {
    let failed = Summary { error: Some("an error".to_owned()), ..cell(9.0, "a") };
    let cells: Summaries<'_> = [("rest-256", failed), ("rest-256-deep", cell(9.0, "a"))].into();
    assert_eq!(row(&cells, "nested patches, 256")[5].text, "not measured");
}
