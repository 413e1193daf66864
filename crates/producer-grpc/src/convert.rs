//! From the core's types to the messages of the .proto files.

use std::sync::Arc;
use std::time::Duration;

use producer_core::feed::{Change, Item, Token};
use producer_core::ingest::bulk::ItemStatus;
use producer_core::json::Path;
use producer_core::model::{Entity, LogEntry, LoggedEvent, LoggedUpdate};
use producer_core::query::{Comparison, Count, Origin};
use producer_core::{EntityKey, Operation, Outcome, Problem, Receipt, Timestamp};

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
        // a merge is unspecified, as in most events
        operation: match update.operation {
            Operation::Merge => v1::Operation::Unspecified.into(),
            other => operation(other).into(),
        },
    }
}

fn operation(operation: Operation) -> v1::Operation {
    match operation {
        Operation::Merge => v1::Operation::Merge,
        Operation::Replace => v1::Operation::Replace,
        Operation::Delete => v1::Operation::Delete,
    }
}

/// An update of an entity as the log has it.
pub(crate) fn change(key: &EntityKey, entry: LogEntry) -> v1::Change {
    let event_id = entry.event_id();
    let ordinal = event_id.and_then(|_| u64::try_from(entry.ordinal).ok());
    v1::Change {
        kind: v1::ChangeKind::Change.into(),
        token: String::new(),
        entity_type: key.entity_type().into(),
        entity_id: key.entity_id().into(),
        version: entry.version,
        operation: operation(entry.operation).into(),
        created: entry.created,
        event_id: event_id.map(|id| id.to_string()).unwrap_or_default(),
        ordinal,
        event_name: entry.event_name,
        event_type: entry.event_type.unwrap_or_default(),
        event_source: entry.source.unwrap_or_default(),
        event_actor: entry.actor.unwrap_or_default(),
        created_date: entry.created_date.map(timestamp),
        committed_at: Some(timestamp(entry.committed)),
        patch_json: entry.patch,
        data_json: None,
        data_version: None,
    }
}

/// An item of the change feed; with its state where `with_data` and it has one.
///
/// # Errors
/// The problem that is the last item of a stream: in gRPC it is the status of the call.
pub(crate) fn item(item: Item, with_data: bool) -> Result<v1::ChangeItem, Arc<Problem>> {
    let item = match item {
        Item::Change(change) => v1::change_item::Item::Change(feed_change(&change, with_data)),
        Item::Left(change) => v1::change_item::Item::Change(v1::Change {
            kind: v1::ChangeKind::Left.into(),
            ..feed_change(&change, false)
        }),
        Item::Snapshot(token, entity) => v1::change_item::Item::Snapshot(snapshot(&token, entity)),
        Item::SnapshotEnd(token) => {
            v1::change_item::Item::SnapshotEnd(v1::SnapshotEnd { token: token.to_string() })
        }
        Item::Bookmark { token, caught_up } => {
            v1::change_item::Item::Bookmark(v1::Bookmark { token: token.to_string(), caught_up })
        }
        Item::Gone(problem) | Item::Unavailable(problem) => return Err(problem),
    };
    Ok(v1::ChangeItem { item: Some(item) })
}

fn feed_change(feed_change: &Change, with_data: bool) -> v1::Change {
    let state = feed_change.state().filter(|_| with_data);
    v1::Change {
        token: feed_change.token.to_string(),
        data_json: state.map(|entity| entity.data.clone()),
        data_version: state.map(|entity| entity.version),
        ..change(&feed_change.key, feed_change.entry.clone())
    }
}

fn snapshot(token: &Token, entity: Arc<Entity>) -> v1::EntitySnapshot {
    let entity = Arc::unwrap_or_clone(entity);
    v1::EntitySnapshot {
        entity_type: entity.key.entity_type().into(),
        entity_id: entity.key.entity_id().into(),
        version: entity.version,
        updated_at: Some(timestamp(entity.updated_at)),
        data_json: entity.data,
        token: token.to_string(),
    }
}

/// How two states of an entity differ.
pub(crate) fn comparison(comparison: Comparison) -> v1::DiffEntityResponse {
    let change = |(path, from_json, to_json): (Path, Option<String>, Option<String>)| {
        v1::LeafDifference { path: path.to_string(), from_json, to_json }
    };
    v1::DiffEntityResponse {
        from: comparison.from,
        to: comparison.to,
        patch_json: comparison.patch,
        changes: comparison.changes.into_iter().map(change).collect(),
    }
}

