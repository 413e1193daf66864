//! The kinds of sinks.

mod kafka;
mod open_error;
mod redis_cache;
mod redis_stream;
mod stdout;
pub mod webhook;

use std::sync::Arc;

pub use open_error::OpenError;

use crate::config::{SinkConfig, SinkKind};
use crate::sink::Sink;

/// Opens a sink. It connects when it first has something to do.
///
/// # Errors
/// Its settings can't work, whatever the target does.
pub fn open(config: &SinkConfig) -> Result<Arc<dyn Sink>, OpenError> {
    match &config.kind {
        SinkKind::RedisStream { url, stream, maxlen } => {
            let sink = redis_stream::RedisStream::open(url, stream, *maxlen, &config.format)?;
            Ok(Arc::new(sink))
        }
        SinkKind::RedisCache { url, key, ttl } => {
            Ok(Arc::new(redis_cache::RedisCache::open(config, url, key, *ttl)?))
        }
        SinkKind::Stdout => Ok(Arc::new(stdout::Stdout::open(&config.format))),
        SinkKind::Kafka { url, topic, key, tombstones, properties } => {
            let target = kafka::Target {
                servers: url.clone(),
                topic: topic.clone(),
                key: key.clone(),
                tombstones: *tombstones,
                properties: properties.clone(),
            };
            Ok(Arc::new(kafka::Kafka::open(target, &config.format)?))
        }
        SinkKind::Webhook { .. } => {
            let opened = webhook::Webhook::open(config, webhook::Surroundings::system());
            Ok(Arc::new(opened.map_err(OpenError)?))
        }
        other => Err(OpenError(format!("the kind {} is not part of this release", other.as_str()))),
    }
}
