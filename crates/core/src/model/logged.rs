//! Events as the log has them.

use uuid::Uuid;

use super::key::EntityKey;
use super::operation::Operation;
use crate::time::Timestamp;

/// Identifies one attempt to apply a batch, in the log's rows that it wrote. So a sender whose attempt
/// ended with an unknown outcome learns whether that very attempt stored the event, or an earlier one
/// (then it is a duplicate).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptId(pub i32);

impl AttemptId {
    /// A random one: two are equal once in four billion.
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
    /// `source`.
    pub source: Option<String>,
    /// `actor`.
    pub actor: Option<String>,
    /// When it was committed.
    pub committed: Timestamp,
    /// The attempt that stored it.
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
    /// What it did with the entity.
    pub operation: Operation,
    /// The patch as it was sent, a JSON object.
    pub patch: String,
}
