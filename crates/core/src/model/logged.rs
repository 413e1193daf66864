//! Events as the log has them.

use uuid::Uuid;

use super::key::EntityKey;
use super::timestamp::Timestamp;

/// Marks in the log what one try to apply a batch wrote, so that a sender whose try ended with
/// [`ApplyError::Unknown`] can be told whether it was that try that stored the event, or another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptId(pub i32);

impl AttemptId {
    /// One that no other try has, but for one in four billion.
    pub(crate) fn random() -> Self {
        let [a, b, c, d, ..] = *Uuid::new_v4().as_bytes();
        Self(i32::from_ne_bytes([a, b, c, d]))
    }
}

/// An event as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The idempotency key.
    pub uuid: Uuid,
    /// `eventName`.
    pub name: String,
    /// `eventType`.
    pub event_type: Option<String>,
    /// `createdDate`.
    pub created: Option<Timestamp>,
    /// `savedDate`, or the commit's time where the event brought none.
    pub saved: Timestamp,
    /// When it was committed.
    pub committed: Timestamp,
    /// The try that stored it.
    pub attempt: AttemptId,
    /// The updates in their order.
    pub updates: Vec<LoggedUpdate>,
}

/// One update as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedUpdate {
    /// The entity.
    pub key: EntityKey,
    /// The version that it made.
    pub version: u64,
    /// Whether the entity did not exist just before.
    pub created: bool,
    /// The patch as it was sent, a JSON object.
    pub patch: String,
}
