//! The report of an overload measurement.

use super::steps::{self, CONNECTIONS, Rounds, Step};
use crate::report::{
    Block, Cell, Chart, ChartKind, Document, Section, Series, Table, number, thousands,
};
use crate::results::{Measurement, Results};
use crate::service::{Api, Apis};

const MIB: f64 = (1 << 20) as f64;

const METHOD: [&str; 5] = [
    "Each load starts with new tables in PostgreSQL, after a checkpoint, and a new service process; \
     it sends single events of 400 B with new keys. Saturated is the lowest number of connections \
     (gRPC: concurrent calls) that reaches 95 % of the highest throughput. Values are medians of \
     the rounds.",
    "Closed loop: every connection sends its next request when it has its response. Open loop: \
     requests are due at a constant rate, whether responses come or not; one that finds no free \
     connection within 100 ms is counted as not sent.",
    "Latencies of the admitted requests are measured from when the request was sent and from when \
     it was due; the latter includes the wait for a connection. The targets use the former, because \
     that wait is the generator's.",
    "Refused: 503 or UNAVAILABLE, which say that nothing was stored. Any other response, an unknown \
     outcome too, fails the measurement; so does a log with fewer events than were admitted.",
    "Load generator, service and database share the machine: CPU spent on sending and refusing is \
     missing elsewhere. Cores are CPU seconds per second, user and system.",
];

/// The report of these results.
pub(super) fn document(results: &Results) -> Document {
    let is_measured =
        |api: &Api| results.measurements.iter().any(|one| one.cell.starts_with(api.title()));
    let apis: Vec<_> = Apis::Both.list().iter().copied().filter(is_measured).collect();
    let mut sections = vec![
        Section::new("Targets", [Block::Table(steps::table(results))]),
        Section::new("Loads", [Block::Table(loads(results, &apis))]),
        Section::new("CPU", [Block::Chart(cores(results, &apis))]),
    ];
    sections.extend(saturation(results, &apis));
    sections.extend(results.errors());
    sections.push(Section::new("Method", METHOD.map(|text| Block::Text(text.to_owned()))));
    Document {
        title: "producer under overload".to_owned(),
        summary: summary(results),
        warnings: Vec::new(), // a high load is among the facts
        facts: results.facts.clone(),
        sections,
    }
}

fn summary(results: &Results) -> String {
    let rate = |step| Rounds::new(results, Api::Rest, step).rate();
    let (Some(saturated), Some(connections), Some(offered)) =
        (rate(Step::Saturated), rate(Step::MoreConnections), rate(Step::MoreRate))
    else {
        return String::new();
    };
    format!(
        "REST takes {} single events/s at saturation, {} with three times the connections, and {} \
         at three times the offered rate.",
        number(saturated),
        number(connections),
        number(offered)
    )
}

/// The measured steps of each API.
fn steps(apis: &[Api]) -> impl Iterator<Item = (Api, Step)> {
    let steps = |&api: &Api| Step::AFTER_SATURATION.map(|step| (api, step));
    apis.iter().flat_map(steps)
}

fn loads(results: &Results, apis: &[Api]) -> Table {
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
    table.rows = steps(apis).map(|(api, step)| load(results, api, step)).collect();
    table
}

fn load(results: &Results, api: Api, step: Step) -> Vec<Cell> {
    let rounds = Rounds::new(results, api, step);
    let integer = |value: Option<f64>| Cell::from(value.map(thousands).unwrap_or_default());
    let short = |value: Option<f64>| Cell::from(value.map(number).unwrap_or_default());
    let refusals = |measured: &Measurement| measured.admission.as_ref()?.refusal_us;
    let since_due = |measured: &Measurement| measured.admission.as_ref()?.since_due_us;
    vec![
        step.name(api).into(),
        integer(rounds.median(|measured| Some(measured.connections? as f64))),
        integer(rounds.median(|measured| measured.offered_per_second)),
        integer(rounds.median(|m| Some(m.admission.as_ref()?.unsent as f64 / m.seconds))),
        integer(rounds.median(|m| Some(m.admission.as_ref()?.refused as f64 / m.seconds))),
        integer(rounds.rate()),
        short(rounds.median(|measured| Some(measured.latency_us?.p50 / 1e3))),
        short(rounds.p99()),
        short(rounds.median(|measured| Some(since_due(measured)?.p99 / 1e3))),
        short(rounds.median(|measured| Some(refusals(measured)?.p50 / 1e3))),
        short(rounds.median(|measured| Some(refusals(measured)?.p99 / 1e3))),
        short(rounds.median(|measured| Some(measured.peak_memory_bytes? as f64 / MIB))),
    ]
}

fn cores(results: &Results, apis: &[Api]) -> Chart {
    let series = |name: &str, cpu_us: fn(&Measurement) -> Option<f64>| {
        let cores = |(api, step)| {
            let cores = |m: &Measurement| Some(cpu_us(m)? * m.events_per_second / 1e6);
            Rounds::new(results, api, step).median(cores)
        };
        Series::new(name, steps(apis).map(cores))
    };
    let loads = steps(apis).map(|(api, step)| step.name(api));
    Chart::new(ChartKind::StackedBars, "Cores used by process", "", "cores", loads).with([
        series("database", |measured| measured.cpu_us.database),
        series("service", |measured| measured.cpu_us.service),
        series("generator", |measured| measured.cpu_us.generator),
    ])
}

/// The search for saturation; `None` where it was skipped.
fn saturation(results: &Results, apis: &[Api]) -> Option<Section> {
    let chart = |title: &str, unit: &str, value: fn(&Rounds<'_>) -> Option<f64>| {
        let series = |&api: &Api| {
            let value = |count| value(&Rounds::new(results, api, Step::Search(count)));
            Series::new(api.title(), CONNECTIONS.map(value))
        };
        let categories = CONNECTIONS.map(|count| thousands(count as f64));
        let axis = "connections, or concurrent calls";
        Chart::new(ChartKind::Lines, title, axis, unit, categories).with(apis.iter().map(series))
    };
    let rate = chart("Single events per second", "events/s", |rounds| rounds.rate());
    let p99 = chart("Latency, p99", "ms", |rounds| rounds.p99());
    let searched = rate.series.iter().any(|series| series.values.iter().flatten().count() > 1);
    searched.then(|| Section::new("Saturation", [rate, p99].map(Block::Chart)))
}
