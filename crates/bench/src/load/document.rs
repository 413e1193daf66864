//! The report of a load test.

use chrono::DateTime;

use super::summary::Phase;
use super::{Args, Run, title};
use crate::report::{
    Axis, Bars, Block, Cell, Document, Lines, Section, Series, Table, Tone, number, thousands,
};

const MIB: f64 = (1 << 20) as f64;

/// The summary: everything by phase.
pub(super) fn of(args: &Args, runs: &[Run], facts: Vec<(String, String)>) -> Document {
    let mut document = Document {
        title: format!("Load test: {}, {}", args.mode_name(), args.database_name()),
        lead: lead(runs),
        facts,
        ..Document::default()
    };
    add_settings(&mut document, runs);
    document.sections = vec![results(runs), throughput(runs), latency(runs)];
    document.sections.push(cost(runs));
    if runs.iter().any(|run| run.sizes().next().is_some()) {
        document.sections.push(sizes(runs));
    }
    document.sections.push(errors(runs));
    document
}

/// What this run was told, and when.
fn add_settings(document: &mut Document, runs: &[Run]) {
    if let Some(run) = runs.first() {
        let started = DateTime::from_timestamp_millis(run.summary.started).unwrap_or_default();
        document.fact("begun", started.format("%Y-%m-%d %H:%M UTC").to_string());
        if let Some(phase) = run.summary.phases.first() {
            document.fact("phases", format!("{} s each, payload {}", phase.seconds, phase.size));
        }
    }
    for (name, usual) in [("EVENT_MIX", "as in config.js"), ("ATTRIBUTES", "json")] {
        document.fact(name, std::env::var(name).unwrap_or_else(|_| usual.to_owned()));
    }
}

/// Which way in carried how much, where it saturated, and whether all of it passed.
fn lead(runs: &[Run]) -> String {
    let mut sentences = Vec::new();
    for run in runs {
        let Some(best) = run.best() else { continue };
        let saturated = run.saturation().filter(|phase| phase.name != best.name);
        let (name, events) = (title(run.api), number(best.throughput()));
        let p99 = number(best.p99);
        let mut text =
            format!("{name} carried {events} events/s with {} (p99 {p99} ms)", best.label());
        if let Some(phase) = saturated {
            text.push_str(&format!(", all but 5 % of it from {} on", phase.label()));
        }
        sentences.push(text + ".");
    }
    if let [rest, grpc] = runs
        && let (Some(a), Some(b)) = (rest.best(), grpc.best())
    {
        let (more, less) =
            if a.throughput() >= b.throughput() { (rest, grpc) } else { (grpc, rest) };
        let ratio = more.most() / less.most().max(f64::MIN_POSITIVE);
        let (more, less) = (title(more.api), title(less.api));
        sentences.push(format!("{more} carried {} times what {less} did.", number(ratio)));
    }
    sentences.push(if runs.iter().all(Run::passed) {
        "Every threshold holds, and the database has each accepted event once.".to_owned()
    } else {
        "THE TEST FAILED.".to_owned()
    });
    sentences.join(" ")
}

fn results(runs: &[Run]) -> Section {
    let mut table = Table::new(["", "result", "sent", "accepted, new", "in the log", "duplicates"]);
    let mut blocks = Vec::new();
    for run in runs {
        let passed = if run.passed() {
            Cell::toned("passed", Tone::Good)
        } else {
            Cell::toned("failed", Tone::Bad)
        };
        let count = |count: u64| Cell::from(thousands(count as f64));
        let (total, verdict) = (&run.summary.total, &run.verdict);
        let stored = Cell::from(thousands(verdict.stored as f64));
        table.rows.push(vec![
            title(run.api).into(),
            passed,
            count(total.sent),
            count(verdict.accepted),
            stored,
            count(total.duplicate),
        ]);
        for rule in &run.summary.broken {
            blocks.push(Block::Text(format!("{}: threshold crossed: {rule}", title(run.api))));
        }
        for finding in &verdict.findings {
            blocks.push(Block::Text(format!("{}: {finding}", title(run.api))));
        }
    }
    blocks.insert(0, Block::Table(table));
    Section::new("Result", blocks)
}