/// Where the value of a leaf comes from.
pub(crate) fn origin(origin: &Origin) -> v1::LeafOrigin {
    let path = origin.path.to_string();
    let Some(update) = &origin.update else {
        return v1::LeafOrigin { path, ..v1::LeafOrigin::default() };
    };
    v1::LeafOrigin {
        path,
        version: Some(update.version),
        event_id: update.event_id().map(|id| id.to_string()).unwrap_or_default(),
        event_name: update.event_name.clone(),
        event_source: update.source.clone().unwrap_or_default(),
        event_actor: update.actor.clone().unwrap_or_default(),
        committed_at: Some(timestamp(update.committed)),
    }
}

/// How many there are.
pub(crate) fn count(count: Count) -> v1::Count {
    v1::Count { value: count.value, exact: count.exact }
}

pub(crate) fn timestamp(moment: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(moment.micros().rem_euclid(1_000_000) * 1000).unwrap_or(0);
    prost_types::Timestamp { seconds: moment.micros().div_euclid(1_000_000), nanos }
}

/// A moment that a client names. Digits past the microsecond are cut.
///
/// # Errors
/// The end of a sentence about the value: `must …`.
pub(crate) fn moment(timestamp: prost_types::Timestamp) -> Result<Timestamp, &'static str> {
    if !(0..1_000_000_000).contains(&timestamp.nanos) {
        return Err("must have nanos from 0 to 999,999,999");
    }
    let micros = timestamp.seconds.saturating_mul(1_000_000);
    Timestamp::checked(micros.saturating_add(i64::from(timestamp.nanos / 1000)))
}

/// A duration that a client gives. prost's own conversion overflows at the least number of seconds.
///
/// # Errors
/// The end of a sentence about the value: `must …`.
pub(crate) fn duration(duration: prost_types::Duration) -> Result<Duration, &'static str> {
    let prost_types::Duration { seconds, nanos } = duration;
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos @ 0..1_000_000_000)) => Ok(Duration::new(seconds, nanos)),
        (Ok(_), Ok(_)) => Err("must have nanos from 0 to 999,999,999"),
        _ => Err("must not be negative"),
    }
}

#[cfg(test)]
mod tests {
    use producer_core::model::EntryKind;
    use uuid::Uuid;

    use super::*;

    fn entry(kind: EntryKind, ordinal: i16) -> LogEntry {
        LogEntry {
            kind,
            uuid: Uuid::from_u128(1),
            ordinal,
            version: 7,
            operation: Operation::Merge,
            created: false,
            event_name: "CarSold".into(),
            event_type: None,
            source: None,
            actor: None,
            created_date: None,
            committed: Timestamp::from_micros(-1),
            patch: "{}".into(),
        }
    }

    #[test]
    fn only_an_update_that_pruning_detached_has_no_event() {
        let id = Uuid::from_u128(1).to_string();
        let key = EntityKey::new_unchecked("Car", "a");
        for (kind, ordinal, event) in [
            (EntryKind::Event, 0, Some((&id, 0))),
            (EntryKind::Event, 3, Some((&id, 3))),
            (EntryKind::Adopted, 0, Some((&id, 0))),
            (EntryKind::Detached, -1, None),
        ] {
            let change = change(&key, entry(kind, ordinal));
            assert_eq!(change.event_id, event.map(|(id, _)| id.clone()).unwrap_or_default());
            assert_eq!(change.ordinal, event.map(|(_, ordinal)| ordinal));
            let update = Some(Arc::new(entry(kind, ordinal)));
            let origin = origin(&Origin { path: Path::root(), update });
            assert_eq!((origin.event_id, origin.version), (change.event_id, Some(7)));
        }
    }

    #[test]
    fn a_moment_of_a_client_is_cut_to_microseconds() {
        let of = |seconds, nanos| moment(prost_types::Timestamp { seconds, nanos });
        for (seconds, nanos, micros) in
            [(0, 0, 0), (1, 1999, 1_000_001), (-1, 999_999_999, -1), (-1, 0, -1_000_000)]
        {
            let moment = of(seconds, nanos);
            assert_eq!(moment.map(Timestamp::micros), Ok(micros));
        }
        assert!(of(0, -1).is_err() && of(0, 1_000_000_000).is_err());
        assert!(of(i64::MIN, 0).is_err() && of(i64::MAX, 999_999_999).is_err());
    }

    #[test]
    fn a_duration_of_a_client_is_not_negative() {
        let of = |seconds, nanos| duration(prost_types::Duration { seconds, nanos });
        assert_eq!(of(0, 0), Ok(Duration::ZERO));
        assert_eq!(of(1, 500_000_000), Ok(Duration::from_millis(1500)));
        assert_eq!(of(i64::MAX, 999_999_999), Ok(Duration::new(i64::MAX as u64, 999_999_999)));
        for (seconds, nanos) in [(-1, 0), (0, -1), (i64::MIN, 0), (i64::MIN, i32::MIN)] {
            assert_eq!(of(seconds, nanos), Err("must not be negative"));
        }
        assert!(of(0, 1_000_000_000).is_err());
    }
}
