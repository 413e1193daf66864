//! The kinds of sinks.

mod kafka;
mod no_searches;
mod open_error;
mod opensearch;
mod redis_cache;
mod redis_stream;
mod stdout;
pub mod webhook;

use std::sync::Arc;

pub use no_searches::no_searches;
pub use open_error::OpenError;
use producer_core::search::SearchParts;

use crate::config::{SinkConfig, SinkKind};
use crate::sink::Sink;

/// Opens a sink. It connects when it first has something to do. `searches` says which types declare search.
///
/// # Errors
/// Its settings can't work, whatever the target does.
pub fn open(
    config: &SinkConfig,
    searches: &Arc<dyn SearchParts>,
) -> Result<Arc<dyn Sink>, OpenError> {
    match &config.kind {
        SinkKind::RedisStream { url, stream, maxlen } => {
            let sink = redis_stream::RedisStream::open(url, stream, *maxlen, &config.format);
            Ok(Arc::new(sink.map_err(OpenError)?))
        }
        SinkKind::RedisCache { url, key, ttl } => {
            let sink = redis_cache::RedisCache::open(config, url, key, *ttl);
            Ok(Arc::new(sink.map_err(OpenError)?))
        }
        SinkKind::OpenSearch { url, index, template } => {
            let target = opensearch::Target { url, index, template: template.as_deref() };
            let sink = opensearch::OpenSearch::open(config, target, Arc::clone(searches))?;
            Ok(Arc::new(sink))
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
    }
}
