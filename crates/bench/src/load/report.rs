//! The report of a load test.

use chrono::DateTime;

use super::args::Args;
use super::drive::Usage;
use super::summary::{Counts, Latency, Phase, Summary};
use super::timeline::Moment;
use super::verify::Check;
use crate::report::{
    Block, Cell, Chart, ChartKind, Document, Section, Series, Table, Tone, number, thousands,
};
use crate::service::Api;

const MIB: f64 = (1 << 20) as f64;
/// The share of the highest throughput from which on a service counts as saturated.
const SATURATION: f64 = 0.95;

/// The results of driving one API.
pub(super) struct Run {
    pub(super) api: Api,
    pub(super) summary: Summary,
    pub(super) timeline: Vec<Moment>,
    pub(super) usage: Usage,
    pub(super) check: Check,
    /// Whether k6 has written its dashboard.
    pub(super) has_dashboard: bool,
}

/// A value of a phase.
type Value<'v> = &'v dyn Fn(&Run, &Phase) -> Option<f64>;

/// The report of these runs.
pub(super) fn document(args: &Args, runs: &[Run], facts: Vec<(String, String)>) -> Document {
    let mut document = Document {
        title: format!("Load test: {}, {}", args.mode_name(), args.database_name()),
        summary: summary(runs),
        facts,
        ..Document::default()
    };
    add_settings(&mut document, args, runs);
    document.sections = vec![results(runs), phases(runs)];
    if runs.iter().any(|run| !run.summary.operations.is_empty()) {
        document.sections.push(operations(runs));
    }
    document.sections.extend([over_time(runs), usage(runs)]);
    if runs.iter().any(|run| run.sizes().next().is_some()) {
        document.sections.push(sizes(runs));
    }
    document.sections.push(errors(runs));
    document
}

fn add_settings(document: &mut Document, args: &Args, runs: &[Run]) {
    if let Some(run) = runs.first() {
        let started = DateTime::from_timestamp_millis(run.summary.started).unwrap_or_default();
        document.fact("started", started.format("%Y-%m-%d %H:%M UTC").to_string());
        if let Some(phase) = run.summary.phases.first() {
            document.fact("phases", format!("{} s each, payload {}", phase.seconds, phase.size));
        }
    }
    document.fact("OPERATION", args.operation_name());
    for (name, default) in [("EVENT_MIX", "as in config.js"), ("ATTRIBUTES", "json")] {
        document.fact(name, std::env::var(name).unwrap_or_else(|_| default.to_owned()));
    }
}

/// The highest throughput of each API, where it was saturated, and whether the test passed.
fn summary(runs: &[Run]) -> String {
    let mut sentences = Vec::new();
    for run in runs {
        let Some(best) = run.best() else { continue };
        let (name, events) = (run.api.title(), number(best.throughput()));
        let (label, p99) = (best.label(), number(best.latency.p99));
        let mut text = format!("{name} took {events} events/s with {label} (p99 {p99} ms)");
        if let Some(phase) = run.saturation().filter(|phase| phase.name != best.name) {
            text.push_str(&format!(", and 95 % of that from {} on", phase.label()));
        }
        sentences.push(text + ".");
    }
    sentences.push(if runs.iter().all(Run::passed) {
        "All thresholds passed, and the database has each accepted event once.".to_owned()
    } else {
        "THE TEST FAILED.".to_owned()
    });
    sentences.join(" ")
}

fn results(runs: &[Run]) -> Section {
    let mut table =
        Table::new(["", "result", "sent", "accepted, new", "in the log", "duplicates", "reads"]);
    let mut blocks = Vec::new();
    for run in runs {
        let passed = if run.passed() {
            Cell::new("passed", Tone::Good)
        } else {
            Cell::new("failed", Tone::Bad)
        };
        let (total, check) = (&run.summary.total, &run.check);
        let count = |count: u64| Cell::from(thousands(count as f64));
        table.rows.push(vec![
            run.api.title().into(),
            passed,
            count(total.sent),
            count(check.accepted),
            thousands(check.stored as f64).into(),
            count(total.duplicate),
            count(total.read),
        ]);
        for rule in &run.summary.crossed {
            blocks.push(Block::Text(format!("{}: threshold crossed: {rule}", run.api.title())));
        }
        for problem in &check.problems {
            blocks.push(Block::Text(format!("{}: {problem}", run.api.title())));
        }
    }
    blocks.insert(0, Block::Table(table));
    Section::new("Result", blocks)
}

