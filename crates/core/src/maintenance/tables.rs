//! The statements of maintenance, alike for both databases.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::Executor;
use uuid::Uuid;

use super::{Connection, MaintenanceError};
use crate::{EntityKey, Timestamp};

/// Log rows fetched at once: at most so many, and about so many bytes, so that memory is bounded
/// however long the log is.
pub(super) const PAGE_ROWS: i64 = 500;
pub(super) const PAGE_BYTES: usize = 8 << 20;

/// An entity as stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: EntityKey,
    pub(super) version: u64,
    pub(super) size: usize,
    pub(super) data: String,
    pub(super) updated_at: Timestamp,
}

/// An entity to be stored.
#[derive(Debug)]
pub(super) struct State<'s> {
    pub(super) version: u64,
    pub(super) size: usize,
    pub(super) data: &'s str,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// An update as the log has it.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) key: EntityKey,
    pub(super) version: u64,
    pub(super) kind: Kind,
    pub(super) created_at: Option<Timestamp>,
    pub(super) committed_at: Timestamp,
    pub(super) patch: String,
}

/// What made a log entry: the column `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Event,
    Adopted,
    /// The whole state at its version: what pruning leaves.
    Base,
}

/// A log entry that an adoption makes.
#[derive(Debug)]
pub(super) struct Adopted<'s> {
    pub(super) uuid: Uuid,
    pub(super) version: u64,
    pub(super) created_at: Timestamp,
    pub(super) saved_at: Timestamp,
    pub(super) committed_at: Timestamp,
    pub(super) patch: &'s str,
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    /// Every statement sees the same moment.
    Snapshot,
    /// Rows are locked as they are read.
    Write,
}

type EntityRow<T> = (String, String, i64, i64, String, T);
type LogRow<T> = (String, String, i64, i32, Option<T>, T, String);

