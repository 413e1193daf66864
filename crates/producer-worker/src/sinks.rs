//! The kinds of sinks.

mod stdout;

use std::sync::Arc;

use crate::config::{SinkConfig, SinkKind};
use crate::sink::Sink;

/// Why a sink can't be opened at all, in one sentence without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// Opens a sink. It connects when it first has something to do.
///
/// # Errors
/// Its settings can't work, whatever the target does.
pub fn open(config: &SinkConfig) -> Result<Arc<dyn Sink>, OpenError> {
    match &config.kind {
        SinkKind::Stdout => Ok(Arc::new(stdout::Stdout::open(&config.format))),
        other => Err(OpenError(format!("the kind {} is not part of this release", other.as_str()))),
    }
}
