//! Charts as SVG, drawn by `charts-rs`: static SVG with logarithmic axes and stacked bars, few
//! dependencies. Vega-Lite would put a megabyte of JavaScript into each page.

use charts_rs::{HorizontalBarChart, LineChart};
use serde_json::{Value, json};

use super::document::{Chart, ChartKind};
use crate::Result;

const WIDTH: f64 = 980.0;
const LINES_HEIGHT: f64 = 380.0;
/// The library measures texts in Roboto.
const FONT: &str = "Roboto, Arial, Helvetica, sans-serif";
/// The size for which room is reserved; the style sheet shows a smaller one.
const FONT_SIZE: u32 = 14;
const COLOURS: [&str; 6] = ["#2a6fd1", "#d9622b", "#1b8f6b", "#8a59c4", "#b08a00", "#0c87a0"];

pub(super) fn to_svg(chart: &Chart) -> Result<String> {
    Ok(match chart.kind {
        ChartKind::Lines | ChartKind::LogLines | ChartKind::LogTimeline => {
            LineChart::from_json(&lines(chart).to_string())?.svg()?
        }
        ChartKind::Bars | ChartKind::StackedBars => {
            HorizontalBarChart::from_json(&bars(chart).to_string())?.svg()?
        }
    })
}

fn lines(chart: &Chart) -> Value {
    let series = chart.series.iter().map(|one| json!({"name": one.name, "data": one.values}));
    let mut y_axis = json!({
        "axis_title": chart.unit, "axis_formatter": "{t}", "axis_font_size": FONT_SIZE,
    });
    if matches!(chart.kind, ChartKind::LogLines | ChartKind::LogTimeline) {
        let (low, high) = decades(chart);
        y_axis["axis_scale"] = json!("log");
        y_axis["axis_min"] = json!(10f64.powi(low));
        y_axis["axis_max"] = json!(10f64.powi(high));
        y_axis["axis_split_number"] = json!(high - low);
    }
    let mut options = common(chart, LINES_HEIGHT);
    if chart.kind == ChartKind::LogTimeline {
        let numbers = chart.categories.iter().map(|category| category.parse().unwrap_or(0.0));
        options["x_axis_type"] = json!("value");
        options["x_axis_values"] = numbers.map(|number: f64| json!(number)).collect();
        options["series_symbol"] = json!({"type": "none"});
        options["tooltip_show"] = json!(false); // one element for each value
    }
    options["x_axis_data"] = json!(chart.categories);
    options["x_axis_title"] = json!(chart.axis);
    options["y_axis_configs"] = json!([y_axis]);
    options["series_list"] = series.collect();
    options
}

/// The powers of ten around the values, so that the grid lines are at the marks.
fn decades(chart: &Chart) -> (i32, i32) {
    let values = || chart.series.iter().flat_map(|one| one.values.iter().flatten());
    let low = values().copied().fold(f64::INFINITY, f64::min).log10().floor() as i32;
    let high = values().copied().fold(0.0, f64::max).log10().ceil() as i32;
    (low, high.max(low.saturating_add(1)))
}

/// The library draws categories from the bottom to the top.
fn bars(chart: &Chart) -> Value {
    let stacked = chart.kind == ChartKind::StackedBars;
    let series = chart.series.iter().map(|one| {
        let values: Vec<_> = one.values.iter().rev().collect();
        let mut series = json!({"name": one.name, "data": values, "label_show": !stacked});
        if stacked {
            series["stack"] = json!("all");
        }
        series
    });
    let bars_per_category = if stacked { 1 } else { chart.series.len() };
    let height = 90 + chart.categories.len() * (10 + bars_per_category * 18);
    let mut options = common(chart, height as f64);
    options["x_axis_data"] = chart.categories.iter().rev().map(String::as_str).collect();
    options["x_axis_title"] = json!(chart.unit);
    options["series_label_formatter"] = json!("{t}");
    options["series_list"] = series.collect();
    options
}

fn common(chart: &Chart, height: f64) -> Value {
    json!({
        "width": WIDTH, "height": height, "font_family": FONT,
        "margin": {"left": 8, "top": 4, "right": 40, "bottom": 4},
        "legend_show": chart.series.len() > 1, "legend_font_size": FONT_SIZE,
        "legend_category": "round_rect", "legend_margin": {"bottom": 8},
        "x_axis_font_size": FONT_SIZE, "series_label_font_size": FONT_SIZE,
        "series_colors": COLOURS, "series_stroke_width": 2, "tooltip_show": true,
    })
}
