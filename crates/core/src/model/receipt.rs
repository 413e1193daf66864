//! What the sender of an event is answered.

use uuid::Uuid;

use super::key::EntityKey;
use super::problem::Problem;

/// The outcome of one event: stored (now or before), or why not.
pub type Outcome = Result<Receipt, Problem>;

/// The answer to the sender of an applied event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The event's uuid.
    pub event_id: Uuid,
    /// Whether the event had been applied before; then nothing changed now.
    pub duplicate: bool,
    /// The versions that the event made, in the order of its updates.
    pub entities: Vec<EntityVersion>,
}

/// The version that one update made of its entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityVersion {
    /// The entity.
    pub key: EntityKey,
    /// From 1.
    pub version: u64,
    /// Whether the entity did not exist just before.
    pub created: bool,
}

/// The version that an update made, without its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewVersion {
    /// From 1; it goes on where the entity was deleted before.
    pub version: u64,
    /// Whether the entity did not exist just before.
    pub created: bool,
}
