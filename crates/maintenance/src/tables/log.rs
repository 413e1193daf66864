//! The log's rows.

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use producer_core::model::EntryKind;
use producer_core::store::numbers::{from_bigint, to_bigint};
use producer_core::store::postgres::{from_pg, to_pg};
use producer_core::{EntityKey, Operation, Timestamp};
use uuid::Uuid;

use super::page::page;
use crate::connection::Connection;
use crate::error::MaintenanceError;

/// An update as the log has it.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) position: u64,
    pub(crate) uuid: Uuid,
    pub(crate) key: EntityKey,
    pub(crate) version: u64,
    pub(crate) kind: EntryKind,
    pub(crate) operation: Operation,
    /// Whether the entity did not exist just before.
    pub(crate) created: bool,
    pub(crate) created_at: Option<Timestamp>,
    /// Of an adopted entry when it was adopted.
    pub(crate) saved_at: Option<Timestamp>,
    pub(crate) committed_at: Timestamp,
    pub(crate) patch: String,
}

/// A log entry that is not of an event.
#[derive(Debug)]
pub(crate) struct NewEntry<'s> {
    /// The place of an entry that it replaces; `None` for the next one.
    pub(crate) position: Option<u64>,
    pub(crate) uuid: Uuid,
    /// 0 if it may be found by its uuid, negative if not.
    pub(crate) ordinal: i16,
    pub(crate) kind: EntryKind,
    pub(crate) name: &'static str,
    pub(crate) version: u64,
    pub(crate) operation: Operation,
    /// Whether the entity did not exist just before; false in a checkpoint.
    pub(crate) created: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) saved_at: Option<Timestamp>,
    pub(crate) committed_at: Timestamp,
    pub(crate) patch: &'s str,
}

type LogRow<T> = (i64, Uuid, String, String, i64, i32, i32, bool, Option<T>, Option<T>, T, String);

/// A statement for both databases: a [`LogRow`] of each entry that the condition picks.
macro_rules! logged_where {
    ($condition:literal) => {
        concat!(
            "SELECT position, event_uuid, entity_type, entity_id, version, CAST(kind AS int),
                 CAST(operation AS int), created, created_at, saved_at, committed_at,
                 CAST(patch AS text)
             FROM event_log WHERE ",
            $condition
        )
    };
}

impl Connection {
    /// The log after `version` of `key`, in the order of keys and versions: one page
    /// of at most `rows`.
    pub(crate) async fn log_after(
        &mut self,
        key: &EntityKey,
        version: u64,
        rows: i64,
    ) -> Result<Vec<Logged>, MaintenanceError> {
        const QUERY: &str = logged_where!(
            "(entity_type, entity_id, version) > ($1, $2, $3)
             ORDER BY entity_type, entity_id, version LIMIT $4"
        );
        self.log_page(QUERY, key, version, rows).await
    }

    /// The log of one entity after `version`, in the order of versions: one page of at most `rows`.
    pub(crate) async fn log_of(
        &mut self,
        key: &EntityKey,
        version: u64,
        rows: i64,
    ) -> Result<Vec<Logged>, MaintenanceError> {
        const QUERY: &str = logged_where!(
            "entity_type = $1 AND entity_id = $2 AND version > $3 ORDER BY version LIMIT $4"
        );
        self.log_page(QUERY, key, version, rows).await
    }

    async fn log_page(
        &mut self,
        query: &'static str,
        key: &EntityKey,
        version: u64,
        rows: i64,
    ) -> Result<Vec<Logged>, MaintenanceError> {
        let (entity_type, id, version) = (key.entity_type(), key.entity_id(), to_bigint(version));
        Ok(match self {
            Self::Postgres(c) => {
                let query = sqlx::query_as::<_, LogRow<DateTime<Utc>>>(query);
                let query = query.bind(entity_type).bind(id).bind(version).bind(rows);
                page(query.fetch(c).map(|row| row.and_then(|row| logged(row, from_pg))), |e| {
                    e.patch.len()
                })
                .await?
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as::<_, LogRow<i64>>(query);
                let query = query.bind(entity_type).bind(id).bind(version).bind(rows);
                let rows = query.fetch(c);
                let rows = rows.map(|row| row.and_then(|row| logged(row, Timestamp::from_micros)));
                page(rows, |e| e.patch.len()).await?
            }
        })
    }

