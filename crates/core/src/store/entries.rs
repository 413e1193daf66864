//! Reading one entity's log: what both adapters share. The statements work on both databases; `T` is how a
//! database has times.

use sqlx::FromRow;
use uuid::Uuid;

use super::numbers::from_bigint;
use crate::model::{EntryKind, LogEntry, LogPoint, Operation, Timestamp};

/// The rows of a range ([`EntryRow`]), in the order of versions.
pub(crate) const ASCENDING: &str = r"
SELECT kind, event_uuid, ordinal, version, operation, created, event_name, event_type, event_source,
       event_actor, created_at, committed_at, CAST(patch AS text) AS patch
FROM event_log WHERE entity_type = $1 AND entity_id = $2 AND version > $3 AND version <= $4
ORDER BY version LIMIT $5";

/// The same, the last one first.
pub(crate) const DESCENDING: &str = r"
SELECT kind, event_uuid, ordinal, version, operation, created, event_name, event_type, event_source,
       event_actor, created_at, committed_at, CAST(patch AS text) AS patch
FROM event_log WHERE entity_type = $1 AND entity_id = $2 AND version > $3 AND version <= $4
ORDER BY version DESC LIMIT $5";

/// The newest entry up to a version; of the entries of a number before it the newest base; and when the
/// entity was made. That is in its row, unless it was made anew since; then it is looked for among these
/// entries too: a search through all of them could take long.
pub(crate) const POINT: &str = r"
SELECT at.version,
       (SELECT version FROM event_log
        WHERE entity_type = $1 AND entity_id = $2
            AND version <= at.version AND version > at.version - $4
            AND (created OR kind = 2 OR operation <> 0)
        ORDER BY version DESC LIMIT 1),
       CASE WHEN e.created_at < at.committed_at THEN e.created_at ELSE
           (SELECT CASE WHEN kind IN (1, 2) THEN coalesce(created_at, committed_at)
                        ELSE committed_at END
            FROM event_log
            WHERE entity_type = $1 AND entity_id = $2
                AND version <= at.version AND version > at.version - $4
                AND (created OR kind = 2)
            ORDER BY version DESC LIMIT 1) END
FROM (SELECT version, committed_at FROM event_log
      WHERE entity_type = $1 AND entity_id = $2 AND version <= $3
      ORDER BY version DESC LIMIT 1) AS at
LEFT JOIN entities e ON e.entity_type = $1 AND e.entity_id = $2";

/// The newest version that was not committed after a time. Versions have no gaps and times never go back
/// within an entity, so it is found by halving.
pub(crate) const VERSION_AT: &str = r"
WITH RECURSIVE search (low, high) AS (
    SELECT (SELECT version FROM event_log WHERE entity_type = $1 AND entity_id = $2
            ORDER BY version LIMIT 1),
           (SELECT version FROM event_log WHERE entity_type = $1 AND entity_id = $2
            ORDER BY version DESC LIMIT 1)
    UNION ALL
    SELECT CASE WHEN (SELECT committed_at FROM event_log
                      WHERE entity_type = $1 AND entity_id = $2
                          AND version = (low + high + 1) / 2) <= $3
           THEN (low + high + 1) / 2 ELSE low END,
           CASE WHEN (SELECT committed_at FROM event_log
                      WHERE entity_type = $1 AND entity_id = $2
                          AND version = (low + high + 1) / 2) <= $3
           THEN high ELSE (low + high + 1) / 2 - 1 END
    FROM search WHERE low < high
)
SELECT version FROM event_log
WHERE entity_type = $1 AND entity_id = $2 AND committed_at <= $3
    AND version = (SELECT low FROM search WHERE low = high)";

/// A row of [`ASCENDING`].
#[derive(FromRow)]
pub(crate) struct EntryRow<T> {
    kind: i16,
    event_uuid: Uuid,
    ordinal: i16,
    version: i64,
    operation: i16,
    created: bool,
    event_name: String,
    event_type: Option<String>,
    event_source: Option<String>,
    event_actor: Option<String>,
    created_at: Option<T>,
    committed_at: T,
    patch: String,
}

impl<T> EntryRow<T> {
    pub(crate) fn into_entry(
        self,
        moment: impl Fn(T) -> Timestamp,
    ) -> Result<LogEntry, sqlx::Error> {
        Ok(LogEntry {
            kind: EntryKind::from_code(self.kind).map_err(unknown)?,
            uuid: self.event_uuid,
            ordinal: self.ordinal,
            version: from_bigint(self.version),
            operation: Operation::from_code(self.operation).map_err(unknown)?,
            created: self.created,
            event_name: self.event_name,
            event_type: self.event_type,
            source: self.event_source,
            actor: self.event_actor,
            created_date: self.created_at.map(&moment),
            committed: moment(self.committed_at),
            patch: self.patch,
        })
    }
}

/// A row of [`POINT`].
pub(crate) type PointRow<T> = (i64, Option<i64>, Option<T>);

pub(crate) fn into_point<T>(
    (version, base, made_at): PointRow<T>,
    moment: impl Fn(T) -> Timestamp,
) -> LogPoint {
    LogPoint {
        version: from_bigint(version),
        base: base.map(from_bigint),
        made_at: made_at.map(moment),
    }
}

/// A code that a newer release has written.
pub(crate) fn unknown(error: String) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
