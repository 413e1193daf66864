//! The runner of sinks, on real databases, with a target in memory that can fail in every way.

mod faults;
mod latest;
mod lease;
mod letters;
mod log;
mod sources;
mod steering;
mod stream;
mod support;
