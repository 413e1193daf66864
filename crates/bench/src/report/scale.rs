//! Where values stand on an axis, and which of them are written beside it.

use super::Spread;

/// How many marks an axis gets, about.
const MARKS: f64 = 6.0;

/// More distinct values than this aren't each written beside the axis.
const MARKS_AT_MOST: usize = 9;

/// An axis over the values that are to be shown.
pub(super) struct Scale {
    spread: Spread,
    low: f64,
    high: f64,
    /// The values written beside the axis.
    pub(super) marks: Vec<f64>,
}

impl Scale {
    /// A scale that holds all values, with round marks.
    pub(super) fn of(spread: Spread, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        match spread {
            Spread::Linear => linear(high),
            Spread::Log => log(low, high),
        }
    }

    /// A scale whose marks are the values themselves where they are few.
    pub(super) fn with_own_marks(spread: Spread, values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let mut scale = Self::of(spread, values.iter().copied());
        if spread == Spread::Log && (2..=MARKS_AT_MOST).contains(&values.len()) {
            scale.low = values[0];
            scale.high = values[values.len() - 1];
            scale.marks = values;
        }
        scale
    }

    /// Where a value stands, from 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (value, low, high) = match self.spread {
            Spread::Linear => (value, self.low, self.high),
            Spread::Log => (value.max(self.low).ln(), self.low.ln(), self.high.ln()),
        };
        if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
    }
}

fn linear(high: f64) -> Scale {
    let high = if high > 0.0 { high } else { 1.0 };
    let step = round_step(high / MARKS);
    let count = (high / step).ceil();
    let marks = (0..=count as u32).map(|at| f64::from(at) * step).collect();
    Scale { spread: Spread::Linear, low: 0.0, high: count * step, marks }
}

/// The next of 1, 2, 5, 10, …
fn round_step(rough: f64) -> f64 {
    let decade = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    steps.into_iter().find(|&step| step >= rough * 0.999).unwrap_or(decade * 10.0)
}

fn log(low: f64, high: f64) -> Scale {
    let high = if high > 0.0 { high } else { 1.0 };
    let low = if low.is_finite() && low > 0.0 { low.min(high) } else { high / 10.0 };
    let decades =
        || (low.log10().floor() as i32..=high.log10().ceil() as i32).map(|e| 10f64.powi(e));
    let fine = |steps: &[f64]| -> Vec<f64> {
        decades().flat_map(|decade| steps.iter().map(move |step| step * decade)).collect()
    };
    let around = |marks: Vec<f64>| {
        let first = marks.iter().rposition(|&mark| mark <= low * 1.001).unwrap_or(0);
        let last = marks.iter().position(|&mark| mark >= high * 0.999).unwrap_or(marks.len() - 1);
        marks[first..=last.max(first)].to_vec()
    };
    let candidates = [fine(&[1.0, 2.0, 5.0]), fine(&[1.0, 3.0]), fine(&[1.0])].map(around);
    let fits = |marks: &&Vec<f64>| marks.len() <= MARKS_AT_MOST;
    let marks = candidates.iter().find(fits).unwrap_or(&candidates[2]).clone();
    Scale { spread: Spread::Log, low: marks[0], high: marks[marks.len() - 1], marks }
}
