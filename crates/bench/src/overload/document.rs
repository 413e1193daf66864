//! The report of an overload.

use super::CONNECTIONS;
use super::figures::{self, Seen, Step, api};
use crate::cells::Way;
use crate::report::{
    Axis, Bars, Block, Cell, Document, Lines, Section, Series, Table, number, thousands,
};
use crate::results::{Measurement, Results};

const MIB: f64 = (1 << 20) as f64;

const METHOD: [&str; 5] = [
    "Each load starts with fresh tables in PostgreSQL, behind a checkpoint, and a fresh service; it \
     sends single events of 400 B with new keys. Saturated is the least number of connections \
     (gRPC: calls at once) that reaches 95 % of the most. Shown are medians of the rounds.",
    "Closed loop: every connection sends its next request when it has its answer. Open loop: \
     requests are due at a constant rate, whether answers come or not; one that finds no free \
     connection within 100 ms is given up and counted as not sent.",
    "Latencies of the admitted are given twice: from when a request was sent, and from when it was \
     due, which is what a user feels who also waits for a connection. The figures take the first: \
     the wait for a connection is the generator's.",
    "Refused: 503 or UNAVAILABLE, which say that nothing was stored. Any other answer, an unknown \
     outcome too, fails the measurement; so does a log that holds fewer events than were admitted.",
    "Generator, service and database share the machine: what is spent on sending and on refusing is \
     missing elsewhere. Cores are CPU seconds a second, user and system.",
];

/// The report of these results.
pub(super) fn document(results: &Results) -> Document {
    let mut document = Document {
        title: "producer under overload".to_owned(),
        lead: lead(results),
        ..Document::default()
    };
    for (name, value) in &results.facts {
        document.fact(name, value.clone());
    }
    let ways: Vec<_> = [Way::Single, Way::Unary]
        .into_iter()
        .filter(|&way| results.measurements.iter().any(|one| one.cell.starts_with(api(way))))
        .collect();
    let section = |title, blocks: Vec<Block>| Section::new(title, blocks);
    document.sections = vec![
        section("Figures", vec![Block::Table(figures::table(results))]),
        section("Loads", vec![Block::Table(loads(results, &ways))]),
        section("CPU", vec![Block::Bars(cores(results, &ways))]),
        section("On the way to saturation", saturation(results, &ways)),
    ];
    document.sections.extend(failures(results));
    let method = METHOD.map(|text| Block::Text(text.to_owned()));
    document.sections.push(Section::new("How it is measured", method));
    document
}

fn lead(results: &Results) -> String {
    let rate = |step| Seen::of(results, Way::Single, step).rate();
    let (Some(saturated), Some(connections), Some(offered)) =
        (rate(Step::Saturated), rate(Step::MoreConnections), rate(Step::MoreRate))
    else {
        return String::new();
    };
    format!(
        "REST carries {} single events a second; with three times the connections {}, with three \
         times the rate offered {}.",
        number(saturated),
        number(connections),
        number(offered)
    )
}

/// The steps of a report, each with its way in.
fn steps(ways: &[Way]) -> impl Iterator<Item = (Way, Step)> {
    ways.iter().flat_map(|&way| Step::after_saturation().map(|step| (way, step)))
}

fn loads(results: &Results, ways: &[Way]) -> Table {
    let mut table = Table::new([
        "",
        "connections",
        "offered/s",
        "not sent/s",
        "refused/s",
        "admitted/s",
        "p50 ms",
        "p99 ms",
        "p99 ms since due",
        "refusals: p50 ms",
        "p99 ms",
        "peak MiB",
    ]);
    table.rows = steps(ways).map(|(way, step)| load(results, way, step)).collect();
    table
}

fn load(results: &Results, way: Way, step: Step) -> Vec<Cell> {
    let seen = Seen::of(results, way, step);
    let whole = |value: Option<f64>| Cell::from(value.map(thousands).unwrap_or_default());
    let short = |value: Option<f64>| Cell::from(value.map(number).unwrap_or_default());
    let refusals = |measured: &Measurement| measured.admission.as_ref()?.refusal_us;
    let since_due = |measured: &Measurement| measured.admission.as_ref()?.since_due_us;
    vec![
        step.name(way).into(),
        whole(seen.median(|measured| Some(measured.connections? as f64))),
        whole(seen.median(|measured| measured.offered_per_second)),
        whole(seen.median(|m| Some(m.admission.as_ref()?.unsent as f64 / m.seconds))),
        whole(seen.median(|m| Some(m.admission.as_ref()?.refused as f64 / m.seconds))),
        whole(seen.rate()),
        short(seen.median(|measured| Some(measured.latency_us?.p50 / 1e3))),
        short(seen.p99()),
        short(seen.median(|measured| Some(since_due(measured)?.p99 / 1e3))),
        short(seen.median(|measured| Some(refusals(measured)?.p50 / 1e3))),
        short(seen.median(|measured| Some(refusals(measured)?.p99 / 1e3))),
        short(seen.median(|measured| Some(measured.peak_memory_bytes? as f64 / MIB))),
    ]
}

fn cores(results: &Results, ways: &[Way]) -> Bars {
    let row = |(way, step): (Way, Step)| {
        let seen = Seen::of(results, way, step);
        let cores = |of: fn(&Measurement) -> Option<f64>| {
            seen.median(|measured| Some(of(measured)? * measured.events_per_second / 1e6))
        };
        let values = vec![
            cores(|measured| measured.cpu_us.database),
            cores(|measured| measured.cpu_us.service),
            cores(|measured| measured.cpu_us.generator),
        ];
        (step.name(way), values)
    };
    Bars {
        title: "Cores used, by process".to_owned(),
        unit: "cores".to_owned(),
        parts: ["database", "service", "generator"].map(str::to_owned).into(),
        rows: steps(ways).map(row).collect(),
        stacked: true,
    }
}

fn saturation(results: &Results, ways: &[Way]) -> Vec<Block> {
    let chart = |title: &str, unit: &str, value: &dyn Fn(&Seen<'_>) -> Option<f64>| {
        let line = |&way: &Way| {
            let point = |connections| {
                let seen = Seen::of(results, way, Step::Search(connections));
                Some((connections as f64, value(&seen)?))
            };
            let points = CONNECTIONS.into_iter().filter_map(point).collect();
            Series { name: api(way).to_owned(), points }
        };
        Block::Lines(Lines {
            title: title.to_owned(),
            x: Axis::log("connections, or calls at once"),
            y: Axis::linear(unit),
            series: ways.iter().map(line).collect(),
        })
    };
    vec![
        chart("Single events a second", "events a second", &|seen| seen.rate()),
        chart("Latency, p99", "milliseconds", &|seen| seen.p99()),
    ]
}

fn failures(results: &Results) -> Option<Section> {
    let mut table = Table::new(["", "what went wrong"]);
    for measured in &results.measurements {
        if let Some(error) = &measured.error {
            table.rows.push(vec![measured.cell.clone().into(), error.replace('\n', " ").into()]);
        }
    }
    (!table.rows.is_empty()).then(|| Section::new("Failed", [Block::Table(table)]))
}
