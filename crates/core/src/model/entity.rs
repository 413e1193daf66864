//! The current state of an entity.

use super::key::EntityKey;
use crate::time::Timestamp;

/// The current state of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// The entity.
    pub key: EntityKey,
    /// How many updates it has seen.
    pub version: u64,
    /// When its first update was committed (adopted: as the older service had it).
    pub created_at: Timestamp,
    /// When its last update was committed.
    pub updated_at: Timestamp,
    /// The document, a JSON object.
    pub data: String,
}
