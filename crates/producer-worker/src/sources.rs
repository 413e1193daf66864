//! The kinds of sources.

mod kafka;

use producer_core::Clock;

use crate::config::{SourceConfig, SourceKind};
use crate::sinks::OpenError;
use crate::source::Source;

/// Opens a source. It connects when it first has something to do.
///
/// # Errors
/// Its settings can't work, whatever it reads from.
pub fn open(config: &SourceConfig, clock: &Clock) -> Result<Box<dyn Source>, OpenError> {
    match &config.kind {
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
        other => Err(OpenError(format!("the kind {} is not part of this release", other.as_str()))),
    }
}
