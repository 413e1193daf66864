//! Steps that are measured in rounds. The results are written after each one, so that those of a run that is
//! stopped are kept.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::Result;
use crate::progress::{Progress, failure};
use crate::report::{Document, number, thousands};
use crate::results::{Measurement, Results};
use crate::slowdown::Calibration;
use crate::targets::{MIB, Summaries};

/// How a command measures its steps, and what it makes of the results.
pub(crate) struct Rounds<'a> {
    /// The folder of the results.
    pub(crate) output: &'a Path,
    /// The name of their files.
    pub(crate) name: &'static str,
    /// How often each step is measured.
    pub(crate) rounds: u32,
    /// The time after which no further step is started.
    pub(crate) limit: Duration,
    /// The report.
    pub(crate) report: fn(&Results) -> Document,
    /// The targets that were measured, for the terminal.
    pub(crate) targets: fn(&Summaries<'_>) -> String,
}

impl Rounds<'_> {
    /// The path of the results, without an extension.
    pub(crate) fn path(&self) -> PathBuf {
        self.output.join(self.name)
    }

    /// Measures all steps, each once the machine runs at full speed, and adds them to the `results` of this
    /// `run`. An error becomes part of a measurement.
    pub(crate) async fn measure<S: Copy + Display>(
        &self,
        steps: &[S],
        run: &str,
        mut results: Results,
        mut measure: impl AsyncFnMut(S) -> Result<Measurement>,
    ) -> Result<ExitCode> {
        let mut calibration = Calibration::default();
        let mut progress = Progress::new(steps.len(), self.rounds, self.limit);
        for round in 1..=self.rounds {
            for &step in steps {
                if progress.is_out_of_time() {
                    println!("the time limit is reached; the remaining cells are skipped");
                    return Ok(self.finish(&results));
                }
                let before = calibration.wait_for_full_speed().await;
                let mut measured = measure(step).await.unwrap_or_else(|error| Measurement {
                    error: Some(error.to_string()),
                    ..Measurement::default()
                });
                measured.slowdown = Some(before.max(calibration.slowdown().await));
                let cell = step.to_string();
                progress.print(round, &cell, &outcome(&measured));
                let run = run.to_owned();
                results.measurements.push(Measurement { cell, run, round, ..measured });
                results.write(&self.path(), &(self.report)(&results))?;
            }
        }
        Ok(self.finish(&results))
    }

    fn finish(&self, results: &Results) -> ExitCode {
        println!("\n{}", (self.targets)(&results.summaries()));
        println!("written: {}.{{html,md,json}}", self.path().display());
        if results.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// The names of steps.
pub(crate) fn names<S: Display>(steps: &[S]) -> Vec<String> {
    steps.iter().map(S::to_string).collect()
}

/// The steps with these names, or all where there are none.
///
/// # Errors
/// An unknown name.
pub(crate) fn named<S: Display>(
    all: Vec<S>,
    names: &[String],
) -> std::result::Result<Vec<S>, String> {
    let known = self::names(&all);
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("unknown cell {unknown:?}; known are: {}", known.join(" ")));
    }
    let wanted = |step: &S| names.is_empty() || names.contains(&step.to_string());
    Ok(all.into_iter().filter(wanted).collect())
}

fn outcome(measurement: &Measurement) -> String {
    if let Some(error) = &measurement.error {
        return failure(error);
    }
    let rate = thousands(measurement.events_per_second);
    let latency = measurement.latency_us.map_or_else(String::new, |latency| {
        format!(
            "  p50 {:>6} ms  p99 {:>6} ms",
            number(latency.p50 / 1e3),
            number(latency.p99 / 1e3)
        )
    });
    let peak = measurement
        .peak_memory_bytes
        .map_or_else(String::new, |bytes| format!("  peak {} MiB", number(bytes as f64 / MIB)));
    format!("{rate:>9}/s{latency}{peak}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_selected_by_name() {
        let only = ["2".to_owned(), "1".to_owned()];
        assert_eq!(named(vec![1, 2, 3], &only), Ok(vec![1, 2]));
        assert_eq!(named(vec![1, 2, 3], &[]), Ok(vec![1, 2, 3]));
        let error = named(vec![1, 2, 3], &["4".to_owned()]).expect_err("unknown");
        assert!(error.contains("\"4\"") && error.contains("1 2 3"), "{error}");
    }
}
