//! What is asked of an overloaded service, and what was seen.

use crate::cells::Way;
use crate::report::{Cell, Table, Tone, number};
use crate::results::{Measurement, Results, median};

/// A load, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A number of connections that may saturate.
    Search(usize),
    /// The connections that saturate.
    Saturated,
    /// Three times as many.
    MoreConnections,
    /// Requests at the rate that is carried.
    Rate,
    /// Requests at three times that rate.
    MoreRate,
}

impl Step {
    /// Those that are measured in rounds.
    pub(super) fn after_saturation() -> [Self; 4] {
        [Self::Saturated, Self::MoreConnections, Self::Rate, Self::MoreRate]
    }

    /// The name in the results.
    pub(super) fn name(self, way: Way) -> String {
        let api = api(way);
        match self {
            Self::Search(connections) => format!("{api}, {connections} connections"),
            Self::Saturated => format!("{api}, saturated"),
            Self::MoreConnections => format!("{api}, 3 × the connections"),
            Self::Rate => format!("{api}, the rate of saturation"),
            Self::MoreRate => format!("{api}, 3 × the rate"),
        }
    }
}

/// How the ways in are called here.
pub(super) fn api(way: Way) -> &'static str {
    if way == Way::Unary { "gRPC" } else { "REST" }
}

/// The good measurements of a step.
pub(super) struct Seen<'r>(Vec<&'r Measurement>);

impl<'r> Seen<'r> {
    pub(super) fn of(results: &'r Results, way: Way, step: Step) -> Self {
        let name = step.name(way);
        let is_it = |measured: &&Measurement| measured.cell == name && measured.error.is_none();
        Self(results.measurements.iter().filter(is_it).collect())
    }

    /// The median of a value over the rounds.
    pub(super) fn median(&self, value: impl Fn(&Measurement) -> Option<f64>) -> Option<f64> {
        median(self.0.iter().filter_map(|measured| value(measured)).collect())
    }

    pub(super) fn rate(&self) -> Option<f64> {
        self.median(|measured| Some(measured.events_per_second))
    }

    /// Milliseconds from when a request was sent.
    pub(super) fn p99(&self) -> Option<f64> {
        self.median(|measured| Some(measured.latency_us?.p99 / 1e3))
    }
}

/// One line of the table.
struct Figure {
    name: String,
    asked: String,
    seen: Option<f64>,
    reached: fn(f64) -> bool,
}

/// What is asked of both APIs, where they were measured.
pub(super) fn table(results: &Results) -> Table {
    let mut table = Table::new(["", "asked", "seen", "verdict"]);
    for way in [Way::Single, Way::Unary] {
        let figures = all(results, way).into_iter().filter(|figure| figure.seen.is_some());
        table.rows.extend(figures.map(Figure::row));
    }
    table
}

/// The same for the terminal.
pub(super) fn text(results: &Results) -> String {
    let line = |row: &Vec<Cell>| {
        let [name, asked, seen, verdict] = [0, 1, 2, 3].map(|at| &row[at].text);
        format!("{name:<62} {asked:>8} {seen:>8}  {verdict}")
    };
    table(results).rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn all(results: &Results, way: Way) -> [Figure; 4] {
    let saturated = Seen::of(results, way, Step::Saturated);
    let (rate, p99) = (saturated.rate(), saturated.p99());
    let throughput = |step: Step, asked: &str, reached| Figure {
        name: format!("{}: admitted, over what is carried at saturation", step.name(way)),
        asked: asked.to_owned(),
        seen: quotient(Seen::of(results, way, step).rate(), rate),
        reached,
    };
    let latency = |step: Step| Figure {
        name: format!("{}: p99 of the admitted, over that at saturation", step.name(way)),
        asked: "< 4×".to_owned(),
        seen: quotient(Seen::of(results, way, step).p99(), p99),
        reached: |seen| seen < 4.0,
    };
    [
        throughput(Step::MoreConnections, "≥ 0.9×", |seen| seen >= 0.9),
        latency(Step::MoreConnections),
        throughput(Step::MoreRate, "≥ 0.7×", |seen| seen >= 0.7),
        latency(Step::MoreRate),
    ]
}

fn quotient(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other.filter(|&other| other > 0.0)?)
}

impl Figure {
    fn row(self) -> Vec<Cell> {
        let seen = self.seen.unwrap_or_default();
        let verdict = if (self.reached)(seen) {
            Cell::toned("reached", Tone::Good)
        } else {
            Cell::toned("missed", Tone::Bad)
        };
        vec![self.name.into(), self.asked.into(), format!("{}×", number(seen)).into(), verdict]
    }
}
