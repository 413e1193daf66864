//! The sampled stacks, and their flame graph.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::time::{Duration, SystemTime};

use inferno::flamegraph::{Options, from_lines};
use pprof::{Frames, Report};

/// A stack of which no function is in the symbol table.
const UNKNOWN: &str = "[unknown]";
/// The only line of a process that used no CPU time; a flame graph without lines would be an error.
const NO_SAMPLES: &str = "no samples 1";

/// A thread's name and the functions that were running in it, the innermost first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stack {
    pub(super) thread: String,
    pub(super) functions: Vec<String>,
}

/// The samples of one recording.
#[derive(Debug)]
pub(super) struct Stacks {
    pub(super) samples: BTreeMap<Stack, u64>,
    pub(super) started: SystemTime,
    pub(super) took: Duration,
}

impl Stacks {
    pub(super) fn from_report(report: &Report) -> Self {
        let mut samples = BTreeMap::new();
        for (frames, &count) in &report.data {
            *samples.entry(Stack::from_frames(frames)).or_default() +=
                u64::try_from(count).unwrap_or(0);
        }
        Self { samples, started: report.timing.start_time, took: report.timing.duration }
    }

    /// An SVG for a browser, where a click zooms in.
    pub(super) fn flame_graph(&self) -> Result<Vec<u8>> {
        let mut options = Options::default();
        "CPU time".clone_into(&mut options.title);
        "samples".clone_into(&mut options.count_name);
        let stacks = self.samples.iter();
        let mut lines: Vec<_> = stacks.map(|(stack, count)| stack.line(*count)).collect();
        if lines.is_empty() {
            lines.push(NO_SAMPLES.to_owned());
        }
        let mut svg = Vec::new();
        from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
            .map_err(Error::other)?;
        Ok(svg)
    }
}

impl Stack {
    fn from_frames(frames: &Frames) -> Self {
        let mut functions: Vec<_> =
            frames.frames.iter().flatten().map(|symbol| symbol.name()).collect();
        if functions.is_empty() {
            functions.push(UNKNOWN.to_owned());
        }
        Self { thread: frames.thread_name_or_id(), functions }
    }

    /// A line in the format of flame graphs: the outermost function first.
    fn line(&self, count: u64) -> String {
        let outwards = std::iter::once(&self.thread).chain(self.functions.iter().rev());
        // a semicolon (`[u8; 4]`) would end the frame
        let frames: Vec<_> = outwards.map(|name| name.replace(';', ",")).collect();
        format!("{} {count}", frames.join(";"))
    }
}
