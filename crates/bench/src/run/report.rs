//! The report of a run.

use super::targets::{self, best_pgbench};
use crate::cells;
use crate::meter::{Latency, Preconditions};
use crate::report::{Block, Chart, ChartKind, Document, Section, Series, Table, number, thousands};
use crate::results::{Results, Summary, table};
use crate::targets::Summaries;

/// The cells of the bar charts, where they were measured.
const CHARTED: [&str; 20] = [
    "pgbench-8",
    "pgbench-32",
    "rest-64",
    "put-64",
    "patch-64",
    "delete-64",
    "get-64",
    "mixed-64",
    "rest-256",
    "rest-256-match",
    "rest-256-deep",
    "rest-256-hot",
    "unary-256",
    "stream-4x256",
    "bulk-8x100",
    "bulk-8x1000",
    "ndjson-8x1000",
    "copy",
    "sqlite-rest-64",
    "ceiling-rest-64",
];

/// The connections of the line charts: those of most cells, so that lines have no gaps.
const CONNECTIONS: [u32; 4] = [1, 64, 256, 1024];

const METHOD: [&str; 6] = [
    "Each cell starts with new tables and, on PostgreSQL, after a checkpoint. A round measures all \
     cells one after the other. Values are medians of the rounds; of peak memory the maximum.",
    "pgbench does the same durable work in SQL, with one prepared statement and one commit per \
     event: it inserts the event into a log unless its uuid exists, and merges the entity with ||. \
     Its log has one index, producer's has more. COPY writes rows of the same log and of the same \
     states into tables without an index, 10,000 rows per commit; its unit is rows.",
    "Load generator, service and database share the machine. The services have their default \
     settings, the log level included. Every response is checked, and afterwards the log must have \
     at least as many events as were acknowledged; a cell with an error is excluded.",
    "A fixed piece of work is timed before and after each measurement. If it takes more than 1.3 \
     times its best time, the machine is slow for reasons of its own: a measurement waits for that \
     to pass and is repeated up to twice, and the least disturbed one counts. slowdown: the median \
     of how many times its best time the work took.",
    "put, patch, delete, get: these requests to the route of a single entity that exists; put and \
     patch carry the attributes of an event, and all but get an idempotency key. delete: 500,000 \
     prepared entities, each deleted once. mixed: of 20 requests 10 get, 5 patch, 3 put, 1 event \
     that makes an entity, 1 delete of such a one. match: of 20 requests 19 events and 1 patch with \
     If-Match and the version of an earlier answer; one that was refused because another client was \
     first (412) is neither an event nor an error. The unit of all of these is answered requests, \
     though no event is stored for a get.",
    "new keys: a new entity each time. set: one of 100,000 existing ones. hot: one of 10. An event \
     has 400 B unless the name says otherwise; deep: nested objects and a null. grown: the table has \
     10 million entities beforehand. read: one reader of the change feed gets every event meanwhile, as \
     server-sent events. unary and stream are gRPC. ceiling: the same service over a store that \
     keeps nothing. hyper: hyper alone, which answers with a constant receipt. N×M: N connections \
     with M events per request, or M in flight in a stream.",
];

/// The report of these results.
pub(super) fn document(results: &Results) -> Document {
    let cells = results.summaries();
    let mut sections = vec![
        Section::new("Targets", [Block::Table(targets::table(&cells))]),
        throughput(&cells),
        latency(&cells),
        cpu(&cells),
        Section::new("All cells", [Block::Table(table::of(cells::all(), &cells))]),
    ];
    sections.extend(conditional_writes(&cells));
    sections.retain(|section| !section.blocks.is_empty());
    sections.extend(results.errors());
    sections.push(Section::new("Method", METHOD.map(|text| Block::Text(text.to_owned()))));
    Document {
        title: "producer beside PostgreSQL used directly".to_owned(),
        summary: summary(&cells),
        warnings: Vec::new(), // a high load is among the facts
        facts: results.facts.clone(),
        sections,
    }
}

fn summary(cells: &Summaries<'_>) -> String {
    let rate = |name: &str| cells.get(name).map(|cell| cell.events_per_second);
    match (rate("rest-64"), best_pgbench(cells, "")) {
        (Some(rest), Some(pgbench)) if pgbench > 0.0 => format!(
            "REST takes {} single events/s with 64 connections, {} times pgbench's best with the \
             same durable work ({}).",
            number(rest),
            number(rest / pgbench),
            number(pgbench)
        ),
        _ => String::new(),
    }
}

