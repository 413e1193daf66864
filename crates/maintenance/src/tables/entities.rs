//! The rows of entities.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use producer_core::store::numbers::{from_bigint, to_bigint};
use producer_core::store::postgres::{from_pg, to_pg};
use producer_core::{EntityKey, Timestamp};

use super::page::{PAGE_ROWS, page};
use super::transaction::Access;
use crate::connection::Connection;
use crate::error::MaintenanceError;

/// An entity as stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: EntityKey,
    pub(crate) version: u64,
    pub(crate) deleted: bool,
    pub(crate) size: usize,
    pub(crate) data: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// An entity to be stored.
#[derive(Debug)]
pub(crate) struct State<'s> {
    pub(crate) version: u64,
    /// Whether the entity is deleted; its document is `{}` then.
    pub(crate) deleted: bool,
    /// The document's.
    pub(crate) size: usize,
    pub(crate) data: &'s str,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

type EntityRow<T> = (String, String, i64, bool, i64, String, T, T);

/// What PostgreSQL's fast path refuses to add any patch to.
const LARGEST_SIZE: usize = i32::MAX as usize;

impl Connection {
    /// The least that the column `size` must hold. On PostgreSQL a deleted entity has the largest: a
    /// smaller one would let the fast path merge into its row.
    pub(crate) fn least_size(&self, deleted: bool, size_of_document: usize) -> usize {
        match self {
            Self::Postgres(_) if deleted => LARGEST_SIZE,
            Self::Postgres(_) | Self::Sqlite(_) => size_of_document,
        }
    }

    /// One entity; with [`Access::Write`] its row is locked until the transaction ends.
    pub(crate) async fn entity(
        &mut self,
        key: &EntityKey,
        access: Access,
    ) -> Result<Option<Stored>, MaintenanceError> {
        let row = match self {
            Self::Postgres(c) => {
                let query = match access {
                    Access::Write => {
                        "SELECT entity_type, entity_id, version, deleted, size::bigint,
                             data::text, created_at, updated_at
                         FROM entities WHERE entity_type = $1 AND entity_id = $2 FOR UPDATE"
                    }
                    Access::Snapshot => {
                        "SELECT entity_type, entity_id, version, deleted, size::bigint,
                             data::text, created_at, updated_at
                         FROM entities WHERE entity_type = $1 AND entity_id = $2"
                    }
                };
                let query = sqlx::query_as::<_, EntityRow<DateTime<Utc>>>(query);
                let query = query.bind(key.entity_type()).bind(key.entity_id());
                query.fetch_optional(c).await?.map(from_postgres)
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as::<_, EntityRow<i64>>(
                    "SELECT entity_type, entity_id, version, deleted, size, data, created_at, updated_at
                     FROM entities WHERE entity_type = $1 AND entity_id = $2",
                );
                let query = query.bind(key.entity_type()).bind(key.entity_id());
                query.fetch_optional(c).await?.map(from_sqlite)
            }
        };
        Ok(row.map(stored))
    }

    /// The entities after `key`, in the order of their keys: one page.
    pub(crate) async fn entities_after(
        &mut self,
        key: &EntityKey,
    ) -> Result<Vec<Stored>, MaintenanceError> {
        const QUERY: &str =
            "SELECT entity_type, entity_id, version, deleted, size, data, created_at, updated_at
             FROM entities WHERE (entity_type, entity_id) > ($1, $2)
             ORDER BY entity_type, entity_id LIMIT $3";
        const POSTGRES: &str =
            "SELECT entity_type, entity_id, version, deleted, size::bigint, data::text, created_at,
                 updated_at
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

    /// Inserts an entity; false if another process inserted it first.
    pub(crate) async fn insert_entity(
        &mut self,
        key: &EntityKey,
        state: &State<'_>,
    ) -> Result<bool, MaintenanceError> {
        let size = self.least_size(state.deleted, state.size);
        let (version, size) = (to_bigint(state.version), to_bigint(size as u64));
        let rows = match self {
            Self::Postgres(c) => sqlx::query(
                "INSERT INTO entities
                     (entity_type, entity_id, version, deleted, size, data, created_at, updated_at)
                 VALUES ($1, $2, $3, $8, $4::bigint::int, $5::jsonb, $6, $7) ON CONFLICT DO NOTHING",
            )
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(version)
            .bind(size)
            .bind(state.data)
            .bind(to_pg(state.created_at))
            .bind(to_pg(state.updated_at))
            .bind(state.deleted)
            .execute(c)
            .await?
            .rows_affected(),
            Self::Sqlite(c) => sqlx::query(
                "INSERT INTO entities
                     (entity_type, entity_id, version, deleted, size, data, created_at, updated_at)
                 VALUES ($1, $2, $3, $8, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            )
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(version)
            .bind(size)
            .bind(state.data)
            .bind(state.created_at.micros())
            .bind(state.updated_at.micros())
            .bind(state.deleted)
            .execute(c)
            .await?
            .rows_affected(),
        };
        Ok(rows == 1)
    }

    /// Replaces the state of an entity that this transaction has locked.
    pub(crate) async fn update_entity(
        &mut self,
        key: &EntityKey,
        state: &State<'_>,
    ) -> Result<(), MaintenanceError> {
        let size = self.least_size(state.deleted, state.size);
        let (version, size) = (to_bigint(state.version), to_bigint(size as u64));
        match self {
            Self::Postgres(c) => sqlx::query(
                "UPDATE entities SET version = $3, size = $4::bigint::int, data = $5::jsonb,
                     created_at = $6, updated_at = $7, deleted = $8
                 WHERE entity_type = $1 AND entity_id = $2",
            )
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(version)
            .bind(size)
            .bind(state.data)
            .bind(to_pg(state.created_at))
            .bind(to_pg(state.updated_at))
            .bind(state.deleted)
            .execute(c)
            .await
            .map(|_| ())?,
            Self::Sqlite(c) => sqlx::query(
                "UPDATE entities SET version = $3, size = $4, data = $5, created_at = $6,
                     updated_at = $7, deleted = $8
                 WHERE entity_type = $1 AND entity_id = $2",
            )
            .bind(key.entity_type())
            .bind(key.entity_id())
            .bind(version)
            .bind(size)
            .bind(state.data)
            .bind(state.created_at.micros())
            .bind(state.updated_at.micros())
            .bind(state.deleted)
            .execute(c)
            .await
            .map(|_| ())?,
        }
        Ok(())
    }
}

fn stored(
    (entity_type, id, version, deleted, size, data, created_at, updated_at): EntityRow<Timestamp>,
) -> Stored {
    Stored {
        key: EntityKey::new_unchecked(entity_type, id),
        version: from_bigint(version),
        deleted,
        size: usize::try_from(size).unwrap_or(0),
        data,
        created_at,
        updated_at,
    }
}

fn from_postgres(
    (t, id, version, deleted, size, data, created, updated): EntityRow<DateTime<Utc>>,
) -> EntityRow<Timestamp> {
    (t, id, version, deleted, size, data, from_pg(created), from_pg(updated))
}

fn from_sqlite(
    (t, id, version, deleted, size, data, created, updated): EntityRow<i64>,
) -> EntityRow<Timestamp> {
    let (created, updated) = (Timestamp::from_micros(created), Timestamp::from_micros(updated));
    (t, id, version, deleted, size, data, created, updated)
}

/// A key that is ordered before every entity's.
pub(crate) fn before_all() -> EntityKey {
    EntityKey::new_unchecked("", "")
}
