//! The targets of the change feed.

use crate::meter::Latency;
use crate::report::Table;
use crate::targets::{self, Bounds, MIB, Summaries, Target, quotient, rate, valid};

/// The table of targets with the measured values.
pub(super) fn table(cells: &Summaries<'_>) -> Table {
    targets::table(&all(cells), cells)
}

/// The targets that were measured, for the terminal.
pub(super) fn to_text(cells: &Summaries<'_>) -> String {
    targets::to_text(&all(cells), cells)
}

const fn at_least(required: f64) -> Bounds {
    Bounds { higher: true, required: Some(required), goal: None }
}

const fn at_most(required: f64) -> Bounds {
    Bounds { higher: false, required: Some(required), goal: None }
}

fn all(cells: &Summaries<'_>) -> Vec<Target> {
    let rates = |name, against, required, cell, other| Target {
        name,
        against,
        unit: "×",
        bounds: at_least(required),
        cells: vec![cell, other],
        measured: quotient(rate(cells, cell), rate(cells, other)),
    };
    let latency = |name, against, required, cell, quantile: fn(&Latency) -> f64| Target {
        name,
        against,
        unit: " ms",
        bounds: at_most(required),
        cells: vec![cell],
        measured: valid(cells, cell).and_then(|summary| summary.milliseconds(quantile)),
    };
    let median = |cell| valid(cells, cell).and_then(|summary| summary.milliseconds(|l| l.p50));
    let peak = |cell| Some(valid(cells, cell)?.peak_memory_bytes? as f64 / MIB);
    let half_load = "sent at half of saturation, one reader";
    vec![
        rates("backlog by NDJSON", "COPY of the same rows", 0.2, "backlog", "copy"),
        rates(
            "backlog, large log",
            "a hundredth of its rows",
            0.8,
            "backlog-large",
            "backlog-small",
        ),
        Target {
            name: "speed of delivery (1 ÷ p50), large log",
            against: "a hundredth of its rows",
            unit: "×",
            bounds: at_least(0.8),
            cells: vec!["delivery-large", "delivery-small"],
            measured: quotient(median("delivery-small"), median("delivery-large")),
        },
        latency("event to reader, p50", half_load, 50.0, "delivery", |l| l.p50),
        latency("event to reader, p99", half_load, 250.0, "delivery", |l| l.p99),
        latency("event to 200 readers, p99", "sent at 1,000/s", 1000.0, "fan-out", |l| l.p99),
        rates("REST single, 256, one reader", "without", 0.85, "rest-256-read", "rest-256"),
        Target {
            name: "memory for 1,000 idle readers",
            against: "none",
            unit: " MiB",
            bounds: at_most(64.0),
            cells: vec!["idle-1000", "idle-0"],
            measured: peak("idle-1000").zip(peak("idle-0")).map(|(with, without)| with - without),
        },
        latency("100 updates of an entity's history, p50", "", 20.0, "history", |l| l.p50),
    ]
}
