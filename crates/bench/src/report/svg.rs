//! Charts as SVG. Colours are CSS classes of the page (`c0`, `c1`, …), so that they follow light and
//! dark; markers differ in shape too.

use std::fmt::Write as _;

use super::html::escape;
use super::scale::Scale;
use super::{Bars, Lines, Series, Spread, exact, number};

const WIDTH: f64 = 760.0;
/// Of a chart of lines.
const HEIGHT: f64 = 340.0;
/// Of a digit or letter in a label, about.
const LETTER: f64 = 6.7;
/// The classes that the page has colours for.
const COLOURS: usize = 8;

/// Where the values of a chart are drawn.
struct Plot {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Plot {
    fn x(&self, place: f64) -> f64 {
        self.left + place * (self.right - self.left)
    }

    fn y(&self, place: f64) -> f64 {
        self.bottom - place * (self.bottom - self.top)
    }
}

/// The class of the part or line with that place.
pub(super) fn colour(at: usize) -> String {
    format!("c{}", at % COLOURS)
}

pub(super) fn lines(chart: &Lines) -> String {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let x = Scale::with_own_marks(chart.x.spread, points().map(|point| point.0));
    let y = Scale::of(chart.y.spread, points().map(|point| point.1));
    let plot = Plot { left: 64.0, right: WIDTH - 24.0, top: 26.0, bottom: HEIGHT - 44.0 };
    let mut svg = open(HEIGHT, &chart.title);
    for &mark in &y.marks {
        horizontal(&mut svg, &plot, plot.y(y.place(mark)), &number(mark));
    }
    for &mark in &x.marks {
        vertical(&mut svg, &plot, plot.x(x.place(mark)), &exact(mark));
    }
    let (middle, below) = ((plot.left + plot.right) / 2.0, HEIGHT - 6.0);
    text(&mut svg, middle, below, "middle", "name", &chart.x.label);
    text(&mut svg, 4.0, 13.0, "start", "name", &chart.y.label);
    for (at, series) in chart.series.iter().enumerate() {
        let place = |&(px, py): &(f64, f64)| (plot.x(x.place(px)), plot.y(y.place(py)));
        line(&mut svg, at, series, &series.points.iter().map(place).collect::<Vec<_>>());
    }
    svg + "</svg>"
}

fn open(height: f64, title: &str) -> String {
    let title = escape(title);
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\">")
}

fn line(svg: &mut String, at: usize, series: &Series, places: &[(f64, f64)]) {
    let colour = colour(at);
    let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = write!(svg, "<polyline class=\"line {colour}\" points=\"{}\"/>", path.join(" "));
    // a dense line needs no markers, and would drown in them
    if places.len() > 60 {
        return;
    }
    for (&(x, y), &(px, py)) in places.iter().zip(&series.points) {
        let (name, px, py) = (escape(&series.name), exact(px), number(py));
        let shape = marker(at);
        let _ = write!(
            svg,
            "<path class=\"mark {colour}\" transform=\"translate({x:.1} {y:.1})\" d=\"{shape}\">\
             <title>{name} at {px}: {py}</title></path>"
        );
    }
}

/// Circle, square, diamond, triangle.
fn marker(at: usize) -> &'static str {
    const SHAPES: [&str; 4] = [
        "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
        "M-3.6,-3.6h7.2v7.2h-7.2z",
        "M0,-5L5,0L0,5L-5,0z",
        "M0,-5L4.6,3.6L-4.6,3.6z",
    ];
    SHAPES[at % SHAPES.len()]
}

fn horizontal(svg: &mut String, plot: &Plot, y: f64, label: &str) {
    let Plot { left, right, .. } = plot;
    let _ = write!(svg, "<path class=\"grid\" d=\"M{left:.1},{y:.1}H{right:.1}\"/>");
    text(svg, left - 8.0, y + 4.0, "end", "mark-label", label);
}

