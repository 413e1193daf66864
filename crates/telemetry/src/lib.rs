//! Logs, spans and metrics, and the context of the request that a task serves. The lowest crate:
//! all others may use it.

pub mod log;
mod log_format;
pub mod log_rate;
pub mod metrics;
pub mod refusal;
pub mod request;
mod slow_request;
pub mod spans;
pub mod stopwatch;
