//! What a sink wrote to a Redis stream.

use std::ops::{Deref, DerefMut};

use redis::RedisResult;

use crate::redis_target::StreamEntry;
use crate::{RedisTarget, VersionLog};

/// What a stream has got so far.
#[derive(Debug)]
pub struct StreamLog {
    stream: String,
    /// The id of the last entry that was read.
    last: String,
    log: VersionLog,
}

impl StreamLog {
    /// Of a stream that nothing was read of.
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.to_owned(), last: "0-0".to_owned(), log: VersionLog::new(stream) }
    }

    /// Reads what the stream has got since the last call.
    ///
    /// # Errors
    /// While the server is away.
    pub async fn read(&mut self, redis: &RedisTarget) -> RedisResult<()> {
        for StreamEntry { id, key, version } in redis.entries(&self.stream, &self.last).await? {
            self.log.add(key, version, &id);
            self.last = id;
        }
        Ok(())
    }
}

impl Deref for StreamLog {
    type Target = VersionLog;

    fn deref(&self) -> &VersionLog {
        &self.log
    }
}

impl DerefMut for StreamLog {
    fn deref_mut(&mut self) -> &mut VersionLog {
        &mut self.log
    }
}
