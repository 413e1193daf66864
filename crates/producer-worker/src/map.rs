//! How a message of a source becomes an event.

/// What `map` in `worker.toml` says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {}
