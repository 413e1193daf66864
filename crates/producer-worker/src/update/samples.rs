//! Updates for tests.

use std::sync::Arc;

use producer_core::Timestamp;
use producer_core::feed::Change;
use producer_core::model::{Entity, EntityKey, EntryKind, LogEntry, Operation};
use uuid::Uuid;

use super::{Cause, Update};
use crate::config::{Form, Format, TimeUnit};

/// 2024-01-15T10:30:05.123456Z
pub(crate) const COMMITTED: Timestamp = Timestamp::from_micros(1_705_314_605_123_456);

/// CloudEvents, as they are by default.
pub(crate) fn format() -> Format {
    Format {
        form: Form::CloudEvents,
        event_type: None,
        timestamp_unit: TimeUnit::Milliseconds,
        cloudevents_source: "/producer".into(),
    }
}

pub(crate) fn key() -> EntityKey {
    EntityKey::new_unchecked("Order", "o-1")
}

pub(crate) fn state(version: u64) -> Arc<Entity> {
    let data = format!("{{\"n\": {version},\n\"price\":1.10}}");
    Arc::new(Entity { key: key(), version, created_at: COMMITTED, updated_at: COMMITTED, data })
}

/// A log entry of a merge.
pub(crate) fn entry(version: u64) -> LogEntry {
    LogEntry {
        kind: EntryKind::Event,
        uuid: Uuid::from_u128(7),
        ordinal: 0,
        version,
        operation: Operation::Merge,
        created: version == 1,
        event_name: "OrderPaid".into(),
        event_type: None,
        source: Some("shop".into()),
        actor: None,
        created_date: None,
        committed: COMMITTED,
        patch: format!(r#"{{"n":{version}}}"#),
    }
}

pub(crate) fn change_of(entry: LogEntry) -> Arc<Change> {
    Arc::new(Change::new(Uuid::nil(), entry.version, key(), entry))
}

/// A merge with the state that it made.
pub(crate) fn change(version: u64) -> Update {
    Update { cause: Cause::Change(change_of(entry(version))), state: Some(state(version)) }
}
