//! The first figures of the report as one picture, to be shown where a page can't be: an SVG that
//! stands alone.

use std::fmt::Write as _;

use super::html::escape;
use super::{Block, Document, svg};

/// Without variables, which not every viewer of pictures knows.
const STYLE: &str = include_str!("picture.css");
/// Figures that fit into a picture.
const FIGURES: usize = 6;
const COLUMNS: usize = 2;
/// Of a figure's card, and between cards.
const CARD: f64 = 792.0;
const GAP: f64 = 24.0;
/// Where a chart stands in its card; above it are caption and legend.
const INSET: f64 = 16.0;
const ABOVE: f64 = 64.0;
/// Letters of the lead in a line.
const LINE: usize = 165;

/// A chart with what is written above it.
struct Figure<'a> {
    caption: &'a str,
    names: Vec<&'a str>,
    chart: String,
}

pub(super) fn picture(document: &Document) -> String {
    let blocks = document.sections.iter().flat_map(|section| &section.blocks);
    let figures: Vec<_> = blocks.filter_map(figure).take(FIGURES).collect();
    let width = COLUMNS as f64 * (CARD + GAP) + GAP;
    let mut body = String::new();
    let mut y = heading(&mut body, document);
    for row in figures.chunks(COLUMNS) {
        let height = row.iter().map(Figure::height).fold(0.0, f64::max);
        for (column, figure) in row.iter().enumerate() {
            figure.draw(&mut body, GAP + column as f64 * (CARD + GAP), y, height);
        }
        y += height + GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {y}\" width=\"{width}\" \
         height=\"{y}\">\n<style>\n{STYLE}</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{y}\"/>\n{body}</svg>\n"
    )
}

/// Title and lead; the height that they take.
fn heading(body: &mut String, document: &Document) -> f64 {
    let mut y = 46.0;
    write_text(body, GAP, y, "title", &document.title);
    for line in wrapped(&document.lead) {
        y += 24.0;
        write_text(body, GAP, y, "lead", &line);
    }
    y + GAP
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.last().is_some_and(|line| line.len() + word.len() >= LINE);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

fn figure(block: &Block) -> Option<Figure<'_>> {
    match block {
        Block::Lines(chart) => Some(Figure {
            caption: &chart.title,
            names: chart.series.iter().map(|series| series.name.as_str()).collect(),
            chart: svg::lines(chart),
        }),
        Block::Bars(chart) => Some(Figure {
            caption: &chart.title,
            names: chart.parts.iter().map(String::as_str).collect(),
            chart: svg::bars(chart),
        }),
        Block::Text(_) | Block::Table(_) => None,
    }
}

impl Figure<'_> {
    fn height(&self) -> f64 {
        self.chart_size().1 + ABOVE + INSET
    }

    /// What the chart says of its size: `viewBox="0 0 WIDTH HEIGHT"`.
    fn chart_size(&self) -> (f64, f64) {
        let view = self.chart.split('"').nth(1).unwrap_or_default();
        let mut numbers = view.split(' ').skip(2).filter_map(|number| number.parse().ok());
        (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
    }

    fn draw(&self, body: &mut String, x: f64, y: f64, height: f64) {
        let _ = writeln!(
            body,
            "<rect class=\"card\" x=\"{x}\" y=\"{y}\" width=\"{CARD}\" height=\"{height}\" rx=\"8\"/>"
        );
        write_text(body, x + INSET, y + 26.0, "caption", self.caption);
        let mut left = x + INSET;
        for (at, name) in self.names.iter().enumerate() {
            let (colour, top) = (svg::colour(at), y + 36.0);
            let _ = writeln!(
                body,
                "<rect class=\"bar {colour}\" x=\"{left}\" y=\"{top}\" width=\"12\" height=\"12\" rx=\"3\"/>"
            );
            write_text(body, left + 18.0, y + 47.0, "legend", name);
            left += 44.0 + 7.5 * name.chars().count() as f64;
        }
        let ((width, tall), left, top) = (self.chart_size(), x + INSET, y + ABOVE);
        let size = format!("width=\"{width}\" height=\"{tall}\" overflow=\"visible\"");
        let placed = format!("<svg x=\"{left}\" y=\"{top}\" {size} ");
        let _ = writeln!(body, "{}", self.chart.replacen("<svg ", &placed, 1));
    }
}

fn write_text(body: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = escape(text);
    let _ = writeln!(body, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>");
}
