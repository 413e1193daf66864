//! Two runs, cell by cell: what changed by more than the rounds of one run differ, and by more than
//! the machine itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::cells::{self, Interface};
use crate::results::{Results, Summary};

/// Two runs, compared.
pub(super) struct Comparison {
    /// The cells of either run: those that exist in their order, then others.
    pub(super) cells: Vec<Compared>,
    /// By what the cells without our code changed; `None` where no such cell is in both runs.
    pub(super) machine: Option<Spread>,
}

/// One cell in both runs.
pub(super) struct Compared {
    pub(super) name: String,
    pub(super) baseline: Option<Summary>,
    pub(super) now: Option<Summary>,
    pub(super) verdict: Verdict,
}

/// What the comparison of a cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every round is faster than all of the baseline.
    Faster,
    /// Every round is slower than all of the baseline.
    Slower,
    /// The rounds of both runs overlap.
    Noise,
    /// The rounds don't overlap, but the cells without our code changed as much.
    AsTheMachine,
    /// The cell runs none of our code.
    Machine,
    /// One of the runs has fewer than two rounds, so that its noise is unknown.
    TooFewRounds,
    /// It failed in one of the runs.
    Failed,
    /// It is not in the other run.
    OnlyInBaseline,
    /// It is not in the baseline.
    OnlyNow,
}

/// The lowest and the highest of some ratios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) lowest: f64,
    pub(super) highest: f64,
}

impl Comparison {
    pub(super) fn new(baseline: &Results, now: &Results) -> Self {
        let (mut baseline, mut now) = (baseline.summaries(), now.summaries());
        let machine = machine_spread(&baseline, &now);
        let names = names(&baseline, &now);
        let compared = |name: String| {
            let baseline = baseline.remove(name.as_str());
            let now = now.remove(name.as_str());
            let verdict = verdict(&name, baseline.as_ref(), now.as_ref(), machine);
            Compared { name, baseline, now, verdict }
        };
        let cells = names.into_iter().map(compared).collect();
        Self { cells, machine }
    }

    /// The cells with this verdict.
    pub(super) fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Compared> {
        self.cells.iter().filter(move |cell| cell.verdict == verdict)
    }

    /// The cells whose rounds could be compared.
    pub(super) fn judged(&self) -> impl Iterator<Item = &Compared> {
        use Verdict::{AsTheMachine, Faster, Noise, Slower};
        let judged = [Faster, Slower, Noise, AsTheMachine];
        self.cells.iter().filter(move |cell| judged.contains(&cell.verdict))
    }

    /// How many of the compared cells would count as faster or slower on average if nothing had
    /// changed, the rounds being independent of each other.
    pub(super) fn expected_by_chance(&self) -> f64 {
        let rounds =
            |cell: &Compared| Some((cell.baseline.as_ref()?.rounds, cell.now.as_ref()?.rounds));
        self.judged().filter_map(rounds).map(|(one, other)| chance(one, other)).sum()
    }
}

impl Compared {
    /// Events per second now, divided by those of the baseline.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.ratio_of(|cell| Some(cell.events_per_second))
    }

    /// The ratios of the slowest round to the fastest of the baseline, and the other way round.
    pub(super) fn noise(&self) -> Option<Spread> {
        let (baseline, now) = self.both()?;
        let (slowest, fastest) = baseline.range;
        (slowest > 0.0)
            .then(|| Spread { lowest: now.range.0 / fastest, highest: now.range.1 / slowest })
    }

    /// A value now, divided by that of the baseline.
    pub(super) fn ratio_of(&self, value: impl Fn(&Summary) -> Option<f64>) -> Option<f64> {
        let (baseline, now) = self.both()?;
        quotient(value(now)?, value(baseline)?)
    }

    /// Both runs, where both have a valid round.
    fn both(&self) -> Option<(&Summary, &Summary)> {
        let valid = |cell: &&Summary| cell.rounds > 0;
        Some((self.baseline.as_ref().filter(valid)?, self.now.as_ref().filter(valid)?))
    }
}

impl Spread {
    /// Of these values and 1: a machine that did not change.
    fn around_one(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values = values.peekable();
        values.peek()?;
        Some(values.fold(Self { lowest: 1.0, highest: 1.0 }, |spread, value| Self {
            lowest: spread.lowest.min(value),
            highest: spread.highest.max(value),
        }))
    }

    fn contains(self, value: f64) -> bool {
        self.lowest <= value && value <= self.highest
    }
}

fn names(baseline: &BTreeMap<&str, Summary>, now: &BTreeMap<&str, Summary>) -> Vec<String> {
    let mut measured: BTreeSet<&str> = baseline.keys().chain(now.keys()).copied().collect();
    let known = cells::all().into_iter().map(|cell| cell.to_string());
    let mut names: Vec<String> = known.filter(|name| measured.remove(name.as_str())).collect();
    names.extend(measured.into_iter().map(str::to_owned));
    names
}

/// Whether a cell runs none of our code.
fn is_machine(name: &str) -> bool {
    cells::all().iter().any(|cell| {
        matches!(cell.interface, Interface::Pgbench | Interface::Copy) && cell.to_string() == name
    })
}

fn machine_spread(
    baseline: &BTreeMap<&str, Summary>,
    now: &BTreeMap<&str, Summary>,
) -> Option<Spread> {
    let rate = |cell: &Summary| {
        (cell.rounds > 0 && cell.error.is_none()).then_some(cell.events_per_second)
    };
    let ratio = |(name, cell): (&&str, &Summary)| {
        quotient(rate(now.get(name)?)?, rate(cell)?).filter(|_| is_machine(name))
    };
    Spread::around_one(baseline.iter().filter_map(ratio))
}

fn verdict(
    name: &str,
    baseline: Option<&Summary>,
    now: Option<&Summary>,
    machine: Option<Spread>,
) -> Verdict {
    let (baseline, now) = match (baseline, now) {
        (Some(baseline), Some(now)) => (baseline, now),
        (Some(_), None) => return Verdict::OnlyInBaseline,
        (None, _) => return Verdict::OnlyNow,
    };
    if baseline.error.is_some() || now.error.is_some() {
        return Verdict::Failed;
    }
    if is_machine(name) {
        return Verdict::Machine;
    }
    if baseline.rounds < 2 || now.rounds < 2 {
        return Verdict::TooFewRounds;
    }
    let verdict = if now.range.0 > baseline.range.1 {
        Verdict::Faster
    } else if now.range.1 < baseline.range.0 {
        Verdict::Slower
    } else {
        return Verdict::Noise;
    };
    let ratio = quotient(now.events_per_second, baseline.events_per_second);
    match (machine, ratio) {
        (Some(machine), Some(ratio)) if machine.contains(ratio) => Verdict::AsTheMachine,
        _ => verdict,
    }
}

/// How likely it is that the rounds of two equal runs do not overlap: two of the orders in which the
/// rounds of both can stand have one run wholly before the other.
fn chance(rounds: usize, other: usize) -> f64 {
    // (a + b)! / (a! b!)
    let orders = (1..=rounds).map(|at| (other + at) as f64 / at as f64).product::<f64>();
    2.0 / orders
}

fn quotient(one: f64, other: f64) -> Option<f64> {
    (other > 0.0).then(|| one / other)
}
