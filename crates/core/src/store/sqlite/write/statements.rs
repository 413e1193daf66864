//! The writer's statements: their text, their parameters and their rows.

use std::sync::LazyLock;

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{FromRow, Sqlite};

use super::insert::Inserts;
use crate::model::{AttemptId, EntityKey, Timestamp};
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::sqlite::query;
use crate::store::write::plan::{Change, LogRow, Stored};

/// The entities of the keys in a JSON array; documents above a size are left out. CROSS
/// JOIN keeps SQLite from scanning the table and searching the array.
pub(super) const STATES: &str = r"
SELECT e.entity_type, e.entity_id, e.version, e.deleted, e.size, e.created_at, e.updated_at,
       CASE WHEN e.size <= ? THEN e.data END AS data
FROM json_each(?) AS k CROSS JOIN entities AS e
ON e.entity_type = k.value->>0 AND e.entity_id = k.value->>1";

/// The generation of the definitions of types.
const GENERATION: &str = "SELECT generation FROM type_generation WHERE only_row = 1";

/// Distinguishes the row of the generation.
pub(super) const GENERATION_COLUMNS: usize = 1;

/// Begins a transaction and reads what most batches need: the generation of the definitions of types, then
/// states, then logged events.
pub(super) static BEGIN: LazyLock<String> =
    LazyLock::new(|| format!("BEGIN IMMEDIATE;{GENERATION};{STATES};{}", query::LOGGED));

/// Writes rows of indexes.
pub(super) static INDEX: LazyLock<Inserts> = LazyLock::new(|| {
    let into = "INSERT INTO entity_index (index_id, entity_id, key) SELECT *";
    let on_conflict = r"
ON CONFLICT (index_id, entity_id) DO UPDATE SET key = excluded.key
WHERE entity_index.key IS NOT excluded.key";
    Inserts::new(into, 3, on_conflict)
});

/// Writes states.
pub(super) static WRITE: LazyLock<Inserts> = LazyLock::new(|| {
    let into = r"
INSERT INTO entities
    (entity_type, entity_id, version, deleted, size, data, created_at, updated_at)
SELECT *";
    let on_conflict = r"
ON CONFLICT (entity_type, entity_id) DO UPDATE SET
    version = excluded.version, deleted = excluded.deleted, size = excluded.size,
    data = excluded.data, created_at = excluded.created_at, updated_at = excluded.updated_at";
    Inserts::new(into, BOUND_OF_STATE, on_conflict)
});

/// Writes the log. A row that fails ends the transaction, so the statement alone need not be undone:
/// without OR FAIL, SQLite first copies each page that the statement changes.
pub(super) static LOG: LazyLock<Inserts> = LazyLock::new(|| {
    let into = r"
INSERT OR FAIL INTO event_log (event_uuid, ordinal, version, created_at, saved_at, committed_at,
                       created, operation, entity_type, entity_id, event_name, event_type,
                       event_source, event_actor, patch, attempt_id)
SELECT *";
    Inserts::new(into, 16, "")
});

/// Writes states and log, and commits.
pub(super) static WRITE_ALL: LazyLock<Inserts> = LazyLock::new(|| WRITE.then(&LOG, "COMMIT"));

/// A row of [`STATES`].
#[derive(FromRow)]
pub(super) struct StateRow {
    pub(super) entity_type: String,
    pub(super) entity_id: String,
    pub(super) version: i64,
    pub(super) deleted: bool,
    pub(super) size: i64,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    /// `None` where it is larger than asked for.
    pub(super) data: Option<String>,
}

/// Distinguishes a row of [`STATES`] from one of the log.
pub(super) const STATE_COLUMNS: usize = 8;

impl StateRow {
    pub(super) fn into_key_and_state(self) -> (EntityKey, Stored) {
        let stored = Stored {
            version: from_bigint(self.version),
            deleted: self.deleted,
            size: usize::try_from(self.size).unwrap_or(0),
            created: Timestamp::from_micros(self.created_at),
            updated: Timestamp::from_micros(self.updated_at),
            data: self.data.unwrap_or_default(),
        };
        (EntityKey::new_unchecked(self.entity_type, self.entity_id), stored)
    }
}

/// What [`bind_state`] binds.
pub(super) const BOUND_OF_STATE: usize = 8;

/// A statement that takes parameters.
pub(super) type Insert<'q> = Query<'q, Sqlite, SqliteArguments>;

/// The columns of a state, in the statement's order.
pub(super) fn bind_state<'q>(insert: Insert<'q>, change: &'q Change<'_>) -> Insert<'q> {
    insert
        .bind(change.key.entity_type())
        .bind(change.key.entity_id())
        .bind(to_bigint(change.version))
        .bind(change.deleted)
        .bind(to_bigint(change.size as u64))
        .bind(change.data.as_str())
        .bind(change.created.micros())
        .bind(change.updated.micros())
}

/// The columns of the log, in the statement's order.
pub(super) fn bind_log<'q>(
    insert: Insert<'q>,
    row: &'q LogRow<'_>,
    attempt: AttemptId,
) -> Insert<'q> {
    let (event, key) = (row.event, row.update.key());
    insert
        .bind(event.uuid())
        .bind(to_bigint(row.ordinal as u64))
        .bind(to_bigint(row.version))
        .bind(event.created().map(Timestamp::micros))
        .bind(event.saved().map(Timestamp::micros))
        .bind(row.committed.micros())
        .bind(row.created)
        .bind(row.update.operation().code())
        .bind(key.entity_type())
        .bind(key.entity_id())
        .bind(event.name())
        .bind(event.event_type())
        .bind(event.source())
        .bind(event.actor())
        .bind(row.update.patch().text())
        .bind(attempt.0)
}
