//! Events. What exists is valid: an [`Event`] is made from a [`Draft`](crate::decode::Draft), which
//! checks every rule of the contract, and nothing behind it checks again.

use uuid::Uuid;

use super::key::EntityKey;
use super::logged::LoggedEvent;
use super::operation::{Operation, Precondition};
use crate::json::{Patch, same_value};
use crate::time::Timestamp;

/// A valid event: attributes of 1 to 1,000 entities are now so.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    pub(crate) event_type: Option<String>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) saved: Option<Timestamp>,
    pub(crate) source: Option<String>,
    pub(crate) actor: Option<String>,
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

    /// `savedDate`; absent: the time of the commit counts as it.
    pub fn saved(&self) -> Option<Timestamp> {
        self.saved
    }

    /// `source`: the system that sent it, 1 to 255 characters where there is one.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// `actor`: who caused it, 1 to 255 characters where there is one.
    pub fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// The updates in their order; one entity may occur more than once.
    pub fn updates(&self) -> &[EntityUpdate] {
        &self.updates
    }

    /// Whether the log has this event's content: the parts that count for idempotency, by value.
    pub fn same_content(&self, logged: &LoggedEvent) -> bool {
        self.name == logged.name
            && self.event_type == logged.event_type
            && self.created == logged.created
            && self.updates.len() == logged.updates.len()
            && self.updates.iter().zip(&logged.updates).all(|(update, logged)| {
                update.key == logged.key
                    && update.operation == logged.operation
                    && same_value(update.patch.text(), &logged.patch)
            })
    }

    /// Bytes that the event holds in memory, roughly.
    pub fn weight(&self) -> usize {
        let updates: usize = self.updates.iter().map(EntityUpdate::weight).sum();
        let texts = [&self.event_type, &self.source, &self.actor];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        size_of::<Self>() + self.name.len() + texts + updates
    }
}

/// What an event does with one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityUpdate {
    pub(crate) key: EntityKey,
    pub(crate) operation: Operation,
    pub(crate) precondition: Precondition,
    pub(crate) patch: Patch,
}

impl EntityUpdate {
    /// The entity.
    pub fn key(&self) -> &EntityKey {
        &self.key
    }

    /// What it does with the entity.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// What must hold of the entity just before.
    pub fn precondition(&self) -> &Precondition {
        &self.precondition
    }

    /// Whether it never depends on the entity's state, apart from the size of the document.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.precondition == Precondition::None && self.operation != Operation::Delete
    }

    /// The attributes: `{}` of a delete.
    pub fn patch(&self) -> &Patch {
        &self.patch
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + self.key.entity_type().len()
            + self.key.entity_id().len()
            + self.precondition.weight()
            + self.patch.text().len()
    }
}
