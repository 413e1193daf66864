//! The benchmark's report: from the results to the document.

use crate::cells;
use crate::figures::{self, Cells, best_by_hand};
use crate::report::{
    Axis, Bars, Block, Cell, Document, Lines, Section, Series, Table, Tone, number, thousands,
};
use crate::results::{Results, Summary};

const MIB: f64 = (1 << 20) as f64;

/// What the bars show, where it was measured.
const SHOWN: [&str; 14] = [
    "pgbench-8",
    "pgbench-32",
    "rest-64",
    "rest-256",
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

const METHOD: [&str; 5] = [
    "Each cell starts with fresh tables and, on PostgreSQL, behind a checkpoint. Rounds take all \
     cells by turns; shown are medians of the rounds, and of peak memory the largest.",
    "pgbench does the same durable work by hand, in one prepared statement and one commit an event: \
     it claims the uuid in a log, keeps the event there and merges the entity with ||. Its log has \
     one index, where producer's has three. COPY writes rows of the same log and of the same \
     states into tables without an index, 10,000 rows a commit; it counts rows.",
    "Generator, service and database share the machine. The services run with their default \
     settings, the log level included. Every answer is checked, and afterwards the log must hold at \
     least as many events as were answered; a cell where anything failed makes no figure.",
    "A fixed piece of work is timed before and after each measurement. Where it takes more than \
     1.3 times as long as at its best, the machine is slow for reasons of its own: a measurement \
     waits for that to pass, and is taken up to three times, of which the least disturbed counts. \
     machine: how many times as long the work took, as a median.",
    "new keys: an entity that isn't there yet, each time. set: any of 100,000 that are there. hot: \
     any of 10. An event has 400 B unless the name says otherwise; deep: objects inside objects, and \
     a null. grown: 10 million entities are in the table already. unary and stream are gRPC. \
     ceiling: the same service over a store that keeps nothing. N×M: N connections with M events a \
     request, or unanswered in a stream.",
];

/// The report of these results.
pub(crate) fn document(results: &Results) -> Document {
    let cells = results.summaries();
    let mut document = Document {
        title: "producer beside PostgreSQL used directly".to_owned(),
        lead: lead(&cells),
        ..Document::default()
    };
    for (name, value) in &results.facts {
        document.fact(name, value.clone());
    }
    document.sections.push(Section::new("Figures", [Block::Table(figures::table(&cells))]));
    document.sections.push(throughput(&cells));
    document.sections.push(latency(&cells));
    document.sections.push(cpu(&cells));
    document.sections.push(Section::new("All cells", [Block::Table(all_cells(&cells))]));
    document.sections.extend(failures(&cells));
    let method = METHOD.map(|text| Block::Text(text.to_owned()));
    document.sections.push(Section::new("How it is measured", method));
    document
}

fn lead(cells: &Cells<'_>) -> String {
    let rate = |name: &str| cells.get(name).map(|cell| cell.events_per_second);
    match (rate("rest-64"), best_by_hand(cells, "")) {
        (Some(rest), Some(hand)) if hand > 0.0 => format!(
            "REST takes {} single events a second at 64 connections, {} times what pgbench reaches \
             with the same durable work by hand ({}).",
            number(rest),
            number(rest / hand),
            number(hand)
        ),
        _ => String::new(),
    }
}

fn throughput(cells: &Cells<'_>) -> Section {
    let line = |name: &str, prefix: &str, connections: &[u32]| {
        let point = |&at: &u32| {
            let cell = cells.get(format!("{prefix}{at}").as_str())?;
            (cell.rounds > 0).then_some((f64::from(at), cell.events_per_second))
        };
        Series { name: name.to_owned(), points: connections.iter().filter_map(point).collect() }
    };
    let all = [1, 16, 64, 256, 1024];
    let mut series = vec![
        line("REST on PostgreSQL", "rest-", &all),
        line("pgbench, same work", "pgbench-", &[1, 8, 32]),
        line("REST on SQLite", "sqlite-rest-", &all),
        line("gRPC unary on PostgreSQL", "unary-", &all),
        line("REST that keeps nothing", "ceiling-rest-", &all),
    ];
    series.retain(|line| !line.points.is_empty());
    let lines = Lines {
        title: "Single events a second by connections (new keys, 400 B)".to_owned(),
        x: Axis::log("connections or clients"),
        y: Axis::linear("events a second"),
        series,
    };
    let value = |cell: &Summary| vec![Some(cell.events_per_second)];
    let bars = bars(cells, "Events a second (COPY: rows)", "events a second", &["events"], value);
    Section::new("Throughput", [Block::Lines(lines), Block::Bars(bars)])
}

fn bars(
    cells: &Cells<'_>,
    title: &str,
    unit: &str,
    parts: &[&str],
    values: impl Fn(&Summary) -> Vec<Option<f64>>,
) -> Bars {
    let row = |name: &&str| {
        let cell = cells.get(name).filter(|cell| cell.rounds > 0)?;
        let values = values(cell);
        values.iter().any(Option::is_some).then(|| ((*name).to_owned(), values))
    };
    Bars {
        title: title.to_owned(),
        unit: unit.to_owned(),
        parts: parts.iter().map(|&part| part.to_owned()).collect(),
        rows: SHOWN.iter().filter_map(row).collect(),
        stacked: true,
    }
}

fn latency(cells: &Cells<'_>) -> Section {
    let line = |name: &str, value: fn(&crate::meter::Latency) -> f64| {
        let point = |at: u32| {
            let cell = cells.get(format!("rest-{at}").as_str())?;
            Some((f64::from(at), value(&cell.latency_us?) / 1e3))
        };
        let points = [1, 16, 64, 256, 1024].into_iter().filter_map(point).collect();
        Series { name: name.to_owned(), points }
    };
    let lines = Lines {
        title: "Latency of REST single events on PostgreSQL by connections".to_owned(),
        x: Axis::log("connections"),
        y: Axis::log("milliseconds"),
        series: vec![
            line("p50", |latency| latency.p50),
            line("p90", |latency| latency.p90),
            line("p99", |latency| latency.p99),
            line("p99.9", |latency| latency.p999),
        ],
    };
    let values = |cell: &Summary| {
        let latency = cell.latency_us;
        let ms = |value: fn(&crate::meter::Latency) -> f64| latency.map(|l| value(&l) / 1e3);
        vec![ms(|l| l.p50), ms(|l| l.p99)]
    };
    let mut bars = bars(cells, "Latency of a request", "milliseconds", &["p50", "p99"], values);
    bars.stacked = false;
    // a row of COPY has no request
    bars.rows.retain(|(name, _)| name != "copy");
    Section::new("Latency", [Block::Lines(lines), Block::Bars(bars)])
}

fn cpu(cells: &Cells<'_>) -> Section {
    let values =
        |cell: &Summary| vec![cell.cpu_us.database, cell.cpu_us.service, cell.cpu_us.generator];
    let parts = ["database", "service", "generator"];
    let bars = bars(cells, "CPU an event, by process", "microseconds an event", &parts, values);
    let note = "User and system time. SQLite runs inside the service; pgbench and COPY have none.";
    Section::new("CPU", [Block::Bars(bars), Block::Text(note.to_owned())])
}

fn all_cells(cells: &Cells<'_>) -> Table {
    let mut table = Table::new([
        "cell",
        "events/s",
        "slowest – fastest",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "CPU µs: database",
        "service",
        "generator",
        "peak MiB",
        "machine",
        "rounds",
    ]);
    let order = cells::all();
    let names = order.iter().map(ToString::to_string);
    table.rows = names.filter_map(|name| Some(row(&name, cells.get(name.as_str())?))).collect();
    table
}

fn row(name: &str, cell: &Summary) -> Vec<Cell> {
    let value = |value: Option<f64>| Cell::from(value.map(number).unwrap_or_default());
    let ms = |value: fn(&crate::meter::Latency) -> f64| {
        Cell::from(cell.latency_us.map(|l| number(value(&l) / 1e3)).unwrap_or_default())
    };
    let failed = cell.error.is_some();
    let rate = if failed {
        Cell::toned("failed", Tone::Bad)
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
        cell.pace.map(|pace| format!("{pace:.2}")).unwrap_or_default().into(),
        cell.rounds.to_string().into(),
    ]
}

fn failures(cells: &Cells<'_>) -> Option<Section> {
    let mut table = Table::new(["cell", "what went wrong"]);
    for (&name, cell) in cells {
        if let Some(error) = &cell.error {
            table.rows.push(vec![name.into(), error.replace('\n', " ").into()]);
        }
    }
    (!table.rows.is_empty()).then(|| Section::new("Failed", [Block::Table(table)]))
}