fn throughput(cells: &Summaries<'_>) -> Section {
    let rate = |cell: &Summary| (cell.rounds > 0).then_some(cell.events_per_second);
    let series = |name: &str, prefix: &str| connections_series(cells, name, prefix, rate);
    let title = "Single events per second by connections (new keys, 400 B)";
    let rest = series("REST on PostgreSQL", "rest-");
    let pgbench = rest.values.iter().map(|rest| rest.and(best_pgbench(cells, "")));
    let pgbench = Series::new("pgbench's best, same work", pgbench);
    let lines = by_connections(ChartKind::Lines, title, "events/s").with([
        rest,
        series("REST on SQLite", "sqlite-rest-"),
        series("gRPC unary on PostgreSQL", "unary-"),
        series("REST, nothing stored", "ceiling-rest-"),
        pgbench,
    ]);
    let values = |cell: &Summary| vec![rate(cell)];
    let bars =
        bars(cells, "Events per second by cell (COPY: rows)", "events/s", &["events"], values);
    section("Throughput", [lines, bars])
}

/// A section of the charts that have something to compare.
fn section(title: &str, charts: impl IntoIterator<Item = Chart>) -> Section {
    Section::new(title, charts.into_iter().filter_map(comparable).map(Block::Chart))
}

/// The chart without empty series and categories; `None` where fewer than two categories have
/// values.
fn comparable(mut chart: Chart) -> Option<Chart> {
    chart.series.retain(|series| series.values.iter().any(Option::is_some));
    let has_values = |at: usize| chart.series.iter().any(|series| series.values[at].is_some());
    let used: Vec<usize> = (0..chart.categories.len()).filter(|&at| has_values(at)).collect();
    for series in &mut chart.series {
        series.values = used.iter().map(|&at| series.values[at]).collect();
    }
    chart.categories = used.iter().map(|&at| chart.categories[at].clone()).collect();
    (used.len() > 1).then_some(chart)
}

/// A chart over [`CONNECTIONS`].
fn by_connections(kind: ChartKind, title: &str, unit: &str) -> Chart {
    let categories = CONNECTIONS.map(|count| thousands(count.into()));
    Chart::new(kind, title, "connections", unit, categories)
}

/// A value of the cells with this prefix for each of [`CONNECTIONS`].
fn connections_series(
    cells: &Summaries<'_>,
    name: &str,
    prefix: &str,
    value: impl Fn(&Summary) -> Option<f64>,
) -> Series {
    let cell = |count: &u32| cells.get(format!("{prefix}{count}").as_str());
    Series::new(name, CONNECTIONS.iter().map(|count| value(cell(count)?)))
}

/// Bars for each of the [`CHARTED`] cells.
fn bars(
    cells: &Summaries<'_>,
    title: &str,
    unit: &str,
    parts: &[&str],
    values: impl Fn(&Summary) -> Vec<Option<f64>>,
) -> Chart {
    let value = |name: &str, part: usize| values(cells.get(name)?)[part];
    let series =
        |(at, &part): (usize, &&str)| Series::new(part, CHARTED.iter().map(|name| value(name, at)));
    let chart = Chart::new(ChartKind::Bars, title, "", unit, CHARTED.map(str::to_owned));
    chart.with(parts.iter().enumerate().map(series))
}

fn latency(cells: &Summaries<'_>) -> Section {
    let series = |name: &str, value: fn(&Latency) -> f64| {
        connections_series(cells, name, "rest-", |cell| cell.milliseconds(value))
    };
    let title = "Latency of single REST events on PostgreSQL by connections";
    let lines = by_connections(ChartKind::LogLines, title, "ms").with([
        series("p50", |latency| latency.p50),
        series("p90", |latency| latency.p90),
        series("p99", |latency| latency.p99),
        series("p99.9", |latency| latency.p999),
    ]);
    let values = |cell: &Summary| vec![cell.milliseconds(|l| l.p50), cell.milliseconds(|l| l.p99)];
    let bars = bars(cells, "Latency of a request by cell", "ms", &["p50", "p99"], values);
    section("Latency", [lines, bars])
}

fn cpu(cells: &Summaries<'_>) -> Section {
    let values =
        |cell: &Summary| vec![cell.cpu_us.database, cell.cpu_us.service, cell.cpu_us.generator];
    let parts = ["database", "service", "generator"];
    let mut bars = bars(cells, "CPU per event by process", "µs/event", &parts, values);
    bars.kind = ChartKind::StackedBars;
    let mut section = section("CPU", [bars]);
    let note = "User and system time. SQLite runs inside the service; pgbench and COPY have none.";
    if !section.blocks.is_empty() {
        section.blocks.push(Block::Text(note.to_owned()));
    }
    section
}

/// How many conditional writes were refused; `None` where no cell has any.
fn conditional_writes(cells: &Summaries<'_>) -> Option<Section> {
    let mut table = Table::new(["cell", "applied", "refused with 412", "of these writes"]);
    for (&name, cell) in cells {
        let Some(Preconditions { met, failed }) = cell.preconditions else { continue };
        let share = failed as f64 / (met + failed).max(1) as f64;
        table.rows.push(vec![
            name.into(),
            thousands(met as f64).into(),
            thousands(failed as f64).into(),
            format!("{} %", number(share * 100.0)).into(),
        ]);
    }
    (!table.rows.is_empty()).then(|| Section::new("Conditional writes", [Block::Table(table)]))
}
