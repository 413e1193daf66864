//! The worker of `producer`: carries changes to other systems (sinks) and brings their messages in (sources).
//!
//! A kind of sink or source is one file behind a small port ([`sink::Sink`], [`source::Source`]). The runners
//! own what all kinds need: position, lease, lanes, retries, circuit breaker, dead letters.

pub mod cli;
pub mod config;
pub mod decode;
pub mod format;
pub mod kafka;
pub mod map;
pub mod metrics;
pub mod names;
mod redis_link;
pub mod run;
pub mod runner;
pub mod sink;
pub mod sinks;
pub mod source;
pub mod sources;
mod stored;
pub mod update;
