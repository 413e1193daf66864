//! The kinds of sinks.

mod opensearch;
mod stdout;

use std::sync::Arc;

use producer_core::search::SearchParts;

use crate::config::{SinkConfig, SinkKind};
use crate::sink::Sink;

/// Why a sink can't be opened at all, in one sentence without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// Opens a sink. It connects when it first has something to do. `searches` says which types declare search.
///
/// # Errors
/// Its settings can't work, whatever the target does.
pub fn open(
    config: &SinkConfig,
    searches: &Arc<dyn SearchParts>,
) -> Result<Arc<dyn Sink>, OpenError> {
    match &config.kind {
        SinkKind::OpenSearch { url, index, template } => {
            let target = opensearch::Target { url, index, template: template.as_deref() };
            let sink = opensearch::OpenSearch::open(config, target, Arc::clone(searches))?;
            Ok(Arc::new(sink))
        }
        SinkKind::Stdout => Ok(Arc::new(stdout::Stdout::open(&config.format))),
        other => Err(OpenError(format!("the kind {} is not part of this release", other.as_str()))),
    }
}