fn vertical(svg: &mut String, plot: &Plot, x: f64, label: &str) {
    let Plot { top, bottom, .. } = plot;
    let _ = write!(svg, "<path class=\"grid\" d=\"M{x:.1},{top:.1}V{bottom:.1}\"/>");
    text(svg, x, bottom + 17.0, "middle", "mark-label", label);
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
    let text = escape(text);
    let _ = write!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

pub(super) fn bars(chart: &Bars) -> String {
    let thickness = if chart.stacked { 16.0 } else { 11.0 };
    let parts = if chart.stacked { 1 } else { chart.parts.len().max(1) };
    let row_height = parts as f64 * (thickness + 2.0) + 12.0;
    let longest = chart.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let height = chart.rows.len() as f64 * row_height + 50.0;
    let left = (longest as f64 * LETTER + 14.0).min(WIDTH / 2.0);
    let plot = Plot { left, right: WIDTH - 64.0, top: 8.0, bottom: height - 42.0 };
    let scale = Scale::of(Spread::Linear, chart.rows.iter().flat_map(|(_, v)| widest(chart, v)));
    let mut svg = open(height, &chart.title);
    for &mark in &scale.marks {
        vertical(&mut svg, &plot, plot.x(scale.place(mark)), &number(mark));
    }
    let middle = (plot.left + plot.right) / 2.0;
    text(&mut svg, middle, height - 6.0, "middle", "name", &chart.unit);
    for (at, (name, values)) in chart.rows.iter().enumerate() {
        let top = plot.top + at as f64 * row_height + 6.0;
        let middle = top + (row_height - 12.0) / 2.0 + 4.0;
        text(&mut svg, left - 8.0, middle, "end", "row", name);
        let mut row = Row { chart, plot: &plot, scale: &scale, name, top, thickness };
        if chart.stacked { row.stacked(&mut svg, values) } else { row.grouped(&mut svg, values) }
    }
    svg + "</svg>"
}

/// What the scale must hold of a row.
fn widest(chart: &Bars, values: &[Option<f64>]) -> Option<f64> {
    let values = values.iter().flatten().copied();
    if chart.stacked { Some(values.sum()) } else { values.reduce(f64::max) }
}

/// One row of bars.
struct Row<'a> {
    chart: &'a Bars,
    plot: &'a Plot,
    scale: &'a Scale,
    name: &'a str,
    top: f64,
    thickness: f64,
}

impl Row<'_> {
    fn stacked(&mut self, svg: &mut String, values: &[Option<f64>]) {
        let mut sum = 0.0;
        for (at, value) in values.iter().enumerate() {
            let Some(value) = *value else { continue };
            self.bar(svg, at, sum, value);
            sum += value;
        }
        self.value(svg, sum);
    }

    fn grouped(&mut self, svg: &mut String, values: &[Option<f64>]) {
        for (at, value) in values.iter().enumerate() {
            if let Some(value) = *value {
                self.bar(svg, at, 0.0, value);
                self.value(svg, value);
            }
            self.top += self.thickness + 2.0;
        }
    }

    fn bar(&self, svg: &mut String, at: usize, from: f64, value: f64) {
        let (x, end) =
            (self.plot.x(self.scale.place(from)), self.plot.x(self.scale.place(from + value)));
        let (width, top, height) = ((end - x).max(0.5), self.top, self.thickness);
        let (colour, name) = (colour(at), escape(self.name));
        let part = escape(self.chart.parts.get(at).map_or("", String::as_str));
        let value = number(value);
        let _ = write!(
            svg,
            "<rect class=\"bar {colour}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
             height=\"{height}\" rx=\"2\"><title>{name}, {part}: {value}</title></rect>"
        );
    }

    fn value(&self, svg: &mut String, value: f64) {
        let x = self.plot.x(self.scale.place(value)) + 6.0;
        text(svg, x, self.top + self.thickness / 2.0 + 4.0, "start", "value", &number(value));
    }
}
