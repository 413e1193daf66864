//! The loads of an overload measurement, and the targets.

use crate::report::{Cell, Table, Tone, number};
use crate::results::{Measurement, Results, median};
use crate::service::{Api, Apis};

/// The connections among which saturation is looked for.
pub(super) const CONNECTIONS: [usize; 5] = [16, 64, 256, 512, 1024];

/// A load, by its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A number of connections that may saturate.
    Search(usize),
    /// The number of connections that saturates.
    Saturated,
    /// Three times as many.
    MoreConnections,
    /// An open loop at the throughput of saturation.
    Rate,
    /// An open loop at three times that rate.
    MoreRate,
}

impl Step {
    /// The steps that are measured in rounds.
    pub(super) const AFTER_SATURATION: [Self; 4] =
        [Self::Saturated, Self::MoreConnections, Self::Rate, Self::MoreRate];

    /// The name in the results.
    pub(super) fn name(self, api: Api) -> String {
        let api = api.title();
        match self {
            Self::Search(connections) => format!("{api}, {connections} connections"),
            Self::Saturated => format!("{api}, saturated"),
            Self::MoreConnections => format!("{api}, 3 × the connections"),
            Self::Rate => format!("{api}, the rate of saturation"),
            Self::MoreRate => format!("{api}, 3 × the rate"),
        }
    }
}

/// The valid measurements of a step.
pub(super) struct Rounds<'r>(Vec<&'r Measurement>);

impl<'r> Rounds<'r> {
    pub(super) fn new(results: &'r Results, api: Api, step: Step) -> Self {
        let name = step.name(api);
        let matches = |one: &&Measurement| one.cell == name && one.error.is_none();
        Self(results.measurements.iter().filter(matches).collect())
    }

    /// The median of a value over the rounds.
    pub(super) fn median(&self, value: impl Fn(&Measurement) -> Option<f64>) -> Option<f64> {
        median(self.0.iter().filter_map(|measured| value(measured)).collect())
    }

    /// Admitted events per second.
    pub(super) fn rate(&self) -> Option<f64> {
        self.median(|measured| Some(measured.events_per_second))
    }

    /// Milliseconds from when a request was sent.
    pub(super) fn p99(&self) -> Option<f64> {
        self.median(|measured| Some(measured.latency_us?.p99 / 1e3))
    }
}

/// One row of the table of targets.
struct Target {
    name: String,
    required: &'static str,
    measured: f64,
    is_reached: fn(f64) -> bool,
}

/// The targets of both APIs, where they were measured.
pub(super) fn table(results: &Results) -> Table {
    let mut table = Table::new(["", "required", "measured", "result"]);
    for &api in Apis::Both.list() {
        table.rows.extend(targets(results, api).into_iter().flatten().map(Target::row));
    }
    table
}

/// The same for the terminal.
pub(super) fn to_text(results: &Results) -> String {
    let line = |row: &Vec<Cell>| {
        let [name, required, measured, result] = [0, 1, 2, 3].map(|at| &row[at].text);
        format!("{name:<62} {required:>8} {measured:>8}  {result}")
    };
    table(results).rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn targets(results: &Results, api: Api) -> [Option<Target>; 4] {
    let rounds = |step| Rounds::new(results, api, step);
    let saturated = rounds(Step::Saturated);
    let throughput = |step: Step, required, is_reached| {
        Some(Target {
            name: format!("{}: admitted, of the throughput at saturation", step.name(api)),
            required,
            measured: quotient(rounds(step).rate()?, saturated.rate()?)?,
            is_reached,
        })
    };
    let latency = |step: Step| {
        Some(Target {
            name: format!("{}: p99 of the admitted, of that at saturation", step.name(api)),
            required: "< 4×",
            measured: quotient(rounds(step).p99()?, saturated.p99()?)?,
            is_reached: |measured| measured < 4.0,
        })
    };
    [
        throughput(Step::MoreConnections, "≥ 0.9×", |measured| measured >= 0.9),
        latency(Step::MoreConnections),
        throughput(Step::MoreRate, "≥ 0.7×", |measured| measured >= 0.7),
        latency(Step::MoreRate),
    ]
}

fn quotient(one: f64, other: f64) -> Option<f64> {
    (other > 0.0).then(|| one / other)
}

impl Target {
    fn row(self) -> Vec<Cell> {
        let result = if (self.is_reached)(self.measured) {
            Cell::new("reached", Tone::Good)
        } else {
            Cell::new("missed", Tone::Bad)
        };
        let measured = format!("{}×", number(self.measured));
        vec![self.name.into(), self.required.into(), measured.into(), result]
    }
}
