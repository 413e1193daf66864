//! The current state of an entity.

use super::key::EntityKey;
use crate::filter::{Facts, State};
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

impl Entity {
    /// Its state, as filters take it.
    pub(crate) fn state(&self) -> State<'_> {
        State { created_at: self.created_at, updated_at: self.updated_at, data: &self.data }
    }

    /// What a filter over entities judges, at the time of a request.
    pub(crate) fn facts(&self, now: Timestamp) -> Facts<'_> {
        Facts {
            entity_type: self.key.entity_type(),
            entity_id: self.key.entity_id(),
            version: self.version,
            state: Some(self.state()),
            change: None,
            now,
        }
    }
}
