//! Performance targets: ratios of medians, latencies and memory, each with a required value and perhaps
//! a goal beyond it.

use std::collections::BTreeMap;

use crate::report::{Cell, Table, Tone, number};
use crate::results::Summary;

/// Shown instead of a value.
const NOT_MEASURED: &str = "–";
/// Bytes of a MiB.
pub(crate) const MIB: f64 = (1 << 20) as f64;

/// The bounds of a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Whether higher is better.
    pub(crate) higher: bool,
    pub(crate) required: Option<f64>,
    pub(crate) goal: Option<f64>,
}

impl Bounds {
    pub(crate) const fn at_least(required: f64, goal: f64) -> Self {
        Self { higher: true, required: Some(required), goal: Some(goal) }
    }

    pub(crate) const fn at_most(required: f64, goal: f64) -> Self {
        Self { higher: false, required: Some(required), goal: Some(goal) }
    }

    fn allow(self, measured: f64, bound: f64) -> bool {
        if self.higher { measured >= bound } else { measured <= bound }
    }
}

/// One row of the table.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) against: &'static str,
    /// The suffix of its values: `1.5×`, `64 MiB`.
    pub(crate) unit: &'static str,
    pub(crate) bounds: Bounds,
    /// The cells that it is computed from.
    pub(crate) cells: Vec<&'static str>,
    pub(crate) measured: Option<f64>,
}

/// Cells over their rounds, by name.
pub(crate) type Summaries<'a> = BTreeMap<&'a str, Summary>;

/// The table of targets with the measured values.
pub(crate) fn table(targets: &[Target], cells: &Summaries<'_>) -> Table {
    let mut table = Table::new(["cell", "compared with", "required", "goal", "measured", "result"]);
    table.rows = targets.iter().map(|target| target.row(cells)).collect();
    table
}

/// The targets that were measured, for the terminal.
pub(crate) fn to_text(targets: &[Target], cells: &Summaries<'_>) -> String {
    let measured = targets.iter().filter(|target| target.measured.is_some());
    let lines = measured.map(|target| {
        let row = target.row(cells);
        let [name, other, required, measured, result] = [0, 1, 2, 4, 5].map(|at| &row[at].text);
        format!("{name:<40} {other:<30} {required:>10} {measured:>10}  {result}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A cell that was measured without an error.
pub(crate) fn valid<'c>(cells: &'c Summaries<'_>, name: &str) -> Option<&'c Summary> {
    cells.get(name).filter(|summary| summary.rounds > 0 && summary.error.is_none())
}

/// Its events per second.
pub(crate) fn rate(cells: &Summaries<'_>, name: &str) -> Option<f64> {
    Some(valid(cells, name)?.events_per_second)
}

/// Nothing where one of them was not measured.
pub(crate) fn quotient(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other.filter(|&other| other > 0.0)?)
}

impl Target {
    fn row(&self, cells: &Summaries<'_>) -> Vec<Cell> {
        let sign = if self.bounds.higher { "≥" } else { "≤" };
        let bound = |value: Option<f64>| {
            value.map(|value| format!("{sign} {}", self.with_unit(value))).unwrap_or_default()
        };
        let measured = self.measured.map_or_else(|| NOT_MEASURED.into(), |v| self.with_unit(v));
        let mut result = self.result();
        if self.measured.is_some() && !self.is_of_one_run(cells) {
            result.text.push_str(" (cells of different runs)");
        }
        vec![
            self.name.into(),
            self.against.into(),
            bound(self.bounds.required).into(),
            bound(self.bounds.goal).into(),
            measured.into(),
            result,
        ]
    }

    fn with_unit(&self, value: f64) -> String {
        format!("{}{}", number(value), self.unit)
    }

    fn result(&self) -> Cell {
        let Some(measured) = self.measured else { return "not measured".into() };
        let Bounds { required, goal, .. } = self.bounds;
        let reaches = |bound| self.bounds.allow(measured, bound);
        match (required, goal) {
            (Some(required), _) if !reaches(required) => {
                let off = number((measured / required - 1.0).abs() * 100.0);
                Cell::new(format!("missed by {off} %"), Tone::Bad)
            }
            (_, Some(goal)) if reaches(goal) => Cell::new("goal reached", Tone::Good),
            (None, _) => Cell::new("below the goal", Tone::Fair),
            (Some(_), None) => Cell::new("reached", Tone::Good),
            (Some(_), Some(_)) => Cell::new("reached", Tone::Fair),
        }
    }

    /// Whether all of its cells were measured in the same run.
    fn is_of_one_run(&self, cells: &Summaries<'_>) -> bool {
        let runs = self.cells.iter().filter_map(|name| cells.get(name)).map(|cell| &cell.runs);
        let mut runs = runs.collect::<Vec<_>>();
        runs.dedup();
        runs.len() <= 1 && runs.iter().all(|runs| runs.len() <= 1)
    }
}
