//! The only source of time and new ids, so that tests can set both.

use std::sync::Arc;
use std::time::Duration;

use uuid::{NoContext, Uuid};

use super::timestamp::Timestamp;

/// Returns the time and makes event ids. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::from_fn(|| {
            let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
            Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
        })
    }

    /// A clock that returns what `now` returns.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// A new UUIDv7 (RFC 9562) of the present moment.
    pub fn new_uuid(&self) -> Uuid {
        let micros = self.now().micros().max(0).unsigned_abs();
        let subsec_nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1000;
        Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, micros / 1_000_000, subsec_nanos))
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}