fn phases(runs: &[Run]) -> Section {
    let mut table = Table::new(["phase", "", "events/s", "p50 ms", "p95 ms", "p99 ms", "max ms"]);
    for (run, phase) in all_phases(runs) {
        let values = [phase.throughput()].into_iter().chain(latencies(&phase.latency));
        table.rows.push(row(run, phase, values.map(|value| number(value).into())));
    }
    let chart = |title: &str, unit: &str, value: Value<'_>| by_load(runs, title, unit, value);
    let charts = [
        chart("Throughput", "accepted events/s", &|_, phase| Some(phase.throughput())),
        chart("Latency, p50", "ms", &|_, phase| Some(phase.latency.p50)),
        chart("Latency, p99", "ms", &|_, phase| Some(phase.latency.p99)),
    ];
    let charts = charts.into_iter().flatten().map(Block::Chart);
    Section::new("Throughput and latency", charts.chain([Block::Table(table)]))
}

/// The operations on single entities over all phases. `create` includes those that the others need.
fn operations(runs: &[Run]) -> Section {
    let head = ["operation", "", "sent", "failed", "p50 ms", "p95 ms", "p99 ms", "max ms"];
    let mut table = Table::new(head);
    for run in runs {
        for operation in &run.summary.operations {
            let cells = [
                operation.name.as_str().into(),
                run.api.title().into(),
                thousands(operation.counts.sent as f64).into(),
                failed(&operation.counts),
            ];
            let latencies = latencies(&operation.latency).map(|value| number(value).into());
            table.rows.push(cells.into_iter().chain(latencies).collect());
        }
    }
    Section::new("Operations", [Block::Table(table)])
}

fn latencies(latency: &Latency) -> [f64; 4] {
    [latency.p50, latency.p95, latency.p99, latency.max]
}

/// The share of requests that failed.
fn failed(counts: &Counts) -> Cell {
    let tone = if counts.failed() > 0.0 { Tone::Bad } else { Tone::Good };
    Cell::new(format!("{} %", number(counts.failed() * 100.0)), tone)
}

fn usage(runs: &[Run]) -> Section {
    let mut table = Table::new([
        "phase",
        "",
        "cores: service",
        "database",
        "k6",
        "MiB: service",
        "database",
        "k6",
    ]);
    for (run, phase) in all_phases(runs) {
        let (from, to) = (phase.start, phase.start + phase.seconds);
        let processes = ["service", "database", "k6"];
        let cores = processes.map(|process| run.usage.cores(process, from, to));
        let memory = processes.map(|process| run.usage.peak_memory(process, from, to));
        let memory = memory.map(|bytes| bytes.map(|bytes| bytes as f64 / MIB));
        let text = |value: Option<f64>| value.map_or_else(|| "–".into(), |v| number(v).into());
        table.rows.push(row(run, phase, cores.into_iter().chain(memory).map(text)));
    }
    let chart = by_load(runs, "Events per CPU second", "events per CPU second", &efficiency);
    let chart = chart.map(Block::Chart);
    Section::new("CPU and memory", chart.into_iter().chain([Block::Table(table)]))
}

fn sizes(runs: &[Run]) -> Section {
    let labels = || runs.first().into_iter().flat_map(|run| run.sizes().map(Phase::label));
    let bars = |title: &str, unit: &str, value: Value<'_>| {
        let chart = Chart::new(ChartKind::Bars, title, "payload", unit, labels());
        chart_of_several(chart.with(runs.iter().map(|run| series(run, run.sizes(), value))))
    };
    let charts = [
        bars("Throughput by payload size", "events/s", &|_, phase| Some(phase.throughput())),
        bars("Latency by payload size, p95", "ms", &|_, phase| Some(phase.latency.p95)),
        bars("Events per CPU second by payload size", "events per CPU second", &efficiency),
    ];
    Section::new("Payload sizes", charts.into_iter().flatten().map(Block::Chart))
}

fn errors(runs: &[Run]) -> Section {
    let mut table = Table::new([
        "phase",
        "",
        "sent",
        "refused",
        "outcome unknown",
        "wrong responses",
        "not sent",
        "failed",
    ]);
    for (run, phase) in all_phases(runs) {
        let counts = &phase.counts;
        let unclear = counts.unknown.saturating_sub(counts.wrong);
        let values = [counts.sent, counts.refused, unclear, counts.wrong, counts.dropped];
        let cells = values.map(|value| Cell::from(thousands(value as f64)));
        table.rows.push(row(run, phase, cells.into_iter().chain([failed(counts)])));
    }
    Section::new("Errors", [Block::Table(table)])
}

