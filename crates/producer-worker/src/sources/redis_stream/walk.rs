//! When and where the group's pending messages are looked at.

use std::time::Duration;

use tokio::time::Instant;

use super::entry::Id;

/// A message that nobody acknowledged for so long is taken over.
pub(super) const MIN_IDLE: Duration = Duration::from_secs(15);

/// How often this is looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// A walk over what is pending.
#[derive(Debug, Clone, Copy)]
pub(super) enum Walk {
    /// Behind this id, all that is idle for so long.
    At(Option<Id>, Duration),
    /// The next one begins then.
    Ended(Instant),
}

impl Walk {
    /// Over all of it. This worker has the lease, so nobody else works on these messages.
    pub(super) const fn first() -> Self {
        Self::At(None, Duration::ZERO)
    }

    /// Whether it is at the begin of such a walk.
    pub(super) fn begins_with_all(self) -> bool {
        matches!(self, Self::At(None, Duration::ZERO))
    }

    /// The next one is due in a while.
    pub(super) fn ended() -> Self {
        Self::Ended(Instant::now() + PERIOD)
    }
}