fn throughput(runs: &[Run]) -> Section {
    let chart = by_phase(runs, "Throughput", "accepted events a second", |_, phase| {
        Some(phase.throughput())
    });
    Section::new("Throughput", [chart])
}

fn latency(runs: &[Run]) -> Section {
    let chart = |quantile: &str, value: fn(&Phase) -> f64| {
        let title = format!("Latency, {quantile}");
        by_phase(runs, &title, "milliseconds", |_, phase| Some(value(phase)))
    };
    let mut table =
        Table::new(["phase", "", "events/s", "p50 ms", "p95 ms", "p99 ms", "longest ms"]);
    for (run, phase) in all_phases(runs) {
        let figures = [phase.throughput(), phase.p50, phase.p95, phase.p99, phase.max];
        let mut row = vec![Cell::from(phase.label()), title(run.api).into()];
        row.extend(figures.map(|figure| Cell::from(number(figure))));
        table.rows.push(row);
    }
    let charts = [
        chart("p50", |phase| phase.p50),
        chart("p95", |phase| phase.p95),
        chart("p99", |phase| phase.p99),
    ];
    Section::new("Latency", charts.into_iter().chain([Block::Table(table)]))
}

fn cost(runs: &[Run]) -> Section {
    let efficiency = by_phase(
        runs,
        "Events per CPU second of service and database",
        "events a CPU second",
        |run, phase| Some(phase.counts.accepted() as f64 / run.cpu(phase)?),
    );
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
        let cores = processes.map(|process| run.timeline.cpu(process, from, to));
        let memory = processes.map(|process| run.timeline.memory(process, from, to));
        let mut row = vec![Cell::from(phase.label()), title(run.api).into()];
        row.extend(cores.map(|cpu| shown(cpu.map(|cpu| cpu / phase.seconds))));
        row.extend(memory.map(|bytes| shown(bytes.map(|bytes| bytes as f64 / MIB))));
        table.rows.push(row);
    }
    Section::new("CPU and memory", [efficiency, Block::Table(table)])
}

fn sizes(runs: &[Run]) -> Section {
    let chart = |title_of: &str, unit: &str, value: &dyn Fn(&Run, &Phase) -> Option<f64>| {
        Block::Bars(bars(runs, title_of, unit, &|run| run.sizes().collect(), value))
    };
    let cost = |run: &Run, phase: &Phase| Some(phase.counts.accepted() as f64 / run.cpu(phase)?);
    Section::new(
        "Payload sizes",
        [
            chart("Throughput by payload size", "events a second", &|_, phase| {
                Some(phase.throughput())
            }),
            chart("Latency by payload size, p95", "milliseconds", &|_, phase| Some(phase.p95)),
            chart("Events per CPU second by payload size", "events a CPU second", &cost),
        ],
    )
}

fn errors(runs: &[Run]) -> Section {
    let mut table = Table::new([
        "phase",
        "",
        "sent",
        "refused, nothing stored",
        "no or no clear answer",
        "wrong answers",
        "never sent",
        "failed",
    ]);
    for (run, phase) in all_phases(runs) {
        let counts = &phase.counts;
        let mut row = vec![Cell::from(phase.label()), title(run.api).into()];
        let unclear = counts.unknown.saturating_sub(counts.wrong);
        let figures = [counts.sent, counts.refused, unclear, counts.wrong, counts.dropped];
        row.extend(figures.map(|figure| Cell::from(thousands(figure as f64))));
        let tone = if counts.failed() > 0.0 { Tone::Bad } else { Tone::Good };
        row.push(Cell::toned(format!("{} %", number(counts.failed() * 100.0)), tone));
        table.rows.push(row);
    }
    Section::new("Errors", [Block::Table(table)])
}

/// What the processes used, sample by sample.
pub(super) fn over_time(runs: &[Run]) -> Section {
    let mut blocks = Vec::new();
    for run in runs {
        let (mut cores, mut memory) = (Vec::new(), Vec::new());
        for process in &run.timeline.processes {
            let name = || process.name.to_owned();
            cores.push(Series { name: name(), points: run.timeline.cores(process.name) });
            memory.push(Series { name: name(), points: run.timeline.mebibytes(process.name) });
        }
        for (what, unit, series) in [("CPU", "cores", cores), ("memory", "MiB", memory)] {
            blocks.push(Block::Lines(Lines {
                title: format!("{}: {what} over time", title(run.api)),
                x: Axis::linear("seconds"),
                y: Axis::linear(unit),
                series,
            }));
        }
    }
    Section::new("Over time", blocks)
}

