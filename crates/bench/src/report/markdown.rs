//! A document as Markdown; charts become tables of their values, but for timelines.

use std::fmt::Write as _;

use super::document::{Block, Chart, ChartKind, Document, Table};
use super::number::number;

/// The document as text.
pub(crate) fn to_markdown(document: &Document) -> String {
    let mut text = format!("# {}\n", document.title);
    if !document.summary.is_empty() {
        let _ = writeln!(text, "{}", document.summary);
    }
    for warning in &document.warnings {
        let _ = writeln!(text, "\n**{warning}**");
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
        Block::Table(one) => table(text, one),
        Block::Chart(one) => chart(text, one),
        Block::Link { title, file } => drop(writeln!(text, "[{title}]({file})")),
    }
}

fn table(text: &mut String, table: &Table) {
    head(text, table.head.iter().map(String::as_str));
    for cells in &table.rows {
        row(text, cells.iter().map(|cell| cell.text.as_str()));
    }
}

fn chart(text: &mut String, chart: &Chart) {
    if chart.kind == ChartKind::LogTimeline {
        let _ = writeln!(text, "**{}**: a chart in the HTML page", chart.title);
        return; // its table would have a row for each second
    }
    let _ = writeln!(text, "**{}** ({})\n", chart.title, chart.unit);
    let names = chart.series.iter().map(|series| series.name.as_str());
    head(text, [chart.axis.as_str()].into_iter().chain(names));
    for (at, category) in chart.categories.iter().enumerate() {
        let value = |series: &super::document::Series| {
            series.values.get(at).copied().flatten().map(number).unwrap_or_default()
        };
        row(text, [category.clone()].into_iter().chain(chart.series.iter().map(value)));
    }
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