/// The latency of each second, and k6's own pages, which have everything else over time.
fn over_time(runs: &[Run]) -> Section {
    let mut blocks = Vec::new();
    for run in runs {
        if run.timeline.len() > 1 {
            blocks.push(Block::Chart(latency_over_time(run)));
        } else {
            let title = run.api.title();
            blocks.push(Block::Text(format!("{title}: k6 has recorded no latency over time.")));
        }
        if run.has_dashboard {
            blocks.push(Block::Link {
                title: format!("{}: requests, bytes and users over time (k6)", run.api.title()),
                file: format!("{}-k6.html", run.api.name()),
            });
        }
    }
    if let Some(phases) = runs.first().and_then(phase_times) {
        blocks.push(Block::Text(phases));
    }
    Section::new("Latency over time", blocks)
}

fn latency_over_time(run: &Run) -> Chart {
    let title = format!("{}: latency of the calls that ended in a second", run.api.title());
    // `None` where no call ended for a while, so that the lines have a gap there
    let mut moments: Vec<(f64, Option<&Moment>)> = Vec::new();
    for moment in &run.timeline {
        if let Some(&(before, _)) = moments.last()
            && moment.at - before > 2.0
        {
            moments.push((before + 1.0, None));
        }
        moments.push((moment.at, Some(moment)));
    }
    let seconds = moments.iter().map(|(at, _)| format!("{at:.0}"));
    let series = |name: &str, value: fn(&Moment) -> f64| {
        Series::new(name, moments.iter().map(|(_, moment)| moment.map(value)))
    };
    let axis = "seconds from the first phase";
    Chart::new(ChartKind::LogTimeline, &title, axis, "ms", seconds).with([
        series("p50", |moment| moment.p50),
        series("p95", |moment| moment.p95),
        series("p99", |moment| moment.p99),
    ])
}

/// When the phases of a run took place; `None` for one alone.
fn phase_times(run: &Run) -> Option<String> {
    let phases = &run.summary.phases;
    let time = |phase: &Phase| {
        format!(
            "{} from {:.0} s to {:.0} s",
            phase.label(),
            phase.start,
            phase.start + phase.seconds
        )
    };
    let times: Vec<String> = phases.iter().map(time).collect();
    (times.len() > 1).then(|| format!("The phases: {}.", times.join("; ")))
}

/// A chart over the phases by load; `None` where there are fewer than two.
fn by_load(runs: &[Run], title: &str, unit: &str, value: Value<'_>) -> Option<Chart> {
    let categories = runs.first()?.loads().map(Phase::label);
    let chart = Chart::new(ChartKind::Lines, title, "phase", unit, categories);
    chart_of_several(chart.with(runs.iter().map(|run| series(run, run.loads(), value))))
}

/// A single bar or point shows nothing that its row in the table doesn't.
fn chart_of_several(chart: Chart) -> Option<Chart> {
    (chart.categories.len() > 1).then_some(chart)
}

fn series<'r>(run: &'r Run, phases: impl Iterator<Item = &'r Phase>, value: Value<'_>) -> Series {
    Series::new(run.api.title(), phases.map(|phase| value(run, phase)))
}

/// Accepted events per CPU second of service and database.
fn efficiency(run: &Run, phase: &Phase) -> Option<f64> {
    let cores = |process| run.usage.cores(process, phase.start, phase.start + phase.seconds);
    let cores = cores("service")? + cores("database").unwrap_or(0.0);
    (cores > 0.0).then(|| phase.throughput() / cores)
}

/// Each phase of each run, the APIs below each other.
fn all_phases(runs: &[Run]) -> Vec<(&Run, &Phase)> {
    let most = runs.iter().map(|run| run.summary.phases.len()).max().unwrap_or(0);
    let phase =
        |at: usize| runs.iter().filter_map(move |run| Some((run, run.summary.phases.get(at)?)));
    (0..most).flat_map(phase).collect()
}

fn row(run: &Run, phase: &Phase, cells: impl IntoIterator<Item = Cell>) -> Vec<Cell> {
    [phase.label().into(), run.api.title().into()].into_iter().chain(cells).collect()
}

impl Run {
    /// Whether no threshold was crossed and the database is as expected.
    pub(super) fn passed(&self) -> bool {
        self.summary.crossed.is_empty() && self.check.problems.is_empty()
    }

    /// The phases that vary the load.
    fn loads(&self) -> impl Iterator<Item = &Phase> {
        self.summary.phases.iter().filter(|phase| !phase.by_size)
    }

    /// The phases that vary the payload size.
    fn sizes(&self) -> impl Iterator<Item = &Phase> {
        self.summary.phases.iter().filter(|phase| phase.by_size)
    }

    /// The phase with the highest throughput.
    fn best(&self) -> Option<&Phase> {
        self.loads().max_by(|a, b| a.throughput().total_cmp(&b.throughput()))
    }

    /// The first phase that comes near the best.
    fn saturation(&self) -> Option<&Phase> {
        let least = self.best()?.throughput() * SATURATION;
        self.loads().find(|phase| phase.throughput() >= least)
    }
}
