//! The kinds of sinks.

mod redis_cache;
mod redis_stream;
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
        SinkKind::RedisStream { url, stream, maxlen } => {
            let sink = redis_stream::RedisStream::open(url, stream, *maxlen, &config.format);
            Ok(Arc::new(sink.map_err(OpenError)?))
        }
        SinkKind::RedisCache { url, key, ttl } => {
            let sink = redis_cache::RedisCache::open(config, url, key, *ttl);
            Ok(Arc::new(sink.map_err(OpenError)?))
        }
        SinkKind::Stdout => Ok(Arc::new(stdout::Stdout::open(&config.format))),
        other => Err(OpenError(format!("the kind {} is not part of this release", other.as_str()))),
    }
}
