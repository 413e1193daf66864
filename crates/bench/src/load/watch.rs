//! Watches a run of k6: tells of its phases as they come, and samples what the processes use.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::interval;

use super::k6::{Call, K6};
use crate::{Result, sample};

/// How often processes are looked at.
const EVERY: Duration = Duration::from_millis(500);
/// How long k6 may take for its users, and after its last phase: 2,000 users on a slow machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// How k6 says that its users are ready (`load-test/lib/summary.js`).
const BEGIN: &str = "phases begin: ";
/// What k6 says of each request without an answer; the scripts say it with the reason.
const K6_REPEATS: &str = "Request Failed";
/// So many of k6's messages are shown.
const MESSAGES: usize = 20;
/// k6 ends so where a threshold is crossed; its summary says which.
const THRESHOLDS_CROSSED: i32 = 99;

/// A process with its descendants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) name: &'static str,
    pub(super) id: u32,
}

/// What processes have used over a run.
pub(super) struct Timeline {
    pub(super) processes: Vec<Process>,
    samples: Vec<Sample>,
    /// When the first phase began.
    started: Instant,
}

struct Sample {
    at: Instant,
    usages: Vec<Usage>,
}

#[derive(Debug, Clone, Copy)]
struct Usage {
    /// CPU seconds so far.
    cpu: f64,
    memory: u64,
}

/// A phase as k6 announces it.
#[derive(Debug, Deserialize)]
struct Announced {
    name: String,
    start: f64,
    seconds: f64,
}

/// Runs k6 to its end.
pub(super) async fn run(k6: &K6, call: &Call, mut processes: Vec<Process>) -> Result<Timeline> {
    let mut child = k6.start(call)?;
    let stderr = child.stderr.take().ok_or("k6 has no stderr")?;
    processes.push(Process { name: "k6", id: child.id().ok_or("k6 has ended")? });
    let mut watch = Watch::new(processes);
    let (mut lines, mut ticks) = (BufReader::new(stderr).lines(), interval(EVERY));
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => watch.hear(&line)?,
                None => break,
            },
            _ = ticks.tick() => watch.look()?,
        }
    }
    let status = child.wait().await?;
    watch.tell_of_missed_messages();
    if !status.success() && status.code() != Some(THRESHOLDS_CROSSED) {
        return Err(format!("k6 ended with {status}").into());
    }
    Ok(watch.timeline)
}

struct Watch {
    timeline: Timeline,
    phases: Vec<Announced>,
    /// How many of the phases have begun.
    begun: usize,
    messages: usize,
}

impl Watch {
    fn new(processes: Vec<Process>) -> Self {
        let timeline = Timeline { processes, samples: Vec::new(), started: Instant::now() };
        Self { timeline, phases: Vec::new(), begun: 0, messages: 0 }
    }

    /// Takes a line of k6's.
    fn hear(&mut self, line: &str) -> Result<()> {
        if let Some(phases) = line.strip_prefix(BEGIN) {
            self.phases = serde_json::from_str(phases)?;
            self.timeline.started = Instant::now();
            return Ok(());
        }
        if line == K6_REPEATS {
            return Ok(());
        }
        self.messages += 1;
        if self.messages <= MESSAGES {
            println!("  k6: {line}");
        }
        Ok(())
    }

    fn tell_of_missed_messages(&self) {
        if self.messages > MESSAGES {
            println!("  k6 had {} more messages", self.messages - MESSAGES);
        }
    }

    /// Samples the processes and tells of phases that begin.
    fn look(&mut self) -> Result<()> {
        self.timeline.sample();
        let elapsed = self.timeline.started.elapsed();
        let last = self.phases.last().map_or(0.0, |phase| phase.start + phase.seconds);
        if elapsed > PATIENCE + Duration::from_secs_f64(last) {
            return Err(format!("k6 doesn't end: {elapsed:.0?} for {last} s").into());
        }
        if let Some(phase) = self.phases.get(self.begun)
            && elapsed.as_secs_f64() >= phase.start
        {
            self.begun += 1;
            let Announced { name, seconds, .. } = phase;
            println!("  {}/{} {name}, {seconds} s", self.begun, self.phases.len());
        }
        Ok(())
    }
}

impl Timeline {
    /// A process that has ended is left out of the sample, and the sample with it.
    fn sample(&mut self) {
        let usage = |process: &Process| -> Result<Usage> {
            Ok(Usage {
                cpu: sample::cpu_seconds(process.id)?,
                memory: sample::tree_memory(process.id)?,
            })
        };
        if let Ok(usages) = self.processes.iter().map(usage).collect() {
            self.samples.push(Sample { at: Instant::now(), usages });
        }
    }

    /// CPU seconds that a process used from one time to another, in seconds from the first phase.
    pub(super) fn cpu(&self, process: &str, from: f64, to: f64) -> Option<f64> {
        let place = self.place(process)?;
        Some(self.cpu_at(place, to)? - self.cpu_at(place, from)?)
    }

    /// The most memory that a process had between two times, in bytes.
    pub(super) fn memory(&self, process: &str, from: f64, to: f64) -> Option<u64> {
        let place = self.place(process)?;
        let within = self.samples.iter().filter(|sample| {
            let at = self.seconds(sample);
            at >= from && at <= to
        });
        within.map(|sample| sample.usages[place].memory).max()
    }

    /// The cores that a process used, by seconds from the first phase.
    pub(super) fn cores(&self, process: &str) -> Vec<(f64, f64)> {
        let Some(place) = self.place(process) else { return Vec::new() };
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        let cores = |(earlier, later): (&Sample, &Sample)| {
            let used = later.usages[place].cpu - earlier.usages[place].cpu;
            let seconds = (later.at - earlier.at).as_secs_f64();
            (self.seconds(later), used.max(0.0) / seconds)
        };
        pairs.map(cores).filter(|(at, _)| *at > 0.0).collect()
    }

    /// The memory that a process had, in MiB, by seconds from the first phase.
    pub(super) fn mebibytes(&self, process: &str) -> Vec<(f64, f64)> {
        let Some(place) = self.place(process) else { return Vec::new() };
        let memory = |sample: &Sample| {
            (self.seconds(sample), sample.usages[place].memory as f64 / f64::from(1 << 20))
        };
        self.samples.iter().map(memory).filter(|(at, _)| *at > 0.0).collect()
    }

    fn place(&self, process: &str) -> Option<usize> {
        self.processes.iter().position(|known| known.name == process)
    }

    fn seconds(&self, sample: &Sample) -> f64 {
        if sample.at >= self.started {
            (sample.at - self.started).as_secs_f64()
        } else {
            -(self.started - sample.at).as_secs_f64()
        }
    }

    /// Between two samples, in proportion.
    fn cpu_at(&self, place: usize, time: f64) -> Option<f64> {
        let after = self.samples.iter().position(|sample| self.seconds(sample) >= time);
        let after = after.unwrap_or(self.samples.len().checked_sub(1)?);
        let (before, after) = (&self.samples[after.saturating_sub(1)], &self.samples[after]);
        let (from, to) = (self.seconds(before), self.seconds(after));
        let share = if to > from { ((time - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 };
        let (low, high) = (before.usages[place].cpu, after.usages[place].cpu);
        Some(low + (high - low) * share)
    }
}
