//! The runner of sinks, on real databases, with a target in memory that can fail in every way.

mod faults;
mod latest;
mod letters;
mod log;
mod steering;
mod support;
