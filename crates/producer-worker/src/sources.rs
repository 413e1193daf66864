//! The kinds of sources.

mod kafka;
mod redis_stream;

use producer_core::Clock;

use crate::config::{SourceConfig, SourceKind};
use crate::sinks::OpenError;
use crate::source::Source;

/// Opens a source for a worker of this name. It connects when it is first used.
///
/// # Errors
/// Its settings can't work, whatever the server does.
pub fn open(
    config: &SourceConfig,
    worker: &str,
    clock: &Clock,
) -> Result<Box<dyn Source>, OpenError> {
    match &config.kind {
        SourceKind::RedisStream { url, stream, group, from } => {
            let source = redis_stream::RedisStream::open(url, stream, group, *from, worker);
            Ok(Box::new(source.map_err(OpenError)?))
        }
        SourceKind::Kafka { url, topic, group, from, properties } => {
            let origin = kafka::Origin {
                servers: url.clone(),
                topic: topic.clone(),
                group: group.clone(),
                from: *from,
                properties: properties.clone(),
            };
            Ok(Box::new(kafka::Kafka::open(origin, clock.clone())?))
        }
    }
}