impl Connection {
    pub(super) async fn begin(&mut self, access: Access) -> Result<(), MaintenanceError> {
        let statement = match (&*self, access) {
            (Self::Postgres(_), Access::Write) => "BEGIN",
            (Self::Postgres(_), Access::Snapshot) => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            }
            (Self::Sqlite(_), Access::Write) => "BEGIN IMMEDIATE",
            (Self::Sqlite(_), Access::Snapshot) => "BEGIN",
        };
        self.run(statement).await
    }

    pub(super) async fn commit(&mut self) -> Result<(), MaintenanceError> {
        self.run("COMMIT").await
    }

    pub(super) async fn rollback(&mut self) -> Result<(), MaintenanceError> {
        self.run("ROLLBACK").await
    }

    pub(super) async fn run(&mut self, statement: &'static str) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(c) => c.execute(statement).await.map(|_| ())?,
            Self::Sqlite(c) => c.execute(statement).await.map(|_| ())?,
        }
        Ok(())
    }

    pub(super) async fn count(&mut self, query: &'static str) -> Result<u64, MaintenanceError> {
        let count: i64 = match self {
            Self::Postgres(c) => sqlx::query_scalar(query).fetch_one(c).await?,
            Self::Sqlite(c) => sqlx::query_scalar(query).fetch_one(c).await?,
        };
        Ok(natural(count))
    }

    /// One entity; with [`Access::Write`] its row is locked until the transaction ends.
    pub(super) async fn entity(
        &mut self,
        key: &EntityKey,
        access: Access,
    ) -> Result<Option<Stored>, MaintenanceError> {
        let row = match self {
            Self::Postgres(c) => {
                let query = match access {
                    Access::Write => {
                        "SELECT entity_type, entity_id, version, size::bigint, data::text, updated_at
                         FROM entities WHERE entity_type = $1 AND entity_id = $2 FOR UPDATE"
                    }
                    Access::Snapshot => {
                        "SELECT entity_type, entity_id, version, size::bigint, data::text, updated_at
                         FROM entities WHERE entity_type = $1 AND entity_id = $2"
                    }
                };
                let query = sqlx::query_as::<_, EntityRow<DateTime<Utc>>>(query);
                let query = query.bind(key.entity_type()).bind(key.entity_id());
                query.fetch_optional(c).await?.map(from_postgres)
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as::<_, EntityRow<i64>>(
                    "SELECT entity_type, entity_id, version, size, data, updated_at
                     FROM entities WHERE entity_type = $1 AND entity_id = $2",
                );
                let query = query.bind(key.entity_type()).bind(key.entity_id());
                query.fetch_optional(c).await?.map(from_sqlite)
            }
        };
        Ok(row.map(stored))
    }

    /// The entities behind `key`, in the order of their keys: one page.
    pub(super) async fn entities_after(
        &mut self,
        key: &EntityKey,
    ) -> Result<Vec<Stored>, MaintenanceError> {
        const QUERY: &str = "SELECT entity_type, entity_id, version, size, data, updated_at
             FROM entities WHERE (entity_type, entity_id) > ($1, $2)
             ORDER BY entity_type, entity_id LIMIT $3";
        const POSTGRES: &str =
            "SELECT entity_type, entity_id, version, size::bigint, data::text, updated_at
             FROM entities WHERE (entity_type, entity_id) > ($1, $2)
             ORDER BY entity_type, entity_id LIMIT $3";
        let rows = match self {
            Self::Postgres(c) => {
                let query = sqlx::query_as::<_, EntityRow<DateTime<Utc>>>(POSTGRES);
                let query = query.bind(key.entity_type()).bind(key.entity_id()).bind(PAGE_ROWS);
                page(query.fetch(c).map_ok(|row| stored(from_postgres(row))), |e| e.data.len())
                    .await?
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as::<_, EntityRow<i64>>(QUERY);
                let query = query.bind(key.entity_type()).bind(key.entity_id()).bind(PAGE_ROWS);
                page(query.fetch(c).map_ok(|row| stored(from_sqlite(row))), |e| e.data.len())
                    .await?
            }
        };
        Ok(rows)
    }

    /// The log behind `version` of `key`, in the order of keys and versions: one page
    /// of at most `rows`.
    pub(super) async fn log_after(
        &mut self,
        key: &EntityKey,
        version: u64,
        rows: i64,
    ) -> Result<Vec<Logged>, MaintenanceError> {
        const QUERY: &str =
            "SELECT entity_type, entity_id, version, kind, created_at, committed_at, patch
             FROM event_log WHERE (entity_type, entity_id, version) > ($1, $2, $3)
             ORDER BY entity_type, entity_id, version LIMIT $4";
        const POSTGRES: &str =
            "SELECT entity_type, entity_id, version, kind::int, created_at, committed_at, patch::text
             FROM event_log WHERE (entity_type, entity_id, version) > ($1, $2, $3)
             ORDER BY entity_type, entity_id, version LIMIT $4";
        let rows = match self {
            Self::Postgres(c) => {
                let query = sqlx::query_as::<_, LogRow<DateTime<Utc>>>(POSTGRES);
                let query = query.bind(key.entity_type()).bind(key.entity_id());
                let query = query.bind(bigint(version)).bind(rows);
                let rows =
                    query.fetch(c).map_ok(|(t, id, version, kind, created, committed, patch)| {
                        let times = (created.map(moment), moment(committed));
                        logged(t, id, version, kind, times, patch)
                    });
                page(rows, |entry| entry.patch.len()).await?
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as::<_, LogRow<i64>>(QUERY);
                let query = query.bind(key.entity_type()).bind(key.entity_id());
                let query = query.bind(bigint(version)).bind(rows);
                let rows =
                    query.fetch(c).map_ok(|(t, id, version, kind, created, committed, patch)| {
                        let times = (
                            created.map(Timestamp::from_micros),
                            Timestamp::from_micros(committed),
                        );
                        logged(t, id, version, kind, times, patch)
                    });
                page(rows, |entry| entry.patch.len()).await?
            }
        };
        Ok(rows)
    }

    /// The version that an event's first update made, and its patch.
    pub(super) async fn logged_update(
        &mut self,
        uuid: Uuid,
    ) -> Result<Option<(u64, String)>, MaintenanceError> {
        let row: Option<(i64, String)> =
            match self {
                Self::Postgres(c) => {
                    sqlx::query_as(
                        "SELECT version, patch::text FROM event_log
                     WHERE event_uuid = $1 AND ordinal = 0",
                    )
                    .bind(uuid)
                    .fetch_optional(c)
                    .await?
                }
                Self::Sqlite(c) => sqlx::query_as(
                    "SELECT version, patch FROM event_log WHERE event_uuid = $1 AND ordinal = 0",
                )
                .bind(uuid)
                .fetch_optional(c)
                .await?,
            };
        Ok(row.map(|(version, patch)| (natural(version), patch)))
    }

    /// Inserts an entity; false where another process was faster.
    pub(super) async fn insert_entity(
        &mut self,
        key: &EntityKey,
        state: &State<'_>,
    ) -> Result<bool, MaintenanceError> {
        let (version, size) = (bigint(state.version), bigint(state.size as u64));
        let rows = match self {
            Self::Postgres(c) => sqlx::query(
                "INSERT INTO entities
                     (entity_type, entity_id, version, size, data, created_at, updated_at)
                 VALUES ($1, $2, $3, $4::bigint::int, $5::jsonb, $6, $7) ON CONFLICT DO NOTHING",
            )
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(version)
            .bind(size)
            .bind(state.data)
            .bind(date(state.created_at))
            .bind(date(state.updated_at))
            .execute(c)
            .await?
            .rows_affected(),
            Self::Sqlite(c) => sqlx::query(
                "INSERT INTO entities
                     (entity_type, entity_id, version, size, data, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            )
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(version)
            .bind(size)
            .bind(state.data)
            .bind(state.created_at.micros())
            .bind(state.updated_at.micros())
            .execute(c)
            .await?
            .rows_affected(),
        };
        Ok(rows == 1)
    }

    /// Replaces the state of an entity that this transaction has locked. `created_at` stays.
    pub(super) async fn update_entity(
        &mut self,
        key: &EntityKey,
        state: &State<'_>,
    ) -> Result<(), MaintenanceError> {
        let (version, size) = (bigint(state.version), bigint(state.size as u64));
        match self {
            Self::Postgres(c) => sqlx::query(
                "UPDATE entities SET version = $3, size = $4::bigint::int, data = $5::jsonb, updated_at = $6
                 WHERE entity_type = $1 AND entity_id = $2",
            )
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(version)
            .bind(size)
            .bind(state.data)
            .bind(date(state.updated_at))
            .execute(c)
            .await
            .map(|_| ())?,
            Self::Sqlite(c) => sqlx::query(
                "UPDATE entities SET version = $3, size = $4, data = $5, updated_at = $6
                 WHERE entity_type = $1 AND entity_id = $2",
            )
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(version)
            .bind(size)
            .bind(state.data)
            .bind(state.updated_at.micros())
            .execute(c)
            .await
            .map(|_| ())?,
        }
        Ok(())
    }

    pub(super) async fn append_adopted(
        &mut self,
        key: &EntityKey,
        entry: &Adopted<'_>,
    ) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(c) => sqlx::query(
                "INSERT INTO event_log (event_uuid, ordinal, kind, version, created_at, saved_at,
                     committed_at, entity_type, entity_id, event_name, patch)
                 VALUES ($1, 0, 1, $2, $3, $4, $5, $6, $7, 'Adopted', $8::json)",
            )
            .bind(entry.uuid)
            .bind(bigint(entry.version))
            .bind(date(entry.created_at))
            .bind(date(entry.saved_at))
            .bind(date(entry.committed_at))
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(entry.patch)
            .execute(c)
            .await
            .map(|_| ())?,
            Self::Sqlite(c) => sqlx::query(
                "INSERT INTO event_log (event_uuid, ordinal, kind, version, created_at, saved_at,
                     committed_at, entity_type, entity_id, event_name, patch)
                 VALUES ($1, 0, 1, $2, $3, $4, $5, $6, $7, 'Adopted', $8)",
            )
            .bind(entry.uuid)
            .bind(bigint(entry.version))
            .bind(entry.created_at.micros())
            .bind(entry.saved_at.micros())
            .bind(entry.committed_at.micros())
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(entry.patch)
            .execute(c)
            .await
            .map(|_| ())?,
        }
        Ok(())
    }
}

