//! The event types. What exists is valid: an [`Event`] comes out of a [`Draft`], which checks every
//! rule of the contract, and nothing behind it checks again.

mod draft;

use uuid::Uuid;

use crate::Timestamp;
use crate::merge::same_value;
use crate::store::LoggedEvent;
pub use draft::{Draft, Field, Header};

/// A valid event: attributes of 1 to 1,000 entities are now so.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    pub(crate) event_type: Option<String>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) saved: Option<Timestamp>,
    pub(crate) updates: Vec<EntityUpdate>,
}

impl Event {
    /// The idempotency key; made by the server where the client gave none.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// `eventName`, 1 to 255 characters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `eventType`, 1 to 255 characters where there is one.
    pub fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }

    /// `createdDate`.
    pub fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// `savedDate`; without it the time of the commit stands for it.
    pub fn saved(&self) -> Option<Timestamp> {
        self.saved
    }

    /// The updates in their order; one entity may stand there more than once.
    pub fn updates(&self) -> &[EntityUpdate] {
        &self.updates
    }

    /// Whether the log has this event's content: what of it counts for idempotency, by value.
    pub fn same_content(&self, logged: &LoggedEvent) -> bool {
        self.name == logged.name
            && self.event_type == logged.event_type
            && self.created == logged.created
            && self.updates.len() == logged.updates.len()
            && self.updates.iter().zip(&logged.updates).all(|(update, logged)| {
                update.key == logged.key && same_value(update.patch.text(), &logged.patch)
            })
    }

    /// Bytes that the event holds in memory, roughly.
    pub fn weight(&self) -> usize {
        let updates: usize = self.updates.iter().map(EntityUpdate::weight).sum();
        size_of::<Self>() + self.name.len() + updates
    }
}

/// New attributes of one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityUpdate {
    pub(crate) key: EntityKey,
    pub(crate) patch: Patch,
}

impl EntityUpdate {
    /// The entity.
    pub fn key(&self) -> &EntityKey {
        &self.key
    }

    /// What changes.
    pub fn patch(&self) -> &Patch {
        &self.patch
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + self.key.entity_type.len()
            + self.key.entity_id.len()
            + self.patch.text.len()
    }
}

/// What an entity is found by: the same id under two types is two entities. Ordered bytewise, as
/// PostgreSQL's collation `C` and SQLite's `BINARY` do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey {
    pub(crate) entity_type: String,
    pub(crate) entity_id: String,
}

impl EntityKey {
    /// `entityType`, 1 to 255 characters.
    pub fn entity_type(&self) -> &str {
        &self.entity_type
    }

    /// `entityId`, 1 to 255 characters.
    pub fn entity_id(&self) -> &str {
        &self.entity_id
    }
}

/// A JSON Merge Patch (RFC 7396) that the scanner has passed: a JSON object, kept as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    pub(crate) text: Box<str>,
    pub(crate) size: usize,
    pub(crate) flat: bool,
}

impl Patch {
    /// The JSON text as the client sent it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Bytes as compact UTF-8 with numbers written out: what the patch adds to a document at most.
    pub fn size(&self) -> usize {
        self.size
    }

    /// No member's value is an object or null, so that `jsonb || jsonb` and a shallow overwrite are
    /// exactly RFC 7396. What stands inside arrays doesn't matter.
    pub fn is_flat(&self) -> bool {
        self.flat
    }

    /// Whether every document that it is merged into has more than `bytes` bytes then: all members
    /// of a flat patch stay. Of others their size proves nothing, since nulls remove.
    pub(crate) fn makes_more_than(&self, bytes: usize) -> bool {
        self.flat && self.size > bytes
    }
}

/// What the sender of an applied event is told.
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
}

impl EntityVersion {
    /// Whether the update made the entity.
    pub fn created(&self) -> bool {
        self.version == 1
    }
}
