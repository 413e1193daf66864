//! Runs k6, prints its progress, and samples the CPU and memory of the processes meanwhile.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::interval;

use super::k6::{Call, K6};
use crate::{Result, procfs};

const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// For k6's start and end: 2,000 users on a slow machine.
const K6_TIMEOUT: Duration = Duration::from_secs(180);
/// The line with which k6 starts its first phase (`load-test/lib/summary.js`).
const BEGIN: &str = "phases begin: ";
/// k6's own line about a request without a response; the scripts log it with the reason.
const REQUEST_FAILED: &str = "Request Failed";
/// How many of k6's messages are printed.
const MAX_MESSAGES: usize = 20;
/// k6's exit code when a threshold is crossed; the summary says which.
const THRESHOLDS_CROSSED: i32 = 99;

/// A process with its descendants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) name: &'static str,
    pub(super) id: u32,
}

/// CPU and memory of processes during a run.
pub(super) struct Usage {
    processes: Vec<Process>,
    samples: Vec<Sample>,
    /// When the first phase began.
    started: Instant,
}

struct Sample {
    /// Seconds from the first phase.
    at: f64,
    /// CPU seconds so far and bytes of memory, for each process.
    values: Vec<(f64, u64)>,
}

/// A phase as k6 announces it.
#[derive(Debug, Deserialize)]
struct Announced {
    name: String,
    start: f64,
    seconds: f64,
}

/// Runs k6 to its end.
pub(super) async fn run(k6: &K6, call: &Call, mut processes: Vec<Process>) -> Result<Usage> {
    let mut child = k6.start(call)?;
    let stderr = child.stderr.take().ok_or("k6 has no stderr")?;
    processes.push(Process { name: "k6", id: child.id().ok_or("k6 has ended")? });
    let usage = Usage { processes, samples: Vec::new(), started: Instant::now() };
    let mut progress = Progress { usage, phases: Vec::new(), begun: 0, messages: 0 };
    let (mut lines, mut ticks) = (BufReader::new(stderr).lines(), interval(SAMPLE_INTERVAL));
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => progress.take_line(&line)?,
                None => break,
            },
            _ = ticks.tick() => progress.tick()?,
        }
    }
    let status = child.wait().await?;
    if progress.messages > MAX_MESSAGES {
        println!("  k6: {} more messages", progress.messages - MAX_MESSAGES);
    }
    if !status.success() && status.code() != Some(THRESHOLDS_CROSSED) {
        return Err(format!("k6 ended with {status}").into());
    }
    Ok(progress.usage)
}

struct Progress {
    usage: Usage,
    phases: Vec<Announced>,
    /// How many of the phases have begun.
    begun: usize,
    messages: usize,
}

impl Progress {
    fn take_line(&mut self, line: &str) -> Result<()> {
        if let Some(phases) = line.strip_prefix(BEGIN) {
            self.phases = serde_json::from_str(phases)?;
            self.usage.started = Instant::now();
            self.usage.samples.clear();
        } else if line != REQUEST_FAILED {
            self.messages += 1;
            if self.messages <= MAX_MESSAGES {
                println!("  k6: {line}");
            }
        }
        Ok(())
    }

    /// Takes a sample, and prints the phase that begins.
    fn tick(&mut self) -> Result<()> {
        self.usage.sample();
        let elapsed = self.usage.started.elapsed();
        let end = self.phases.last().map_or(0.0, |phase| phase.start + phase.seconds);
        if elapsed > K6_TIMEOUT + Duration::from_secs_f64(end) {
            return Err(
                format!("k6 still runs after {elapsed:.0?}; its phases take {end} s").into()
            );
        }
        if let Some(phase) = self.phases.get(self.begun)
            && elapsed.as_secs_f64() >= phase.start
        {
            self.begun += 1;
            println!("  {}/{} {}, {} s", self.begun, self.phases.len(), phase.name, phase.seconds);
        }
        Ok(())
    }
}

impl Usage {
    /// Skipped once a process has ended.
    fn sample(&mut self) {
        let value = |process: &Process| -> Result<(f64, u64)> {
            Ok((procfs::cpu_seconds(process.id)?, procfs::tree_memory(process.id)?))
        };
        if let Ok(values) = self.processes.iter().map(value).collect() {
            self.samples.push(Sample { at: self.started.elapsed().as_secs_f64(), values });
        }
    }

    /// The mean number of cores that a process used between two times, in seconds from the first
    /// phase.
    pub(super) fn cores(&self, process: &str, from: f64, to: f64) -> Option<f64> {
        let index = self.index(process)?;
        let mut samples = self.between(from, to);
        let (first, last) = (samples.next()?, samples.last()?);
        Some((last.values[index].0 - first.values[index].0) / (last.at - first.at))
    }

    /// The peak memory of a process between two times, in bytes.
    pub(super) fn peak_memory(&self, process: &str, from: f64, to: f64) -> Option<u64> {
        let index = self.index(process)?;
        self.between(from, to).map(|sample| sample.values[index].1).max()
    }

    fn index(&self, process: &str) -> Option<usize> {
        self.processes.iter().position(|known| known.name == process)
    }

    fn between(&self, from: f64, to: f64) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.at >= from && sample.at <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_that_between_two_times() {
        let sample = |at, cpu, memory| Sample { at, values: vec![(cpu, memory)] };
        let samples = vec![
            sample(0.5, 1.0, 900),
            sample(1.0, 2.0, 100),
            sample(2.0, 3.5, 300),
            sample(3.0, 5.0, 200),
            sample(3.5, 9.0, 900),
        ];
        let processes = vec![Process { name: "service", id: 1 }];
        let usage = Usage { processes, samples, started: Instant::now() };
        assert_eq!(usage.cores("service", 1.0, 3.0), Some(1.5));
        assert_eq!(usage.peak_memory("service", 1.0, 3.0), Some(300));
        assert_eq!(usage.cores("service", 5.0, 6.0), None);
        assert_eq!(usage.cores("database", 1.0, 3.0), None);
    }
}
