//! The kinds of Redis against real servers.

#[path = "redis/cache.rs"]
mod cache;
#[path = "redis/cache_marker.rs"]
mod cache_marker;
#[path = "redis/faults.rs"]
mod faults;
#[path = "redis/source.rs"]
mod source;
#[path = "redis/stream.rs"]
mod stream;
#[path = "redis/support.rs"]
mod support;
#[path = "redis/tls.rs"]
mod tls;
