//! A table of cells over their rounds.

use std::collections::BTreeMap;

use super::Summary;
use crate::meter::Latency;
use crate::report::{Cell, Table, Tone, number, thousands};

const MIB: f64 = (1 << 20) as f64;

/// Those of these cells that were measured, in this order.
pub(crate) fn of(
    order: impl IntoIterator<Item = impl ToString>,
    cells: &BTreeMap<&str, Summary>,
) -> Table {
    let mut table = Table::new([
        "cell",
        "events/s",
        "slowest – fastest",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "CPU µs/event: database",
        "service",
        "generator",
        "peak MiB",
        "slowdown",
        "rounds",
    ]);
    let names = order.into_iter().map(|cell| cell.to_string());
    table.rows = names.filter_map(|name| Some(row(&name, cells.get(name.as_str())?))).collect();
    table
}

fn row(name: &str, cell: &Summary) -> Vec<Cell> {
    let value = |value: Option<f64>| Cell::from(value.map(number).unwrap_or_default());
    let ms = |quantile: fn(&Latency) -> f64| value(cell.milliseconds(quantile));
    let rate = if cell.error.is_some() {
        Cell::new("error", Tone::Bad)
    } else {
        thousands(cell.events_per_second).into()
    };
    let (slowest, fastest) = cell.range;
    let range = if cell.rounds > 0 {
        format!("{} – {}", number(slowest), number(fastest))
    } else {
        String::new()
    };
    vec![
        name.into(),
        rate,
        range.into(),
        ms(|l| l.p50),
        ms(|l| l.p90),
        ms(|l| l.p99),
        ms(|l| l.p999),
        value(cell.cpu_us.database),
        value(cell.cpu_us.service),
        value(cell.cpu_us.generator),
        value(cell.peak_memory_bytes.map(|bytes| bytes as f64 / MIB)),
        cell.slowdown.map(|slowdown| format!("{slowdown:.2}")).unwrap_or_default().into(),
        cell.rounds.to_string().into(),
    ]
}
