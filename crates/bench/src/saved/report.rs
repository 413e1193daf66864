//! The report of a comparison.

use super::comparison::{Compared, Comparison, Spread, Verdict};
use crate::report::{
    Block, Cell, Chart, ChartKind, Document, Section, Series, Table, Tone, number, thousands,
};
use crate::results::{Results, Summary};

const METHOD: [&str; 4] = [
    "ratio: the median of the rounds now, divided by that of the baseline; above 1 is faster. noise: \
     from the slowest round now divided by the fastest of the baseline to the fastest divided by the \
     slowest. CPU: of service and database per event, above 1 is more; it varies less than the rate, \
     because waiting does not count. p99: of the latency, above 1 is slower.",
    "faster, slower: every round now is beyond every round of the baseline. noise: the rounds \
     overlap, so that the difference may be none. With few rounds this happens by chance too: of \
     cells that did not change at all one in 3 with two rounds in each run, one in 10 with three, one \
     in 126 with five.",
    "pgbench and COPY run none of our code. What changed with them is the machine, the disk or \
     PostgreSQL, and a cell of ours that changed by no more than that is shown as \"as the machine\". \
     This excuses at most; it does not correct: the ratios are of the measured rates.",
    "To find a difference of a few percent, measure both builds by turns, with more rounds \
     (run --rounds), on a machine that does nothing else.",
];

/// The report of a comparison with the baseline of this name.
pub(super) fn document(
    name: &str,
    baseline: &Results,
    now: &Results,
    comparison: &Comparison,
) -> Document {
    let mut document = Document {
        title: format!("Compared with the baseline {name}"),
        summary: summary(comparison),
        warnings: warnings(baseline, now, comparison),
        ..Document::default()
    };
    for (title, results) in [("baseline", baseline), ("now", now)] {
        for (fact, value) in &results.facts {
            document.fact(&format!("{title}: {fact}"), value);
        }
    }
    let chart = chart(comparison).map(Block::Chart);
    document.sections = vec![
        Section::new("Cells", [Block::Table(table(comparison))].into_iter().chain(chart)),
        Section::new("Method", METHOD.map(|text| Block::Text(text.to_owned()))),
    ];
    document
}

/// The cells for the terminal.
pub(super) fn to_text(comparison: &Comparison) -> String {
    let line = |cells: &[String]| {
        let [name, before, now, ratio, noise, cpu, p99, result] = cells else {
            return String::new();
        };
        format!(
            "{name:<20} {before:>10} {now:>10} {ratio:>7} {noise:>13} {cpu:>6} {p99:>6}  {result}"
        )
    };
    let table = table(comparison);
    let rows = table.rows.iter().map(|row| row.iter().map(|cell| cell.text.clone()).collect());
    [table.head.clone()]
        .into_iter()
        .chain(rows)
        .map(|row: Vec<String>| line(&row))
        .collect::<Vec<_>>()
        .join("\n")
}

fn summary(comparison: &Comparison) -> String {
    let names = |verdict| {
        let names = comparison.with(verdict).map(|cell| {
            let ratio = cell.ratio().map(number).unwrap_or_default();
            format!("{} ({ratio}×)", cell.name)
        });
        let names: Vec<_> = names.collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let judged = comparison.judged().count();
    if judged == 0 {
        return "No cell could be compared.".to_owned();
    }
    format!(
        "Of {judged} compared cells slower: {}; faster: {}. If nothing had changed, the noise alone \
         would make about {} of them look so.",
        names(Verdict::Slower),
        names(Verdict::Faster),
        number(comparison.expected_by_chance())
    )
}

fn warnings(baseline: &Results, now: &Results, comparison: &Comparison) -> Vec<String> {
    let mut warnings = Vec::new();
    match comparison.machine {
        None => warnings.push(
            "No pgbench or COPY cell is in both runs: a change of the machine can't be \
             distinguished from one of the code. Measure pgbench-32 in both."
                .to_owned(),
        ),
        Some(Spread { lowest, highest }) if lowest < 0.9 || highest > 1.1 => {
            warnings.push(format!(
                "The machine changed between the runs: pgbench and COPY now have {} to {} times \
                 their rate.",
                number(lowest),
                number(highest)
            ));
        }
        Some(_) => {}
    }
    for fact in ["machine", "PostgreSQL"] {
        let value = |results: &Results| {
            results.facts.iter().find(|(name, _)| name == fact).map(|(_, value)| value.clone())
        };
        if let (Some(before), Some(after)) = (value(baseline), value(now))
            && before != after
        {
            warnings.push(format!("The runs have another {fact}: {before}, now {after}."));
        }
    }
    for (title, results) in [("baseline", baseline), ("later run", now)] {
        let mut runs: Vec<_> = results.measurements.iter().map(|one| &one.run).collect();
        runs.sort();
        runs.dedup();
        if runs.len() > 1 {
            warnings.push(format!(
                "The cells of the {title} were measured in {} runs, at different times.",
                runs.len()
            ));
        }
    }
    warnings
}

fn table(comparison: &Comparison) -> Table {
    let mut table =
        Table::new(["cell", "before/s", "now/s", "ratio", "noise", "CPU", "p99", "result"]);
    table.rows = comparison.cells.iter().map(row).collect();
    table
}

fn row(cell: &Compared) -> Vec<Cell> {
    let rate = |summary: &Option<Summary>| {
        let valid = summary.as_ref().filter(|summary| summary.rounds > 0);
        valid.map(|summary| thousands(summary.events_per_second)).unwrap_or_default()
    };
    let ratio = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
    let noise =
        cell.noise().map(|Spread { lowest, highest }| format!("{lowest:.2} – {highest:.2}"));
    vec![
        cell.name.clone().into(),
        rate(&cell.baseline).into(),
        rate(&cell.now).into(),
        ratio(cell.ratio()).into(),
        noise.unwrap_or_default().into(),
        ratio(cell.ratio_of(cpu)).into(),
        ratio(cell.ratio_of(|summary| Some(summary.latency_us?.p99))).into(),
        result(cell),
    ]
}

/// Of service and database per event, in microseconds; that of SQLite is the service's.
fn cpu(summary: &Summary) -> Option<f64> {
    let cpu = summary.cpu_us;
    match (cpu.service, cpu.database) {
        (None, None) => None,
        (service, database) => Some(service.unwrap_or(0.0) + database.unwrap_or(0.0)),
    }
}

fn result(cell: &Compared) -> Cell {
    match cell.verdict {
        Verdict::Faster => Cell::new("faster", Tone::Good),
        Verdict::Slower => Cell::new("slower", Tone::Bad),
        Verdict::Noise => "noise".into(),
        Verdict::AsTheMachine => "as the machine".into(),
        Verdict::Machine => "machine".into(),
        Verdict::TooFewRounds => "too few rounds".into(),
        Verdict::Failed => Cell::new("failed", Tone::Bad),
        Verdict::OnlyInBaseline => "only in the baseline".into(),
        Verdict::OnlyNow => "not in the baseline".into(),
    }
}

/// The ratios as bars; `None` where fewer than two cells have one.
fn chart(comparison: &Comparison) -> Option<Chart> {
    let cells: Vec<_> =
        comparison.cells.iter().filter_map(|cell| Some((cell, cell.ratio()?))).collect();
    let names = cells.iter().map(|(cell, _)| cell.name.clone());
    let title = "Events per second, as a multiple of the baseline";
    let chart = Chart::new(ChartKind::Bars, title, "", "×", names)
        .with([Series::new("ratio", cells.iter().map(|&(_, ratio)| Some(ratio)))]);
    (cells.len() > 1).then_some(chart)
}