/// REST and gRPC side by side over the phases: lines where there are several, else bars.
fn by_phase(
    runs: &[Run],
    title_of: &str,
    unit: &str,
    value: impl Fn(&Run, &Phase) -> Option<f64>,
) -> Block {
    if runs.iter().all(|run| run.loads().count() < 2) {
        let phases = |run| Run::loads(run).collect();
        return Block::Bars(bars(runs, title_of, unit, &phases, &value));
    }
    let grows = runs.iter().all(Run::users_grow);
    let series = runs.iter().map(|run| {
        let points = run.loads().enumerate().filter_map(|(at, phase)| {
            let part = (at + 1) as f64;
            let x = if grows { phase.users.unwrap_or(part) } else { part };
            Some((x, value(run, phase)?))
        });
        Series { name: title(run.api).to_owned(), points: points.collect() }
    });
    Block::Lines(Lines {
        title: title_of.to_owned(),
        x: if grows { Axis::log("virtual users") } else { Axis::linear("phase") },
        y: Axis::linear(unit),
        series: series.collect(),
    })
}

/// A row for each phase, with a bar for each API.
fn bars<'a>(
    runs: &'a [Run],
    title_of: &str,
    unit: &str,
    phases: &dyn Fn(&'a Run) -> Vec<&'a Phase>,
    value: &dyn Fn(&Run, &Phase) -> Option<f64>,
) -> Bars {
    let names = runs.first().map(phases).unwrap_or_default();
    let row = |at: usize, phase: &Phase| {
        let values = runs.iter().map(|run| value(run, phases(run).get(at).copied()?));
        (phase.label(), values.collect())
    };
    Bars {
        title: title_of.to_owned(),
        unit: unit.to_owned(),
        parts: runs.iter().map(|run| title(run.api).to_owned()).collect(),
        rows: names.into_iter().enumerate().map(|(at, phase)| row(at, phase)).collect(),
        stacked: false,
    }
}

/// Each phase of each run, REST and gRPC below each other.
fn all_phases(runs: &[Run]) -> Vec<(&Run, &Phase)> {
    let most = runs.iter().map(|run| run.summary.phases.len()).max().unwrap_or(0);
    let phase =
        |at: usize| runs.iter().filter_map(move |run| Some((run, run.summary.phases.get(at)?)));
    (0..most).flat_map(phase).collect()
}

fn shown(value: Option<f64>) -> Cell {
    value.map_or_else(|| "–".into(), |value| number(value).into())
}

impl Run {
    /// The phases that are there for their load.
    fn loads(&self) -> impl Iterator<Item = &Phase> {
        self.summary.phases.iter().filter(|phase| !phase.by_size)
    }

    /// The phases that are there for their payload size.
    fn sizes(&self) -> impl Iterator<Item = &Phase> {
        self.summary.phases.iter().filter(|phase| phase.by_size)
    }

    fn users_grow(&self) -> bool {
        let users: Vec<_> = self.loads().map(|phase| phase.users.unwrap_or(0.0)).collect();
        users.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// The phase with the most throughput.
    fn best(&self) -> Option<&Phase> {
        self.loads().max_by(|a, b| a.throughput().total_cmp(&b.throughput()))
    }

    fn most(&self) -> f64 {
        self.best().map_or(0.0, Phase::throughput)
    }

    /// The first phase that comes near the best.
    fn saturation(&self) -> Option<&Phase> {
        let near = self.most() * 0.95;
        self.loads().find(|phase| phase.throughput() >= near)
    }

    /// CPU seconds of service and database in a phase.
    fn cpu(&self, phase: &Phase) -> Option<f64> {
        let (from, to) = (phase.start, phase.start + phase.seconds);
        let service = self.timeline.cpu("service", from, to)?;
        let cpu = service + self.timeline.cpu("database", from, to).unwrap_or(0.0);
        (cpu > 0.0).then_some(cpu)
    }
}
