//! Writes of one entity, by its address instead of by an event. Each becomes an event of one update.

use std::borrow::Cow;

use super::draft::Draft;
use super::fields::{EntityFields, Field, Header};
use super::idempotency_key::IdempotencyKey;
use super::uuid::uuid;
use crate::json::{Patch, Step, Violations};
use crate::model::{Clock, Event, Operation, Precondition, Problem, ProblemKind};

/// What a write does with its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityMethod {
    /// Makes a new one, whose id is the event's uuid.
    Create,
    /// Replaces its document, or makes it.
    Replace,
    /// Merges into its document; it must exist.
    Merge,
    /// Deletes it; it must exist.
    Delete,
}

impl EntityMethod {
    /// The name that idempotency keys count for.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Merge => "merge",
            Self::Delete => "delete",
        }
    }

    /// The event's name where the client gives none.
    pub const fn event_name(self) -> &'static str {
        match self {
            Self::Create => "EntityCreated",
            Self::Replace => "EntityReplaced",
            Self::Merge => "EntityUpdated",
            Self::Delete => "EntityDeleted",
        }
    }

    const fn operation(self) -> Operation {
        match self {
            Self::Create | Self::Replace => Operation::Replace,
            Self::Merge => Operation::Merge,
            Self::Delete => Operation::Delete,
        }
    }
}

/// The parts of a write, as a transport has them.
#[derive(Debug)]
pub struct EntityRequest<'a> {
    /// What it does.
    pub method: EntityMethod,
    /// `entityType`
    pub entity_type: &'a str,
    /// `entityId`; not of [`EntityMethod::Create`].
    pub entity_id: &'a str,
    /// The event's header; its name may be absent.
    pub header: Header<'a>,
    /// The key that was given outside of the header.
    pub key: Option<IdempotencyKey<'a>>,
    /// What the client demands of the entity as it is.
    pub precondition: Precondition,
    /// The filter that the entity must fulfil.
    pub condition: Field<'a>,
    /// The document or patch; `{}` of a delete.
    pub attributes: Result<Patch, Violations>,
}

/// A valid write of one entity.
#[derive(Debug)]
pub struct EntityWrite {
    pub(crate) event: Event,
    /// Whether an entity that does not exist is "not found" rather than a condition that failed.
    absent_is_not_found: bool,
}

impl EntityRequest<'_> {
    /// Makes the write.
    ///
    /// # Errors
    /// `Malformed` for a uuid beside a key; `Validation`, or `Malformed` where the condition is no filter,
    /// with locations in the request: `/eventHeader/…`, `/entityType`, `/entityId`, `/condition`,
    /// `/updatedAttributes/…`.
    pub fn into_write(mut self, clock: &Clock) -> Result<EntityWrite, Problem> {
        let (precondition, absent_is_not_found) = self.demands();
        let id = (self.method != EntityMethod::Create).then_some(self.entity_id);
        let key = self.key.take();
        let by_key = key.map(|key| key.event_uuid(self.method.as_str(), self.entity_type, id));
        let in_header = match &self.header.uuid {
            Field::Text(text) => uuid(text).unwrap_or_default(),
            _ => clock.new_uuid(),
        };
        let uuid = by_key.unwrap_or(in_header);
        let outside = (by_key.is_some() || self.header.uuid == Field::Absent).then_some(uuid);
        if self.header.event_name == Field::Absent {
            self.header.event_name = Field::Text(self.method.event_name().into());
        }
        let id = id.map_or_else(|| Cow::Owned(uuid.to_string()), Cow::Borrowed);
        let mut draft = Draft::new();
        draft.header(self.header);
        draft.body(|draft| {
            draft.entity(EntityFields {
                entity_type: Field::Text(self.entity_type.into()),
                entity_id: Field::Text(id),
                operation: Field::Text(self.method.operation().as_str().into()),
                condition: self.condition,
                ..EntityFields::new(self.attributes)
            });
        });
        let mut event = draft.with_uuid(outside)?.finish(clock).map_err(in_request)?;
        event.updates.iter_mut().for_each(|update| update.precondition = precondition.clone());
        Ok(EntityWrite { event, absent_is_not_found })
    }

    /// What must hold, and whether a missing entity is "not found". A client that names versions, or
    /// demands that the entity exists, learns that this does not hold.
    fn demands(&mut self) -> (Precondition, bool) {
        let asked = std::mem::take(&mut self.precondition);
        match (self.method, asked) {
            (EntityMethod::Create, Precondition::None | Precondition::Absent) => {
                (Precondition::Absent, false)
            }
            // what is made must not be there before
            (EntityMethod::Create, _) => (Precondition::Versions(Box::default()), false),
            (EntityMethod::Replace, asked) => (asked, false),
            (EntityMethod::Merge | EntityMethod::Delete, Precondition::None) => {
                (Precondition::Exists, true)
            }
            // an entity that must and must not exist
            (EntityMethod::Merge | EntityMethod::Delete, Precondition::Absent) => {
                (Precondition::Versions(Box::default()), true)
            }
            (EntityMethod::Merge | EntityMethod::Delete, asked) => (asked, false),
        }
    }
}

impl EntityWrite {
    /// The event that it is.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The event, and how the problem that it is refused with reads for the sender of the write.
    pub(crate) fn into_event(self) -> (Event, impl FnOnce(Problem) -> Problem) {
        let is_not_found = move |problem: &Problem| {
            self.absent_is_not_found
                && problem.precondition.is_some_and(|state| state.current_version.is_none())
        };
        let problem = move |problem: Problem| {
            if is_not_found(&problem) {
                let event_id = problem.event_id;
                return Problem {
                    event_id,
                    ..Problem::new(ProblemKind::NotFound, "no such entity")
                };
            }
            in_request(problem)
        };
        (self.event, problem)
    }
}

/// The same problem with locations in the request instead of in its event.
fn in_request(problem: Problem) -> Problem {
    let item = [Step::Key("eventBody".into()), Step::Key("entities".into()), Step::Index(0)];
    problem.map_violations(|violations| violations.without_prefix(&item))
}
