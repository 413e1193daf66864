//! The kinds of sources.

mod redis_stream;

use crate::config::{SourceConfig, SourceKind};
use crate::sinks::OpenError;
use crate::source::Source;

/// Opens a source for a worker of this name. It connects when it is first used.
///
/// # Errors
/// Its settings can't work, whatever the server does.
pub fn open(config: &SourceConfig, worker: &str) -> Result<Box<dyn Source>, OpenError> {
    match &config.kind {
        SourceKind::RedisStream { url, stream, group, from } => {
            let source = redis_stream::RedisStream::open(url, stream, group, *from, worker);
            Ok(Box::new(source.map_err(OpenError)?))
        }
        other @ SourceKind::Kafka { .. } => {
            Err(OpenError(format!("the kind {} is not part of this release", other.as_str())))
        }
    }
}
