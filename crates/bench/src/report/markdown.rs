//! The report as Markdown: charts become the tables of their values.

use std::fmt::Write as _;

use super::{Bars, Block, Document, Lines, Table, exact, number};

pub(super) fn text(document: &Document) -> String {
    let mut text = format!("# {}\n", document.title);
    if !document.lead.is_empty() {
        let _ = writeln!(text, "{}", document.lead);
    }
    if !document.facts.is_empty() {
        text.push_str("\n| measured on | |\n|---|---|\n");
    }
    for (name, value) in &document.facts {
        row(&mut text, [name.as_str(), value]);
    }
    for section in &document.sections {
        let _ = writeln!(text, "\n## {}", section.title);
        let mut blocks = section.blocks.iter().peekable();
        while let Some(part) = blocks.next() {
            block(&mut text, part);
            if blocks.peek().is_some() {
                text.push('\n');
            }
        }
    }
    text
}

fn block(text: &mut String, block: &Block) {
    match block {
        Block::Text(paragraph) => drop(writeln!(text, "{paragraph}")),
        Block::Table(part) => table(text, part),
        Block::Lines(chart) => lines(text, chart),
        Block::Bars(chart) => bars(text, chart),
    }
}

fn table(text: &mut String, table: &Table) {
    head(text, table.head.iter().map(String::as_str));
    for cells in &table.rows {
        row(text, cells.iter().map(|cell| cell.text.as_str()));
    }
}

fn lines(text: &mut String, chart: &Lines) {
    let _ = writeln!(text, "**{}** ({})\n", chart.title, chart.y.label);
    let names = chart.series.iter().map(|series| series.name.as_str());
    head(text, [chart.x.label.as_str()].into_iter().chain(names));
    let mut places: Vec<f64> =
        chart.series.iter().flat_map(|series| &series.points).map(|point| point.0).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    for place in places {
        let at = |points: &[(f64, f64)]| points.iter().find(|point| point.0 == place).map(|p| p.1);
        let values = chart.series.iter().map(|series| shown(at(&series.points)));
        row(text, [exact(place)].into_iter().chain(values));
    }
}

fn bars(text: &mut String, chart: &Bars) {
    let _ = writeln!(text, "**{}** ({})\n", chart.title, chart.unit);
    head(text, [""].into_iter().chain(chart.parts.iter().map(String::as_str)));
    for (name, values) in &chart.rows {
        let values = values.iter().map(|&value| shown(value));
        row(text, [name.clone()].into_iter().chain(values));
    }
}

fn shown(value: Option<f64>) -> String {
    value.map(number).unwrap_or_default()
}

fn head<'a>(text: &mut String, names: impl Iterator<Item = &'a str> + Clone) {
    row(text, names.clone());
    let rules = names.enumerate().map(|(at, _)| if at == 0 { "---" } else { "--:" });
    let _ = writeln!(text, "|{}|", rules.collect::<Vec<_>>().join("|"));
}

fn row(text: &mut String, cells: impl IntoIterator<Item = impl AsRef<str>>) {
    let cells: Vec<_> = cells.into_iter().map(|cell| cell.as_ref().replace('|', "\\|")).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}
