//! From the core's types to the messages of the .proto files.

use producer_core::ingest::bulk::ItemStatus;
use producer_core::model::{Entity, LoggedEvent, LoggedUpdate};
use producer_core::{Operation, Outcome, Problem, Receipt, Timestamp};

use crate::proto::v1;

/// The answer to one applied event.
pub(crate) fn response(receipt: Receipt) -> v1::EventResponse {
    v1::EventResponse {
        success: true,
        message: "Event processed successfully".into(),
        event_id: receipt.event_id.to_string(),
        duplicate: receipt.duplicate,
        entities: versions(receipt),
    }
}

/// The answer to an applied write of one entity.
pub(crate) fn written(receipt: Receipt) -> v1::WriteEntityResponse {
    let (event_id, duplicate) = (receipt.event_id.to_string(), receipt.duplicate);
    // a write is an event of one update
    let v1::EntityVersion { entity_type, entity_id, version, created } =
        versions(receipt).pop().unwrap_or_default();
    let entity = None;
    v1::WriteEntityResponse {
        event_id,
        duplicate,
        entity_type,
        entity_id,
        version,
        created,
        entity,
    }
}

/// The versions that an event made of its entities.
fn versions(receipt: Receipt) -> Vec<v1::EntityVersion> {
    let version = |made: producer_core::EntityVersion| v1::EntityVersion {
        entity_type: made.key.entity_type().into(),
        entity_id: made.key.entity_id().into(),
        version: made.version,
        created: made.created,
    };
    receipt.entities.into_iter().map(version).collect()
}

/// The result of the event at `index` of a call of many.
pub(crate) fn result(index: u64, outcome: Outcome) -> v1::EventResult {
    let mut result = v1::EventResult { index, ..v1::EventResult::default() };
    result.set_status(status(ItemStatus::from_outcome(&outcome)));
    match outcome {
        Ok(receipt) => {
            result.event_id = receipt.event_id.to_string();
            result.entities = versions(receipt);
        }
        Err(problem) => {
            result.event_id = problem.event_id.map(|uuid| uuid.to_string()).unwrap_or_default();
            result.violations = violations(&problem);
            result.message = problem.detail.into_owned();
        }
    }
    result
}

fn status(status: ItemStatus) -> v1::EventStatus {
    match status {
        ItemStatus::Processed => v1::EventStatus::Processed,
        ItemStatus::Duplicate => v1::EventStatus::Duplicate,
        ItemStatus::Invalid => v1::EventStatus::Invalid,
        ItemStatus::Conflict => v1::EventStatus::Conflict,
        ItemStatus::PreconditionFailed => v1::EventStatus::PreconditionFailed,
        ItemStatus::Unavailable => v1::EventStatus::Unavailable,
        ItemStatus::Unknown => v1::EventStatus::Unknown,
    }
}

/// Violations with their JSON Pointers.
fn violations(problem: &Problem) -> Vec<v1::Violation> {
    let violation = |violation: &producer_core::Violation| v1::Violation {
        pointer: violation.location.pointer(),
        description: violation.detail.to_string(),
        current_version: problem.precondition.and_then(|state| state.current_version),
    };
    problem.violations.listed().iter().map(violation).collect()
}

/// An entity without its document.
pub(crate) fn entity_head(entity: &Entity) -> v1::Entity {
    v1::Entity {
        entity_type: entity.key.entity_type().into(),
        entity_id: entity.key.entity_id().into(),
        version: entity.version,
        created_at: Some(timestamp(entity.created_at)),
        updated_at: Some(timestamp(entity.updated_at)),
        attributes: None,
        attributes_json: String::new(),
    }
}

/// An event as the log keeps it.
pub(crate) fn logged(event: LoggedEvent) -> v1::Event {
    v1::Event {
        event_header: Some(v1::EventHeader {
            uuid: event.uuid.to_string(),
            event_name: event.name,
            created_date: event.created.map(|date| date.to_string()).unwrap_or_default(),
            saved_date: event.saved.to_string(),
            event_type: event.event_type.unwrap_or_default(),
            source: event.source.unwrap_or_default(),
            actor: event.actor.unwrap_or_default(),
        }),
        entities: event.updates.into_iter().map(applied).collect(),
        committed_at: Some(timestamp(event.committed)),
    }
}

fn applied(update: LoggedUpdate) -> v1::AppliedUpdate {
    v1::AppliedUpdate {
        entity_type: update.key.entity_type().into(),
        entity_id: update.key.entity_id().into(),
        version: update.version,
        created: update.created,
        attributes_json: update.patch,
        operation: operation(update.operation).into(),
    }
}

/// A merge is unspecified, as in most events.
fn operation(operation: Operation) -> v1::Operation {
    match operation {
        Operation::Merge => v1::Operation::Unspecified,
        Operation::Replace => v1::Operation::Replace,
        Operation::Delete => v1::Operation::Delete,
    }
}

fn timestamp(moment: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(moment.micros().rem_euclid(1_000_000) * 1000).unwrap_or(0);
    prost_types::Timestamp { seconds: moment.micros().div_euclid(1_000_000), nanos }
}