/// Rows of a stream up to about [`PAGE_BYTES`]; a page is empty only at the end.
pub(super) async fn page<T>(
    mut rows: impl futures_util::Stream<Item = Result<T, sqlx::Error>> + Unpin,
    bytes: impl Fn(&T) -> usize,
) -> Result<Vec<T>, sqlx::Error> {
    let (mut page, mut held) = (Vec::new(), 0);
    while held < PAGE_BYTES
        && let Some(row) = rows.try_next().await?
    {
        held += bytes(&row);
        page.push(row);
    }
    Ok(page)
}

fn stored(
    (entity_type, entity_id, version, size, data, updated_at): EntityRow<Timestamp>,
) -> Stored {
    Stored {
        key: EntityKey { entity_type, entity_id },
        version: natural(version),
        size: usize::try_from(size).unwrap_or(0),
        data,
        updated_at,
    }
}

fn from_postgres(
    (t, id, version, size, data, updated): EntityRow<DateTime<Utc>>,
) -> EntityRow<Timestamp> {
    (t, id, version, size, data, moment(updated))
}

fn from_sqlite((t, id, version, size, data, updated): EntityRow<i64>) -> EntityRow<Timestamp> {
    (t, id, version, size, data, Timestamp::from_micros(updated))
}

fn logged(
    entity_type: String,
    entity_id: String,
    version: i64,
    kind: i32,
    (created_at, committed_at): (Option<Timestamp>, Timestamp),
    patch: String,
) -> Logged {
    let kind = match kind {
        1 => Kind::Adopted,
        2 => Kind::Base,
        _ => Kind::Event,
    };
    let key = EntityKey { entity_type, entity_id };
    Logged { key, version: natural(version), kind, created_at, committed_at, patch }
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn date(moment: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(moment.micros()).unwrap_or_default()
}

pub(super) fn moment(date: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(date.timestamp_micros())
}