    /// The version that an event's first update made, and its patch.
    pub(crate) async fn logged_update(
        &mut self,
        uuid: Uuid,
    ) -> Result<Option<(u64, String)>, MaintenanceError> {
        const QUERY: &str = "SELECT version, CAST(patch AS text) FROM event_log
                             WHERE event_uuid = $1 AND ordinal = 0";
        let row: Option<(i64, String)> = match self {
            Self::Postgres(c) => sqlx::query_as(QUERY).bind(uuid).fetch_optional(c).await?,
            Self::Sqlite(c) => sqlx::query_as(QUERY).bind(uuid).fetch_optional(c).await?,
        };
        Ok(row.map(|(version, patch)| (from_bigint(version), patch)))
    }

    /// Writes an entry into the log.
    pub(crate) async fn append(
        &mut self,
        key: &EntityKey,
        entry: &NewEntry<'_>,
    ) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(c) => sqlx::query(
                "INSERT INTO event_log (event_uuid, ordinal, kind, version, created_at, saved_at,
                     committed_at, entity_type, entity_id, event_name, patch, created, operation,
                     position)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::json, $12, $13,
                     coalesce($14, nextval('event_log_position')))",
            )
            .bind(entry.uuid)
            .bind(entry.ordinal)
            .bind(entry.kind.code())
            .bind(to_bigint(entry.version))
            .bind(to_pg(entry.created_at))
            .bind(entry.saved_at.map(to_pg))
            .bind(to_pg(entry.committed_at))
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(entry.name)
            .bind(entry.patch)
            .bind(entry.created)
            .bind(entry.operation.code())
            .bind(entry.position.map(to_bigint))
            .execute(c)
            .await
            .map(|_| ())?,
            Self::Sqlite(c) => sqlx::query(
                "INSERT INTO event_log (event_uuid, ordinal, kind, version, created_at, saved_at,
                     committed_at, entity_type, entity_id, event_name, patch, created, operation,
                     position)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
            )
            .bind(entry.uuid)
            .bind(entry.ordinal)
            .bind(entry.kind.code())
            .bind(to_bigint(entry.version))
            .bind(entry.created_at.micros())
            .bind(entry.saved_at.map(Timestamp::micros))
            .bind(entry.committed_at.micros())
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(entry.name)
            .bind(entry.patch)
            .bind(entry.created)
            .bind(entry.operation.code())
            .bind(entry.position.map(to_bigint))
            .execute(c)
            .await
            .map(|_| ())?,
        }
        Ok(())
    }
}

fn logged<T>(
    (
        position,
        uuid,
        entity_type,
        id,
        version,
        kind,
        operation,
        created,
        made,
        saved,
        committed,
        patch,
    ): LogRow<T>,
    moment: impl Fn(T) -> Timestamp,
) -> Result<Logged, sqlx::Error> {
    let unknown = |error: String| sqlx::Error::Decode(error.into());
    let code = |column: i32| i16::try_from(column).unwrap_or(i16::MAX);
    let kind = EntryKind::from_code(code(kind)).map_err(unknown)?;
    let operation = Operation::from_code(code(operation)).map_err(unknown)?;
    Ok(Logged {
        position: from_bigint(position),
        uuid,
        key: EntityKey::new_unchecked(entity_type, id),
        version: from_bigint(version),
        kind,
        operation,
        created,
        created_at: made.map(&moment),
        saved_at: saved.map(&moment),
        committed_at: moment(committed),
        patch,
    })
}
