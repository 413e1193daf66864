//! From the log's rows to events.

use sqlx::FromRow;
use uuid::Uuid;

use super::entries::unknown;
use super::numbers::from_bigint;
use crate::model::{AttemptId, EntityKey, LoggedEvent, LoggedUpdate, Operation, Timestamp};

/// One row of the log.
pub(crate) struct LogRecord {
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    pub(crate) event_type: Option<String>,
    pub(crate) created_date: Option<Timestamp>,
    pub(crate) saved_date: Option<Timestamp>,
    pub(crate) source: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) committed: Timestamp,
    pub(crate) attempt: AttemptId,
    pub(crate) key: EntityKey,
    pub(crate) version: u64,
    pub(crate) created: bool,
    pub(crate) operation: Operation,
    pub(crate) patch: String,
}

/// A row of the log as an event's statement has it; `T` is how the database has times.
#[derive(FromRow)]
pub(crate) struct RecordRow<T> {
    event_uuid: Uuid,
    version: i64,
    created_at: Option<T>,
    saved_at: Option<T>,
    committed_at: T,
    attempt_id: i32,
    created: bool,
    operation: i16,
    entity_type: String,
    entity_id: String,
    event_name: String,
    event_type: Option<String>,
    event_source: Option<String>,
    event_actor: Option<String>,
    patch: String,
}

impl<T> RecordRow<T> {
    pub(crate) fn into_record(
        self,
        moment: impl Fn(T) -> Timestamp,
    ) -> Result<LogRecord, sqlx::Error> {
        Ok(LogRecord {
            uuid: self.event_uuid,
            name: self.event_name,
            event_type: self.event_type,
            created_date: self.created_at.map(&moment),
            saved_date: self.saved_at.map(&moment),
            source: self.event_source,
            actor: self.event_actor,
            committed: moment(self.committed_at),
            attempt: AttemptId(self.attempt_id),
            key: EntityKey::new_unchecked(self.entity_type, self.entity_id),
            version: from_bigint(self.version),
            created: self.created,
            operation: Operation::from_code(self.operation).map_err(unknown)?,
            patch: self.patch,
        })
    }
}

/// Assembles events from the log's rows: those of one event follow each other, in the order of their
/// ordinals.
#[derive(Default)]
pub(crate) struct EventAssembler(Option<LoggedEvent>);

impl EventAssembler {
    /// Takes the next row; returns the event before it once that is complete.
    pub(crate) fn add(&mut self, row: LogRecord) -> Option<LoggedEvent> {
        let update = LoggedUpdate {
            key: row.key,
            version: row.version,
            created: row.created,
            operation: row.operation,
            patch: row.patch,
        };
        if let Some(event) = self.0.as_mut().filter(|event| event.uuid == row.uuid) {
            // an entity whose last change is ahead of the clock has a later time in its row
            event.committed = event.committed.max(row.committed);
            event.saved = row.saved_date.unwrap_or(event.committed);
            event.updates.push(update);
            return None;
        }
        self.0.replace(LoggedEvent {
            uuid: row.uuid,
            name: row.name,
            event_type: row.event_type,
            created: row.created_date,
            saved: row.saved_date.unwrap_or(row.committed),
            source: row.source,
            actor: row.actor,
            committed: row.committed,
            attempt: row.attempt,
            updates: vec![update],
        })
    }

    /// The last event.
    pub(crate) fn finish(self) -> Option<LoggedEvent> {
        self.0
    }
}
