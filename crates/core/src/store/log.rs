//! From the log's rows to events.

use std::collections::HashMap;

use uuid::Uuid;

use super::{LoggedEvent, LoggedUpdate, Stamp};
use crate::{EntityKey, Timestamp};

/// One row of the log.
pub(super) struct LogRecord {
    pub(super) uuid: Uuid,
    pub(super) name: String,
    pub(super) event_type: Option<String>,
    pub(super) created: Option<Timestamp>,
    pub(super) saved: Option<Timestamp>,
    pub(super) committed: Timestamp,
    pub(super) stamp: Stamp,
    pub(super) key: EntityKey,
    pub(super) version: u64,
    pub(super) patch: String,
}

/// Puts the rows together again; those of one event come in the order of their ordinals.
pub(super) fn assemble(rows: impl Iterator<Item = LogRecord>) -> HashMap<Uuid, LoggedEvent> {
    let mut events = HashMap::new();
    for row in rows {
        let event = events.entry(row.uuid).or_insert_with(|| LoggedEvent {
            uuid: row.uuid,
            name: row.name,
            event_type: row.event_type,
            created: row.created,
            saved: row.saved.unwrap_or(row.committed),
            committed: row.committed,
            stamp: row.stamp,
            updates: Vec::new(),
        });
        // an entity whose last change lies ahead of the clock has its row a little later
        event.committed = event.committed.max(row.committed);
        event.saved = row.saved.unwrap_or(event.committed);
        event.updates.push(LoggedUpdate { key: row.key, version: row.version, patch: row.patch });
    }
    events
}
