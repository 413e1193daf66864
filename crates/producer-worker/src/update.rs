//! What is to be delivered: one change of an entity, or its state.

use std::sync::Arc;

use producer_core::feed::Change;
use producer_core::model::{Entity, Operation};
use producer_core::{EntityKey, Timestamp};

/// What is to be delivered of one entity. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Update {
    /// What happened.
    pub cause: Cause,
    /// The entity's state, as it was read with the change or, in the mode `latest`, just before it is sent;
    /// `None` where the entity was deleted by then.
    pub state: Option<Arc<Entity>>,
}

/// Why something is delivered.
#[derive(Debug, Clone)]
pub enum Cause {
    /// The entity was changed. In the mode `latest` this is the last change that is known.
    Change(Arc<Change>),
    /// The entity was changed, and does not match the sink's filter any more.
    Left(Arc<Change>),
    /// A snapshot has it.
    Snapshot(Arc<Entity>),
}

impl Update {
    /// The entity.
    pub fn key(&self) -> &EntityKey {
        match &self.cause {
            Cause::Change(change) | Cause::Left(change) => &change.key,
            Cause::Snapshot(entity) => &entity.key,
        }
    }

    /// The version that the change made; of a snapshot that of the state.
    pub fn version(&self) -> u64 {
        match &self.cause {
            Cause::Change(change) | Cause::Left(change) => change.entry.version,
            Cause::Snapshot(entity) => entity.version,
        }
    }

    /// When the change was committed; of a snapshot when the state was.
    pub fn time(&self) -> Timestamp {
        match &self.cause {
            Cause::Change(change) | Cause::Left(change) => change.entry.committed,
            Cause::Snapshot(entity) => entity.updated_at,
        }
    }

    /// Whether a cache or an index removes the entity: it is deleted, or does not match any more.
    pub fn is_removal(&self) -> bool {
        matches!(self.cause, Cause::Left(_)) || self.state.is_none()
    }

    /// The version of what a cache or an index has behind it: that of the state, or of the change that removed
    /// it.
    pub fn kept_version(&self) -> u64 {
        match &self.state {
            Some(entity) if !self.is_removal() => entity.version,
            _ => self.version(),
        }
    }

    /// Whether the change itself deleted the entity, whatever came later.
    pub fn is_delete(&self) -> bool {
        match &self.cause {
            Cause::Change(change) => change.entry.operation == Operation::Delete,
            Cause::Left(_) | Cause::Snapshot(_) => false,
        }
    }

    /// About so many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 1024;
        let state = self.state.as_ref().map_or(0, |entity| entity.data.len());
        match &self.cause {
            Cause::Change(change) | Cause::Left(change) => {
                FIXED + 2 * (change.entry.patch.len() + state)
            }
            Cause::Snapshot(_) => FIXED + 2 * state,
        }
    }
}

#[cfg(test)]
pub(crate) mod samples;
