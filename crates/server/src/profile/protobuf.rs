//! Stacks in pprof's format: a gzipped `perftools.profiles.Profile`
//! (<https://github.com/google/pprof/blob/main/proto/profile.proto>), the fields that are needed.

use std::collections::HashMap;
use std::io::{Result, Write};
use std::time::{Duration, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::recording::FREQUENCY;
use super::stacks::{Stack, Stacks};

/// CPU time between two samples.
const PERIOD: i64 = 1_000_000_000 / FREQUENCY as i64;

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// Texts are in the string table; these are indexes into it.
#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

/// The gzipped profile.
pub(super) fn write(stacks: &Stacks) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&profile(stacks).encode_to_vec())?;
    gzip.finish()
}

fn profile(stacks: &Stacks) -> Profile {
    let mut builder = Builder::default();
    builder.text(""); // the table's first place is the empty text
    let samples = ValueType { kind: builder.text("samples"), unit: builder.text("count") };
    let cpu = ValueType { kind: builder.text("cpu"), unit: builder.text("nanoseconds") };
    for (stack, count) in &stacks.samples {
        builder.sample(stack, *count);
    }
    let started = stacks.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    Profile {
        sample_type: vec![samples, cpu.clone()],
        time_nanos: nanoseconds(started),
        duration_nanos: nanoseconds(stacks.took),
        period_type: Some(cpu),
        period: PERIOD,
        ..builder.profile
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Fills the tables that samples point into.
#[derive(Default)]
struct Builder {
    profile: Profile,
    texts: HashMap<String, i64>,
    /// A function's location: they are one to one.
    locations: HashMap<String, u64>,
}

impl Builder {
    fn text(&mut self, text: &str) -> i64 {
        if let Some(place) = self.texts.get(text) {
            return *place;
        }
        let place = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        self.texts.insert(text.to_owned(), place);
        self.profile.string_table.push(text.to_owned());
        place
    }

    fn location(&mut self, function: &str) -> u64 {
        if let Some(id) = self.locations.get(function) {
            return *id;
        }
        let (id, name) = (self.locations.len() as u64 + 1, self.text(function));
        self.locations.insert(function.to_owned(), id);
        self.profile.function.push(Function { id, name });
        self.profile.location.push(Location { id, line: vec![Line { function_id: id }] });
        id
    }

    fn sample(&mut self, stack: &Stack, count: u64) {
        let label = Label { key: self.text("thread"), text: self.text(&stack.thread) };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let location_id = stack.functions.iter().map(|function| self.location(function)).collect();
        let value = vec![count, count.saturating_mul(PERIOD)];
        self.profile.sample.push(Sample { location_id, value, label: vec![label] });
    }
}
