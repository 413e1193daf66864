//! The statements of pruning, alike for both databases.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use producer_core::store::numbers::to_bigint;
use producer_core::store::postgres::{from_pg, to_pg};
use producer_core::{EntityKey, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::rules::{Cutoff, count_entries};
use crate::connection::Connection;
use crate::error::MaintenanceError;
use crate::tables::{Logged, PAGE_BYTES};

/// The key of a log row.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Position(String, String, i64);

impl Position {
    pub(super) fn new(key: &EntityKey, version: u64) -> Self {
        let (entity_type, id) = (key.entity_type(), key.entity_id());
        Self(entity_type.to_owned(), id.to_owned(), to_bigint(version))
    }

    pub(super) fn from_row(row: &Logged) -> Self {
        Self::new(&row.key, row.version)
    }
}

/// The oldest entries of one entity.
pub(super) struct Page {
    pub(super) rows: Vec<Logged>,
    /// Whether the entity may have more entries after them.
    pub(super) more: bool,
}

type Oldest<T> = (String, String, Option<T>);

impl Connection {
    /// The entities after `key` and when the oldest entry of each was committed or adopted, checkpoints
    /// excepted where the entity exists: one page. `None` too where that entry is behind a position.
    pub(super) async fn oldest_entries(
        &mut self,
        key: &EntityKey,
        rows: i64,
        up_to: u64,
    ) -> Result<Vec<(EntityKey, Option<Timestamp>)>, MaintenanceError> {
        const QUERY: &str = "SELECT e.entity_type, e.entity_id, (
                 SELECT CASE WHEN l.position > $4 THEN NULL
                             WHEN l.kind = 1 THEN coalesce(l.saved_at, l.committed_at)
                             ELSE l.committed_at END
                 FROM event_log l
                 WHERE l.entity_type = e.entity_type AND l.entity_id = e.entity_id
                     AND (l.kind <> 2 OR e.deleted)
                 ORDER BY l.version LIMIT 1)
             FROM entities e WHERE (e.entity_type, e.entity_id) > ($1, $2)
             ORDER BY e.entity_type, e.entity_id LIMIT $3";
        fn entry<T>(
            (entity_type, entity_id, oldest): Oldest<T>,
            moment: impl Fn(T) -> Timestamp,
        ) -> (EntityKey, Option<Timestamp>) {
            (EntityKey::new_unchecked(entity_type, entity_id), oldest.map(moment))
        }
        Ok(match self {
            Self::Postgres(c) => {
                let query = sqlx::query_as::<_, Oldest<DateTime<Utc>>>(QUERY);
                let query = query
                    .bind(key.entity_type())
                    .bind(key.entity_id())
                    .bind(rows)
                    .bind(to_bigint(up_to));
                query.fetch_all(c).await?.into_iter().map(|row| entry(row, from_pg)).collect()
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as::<_, Oldest<i64>>(QUERY);
                let query = query
                    .bind(key.entity_type())
                    .bind(key.entity_id())
                    .bind(rows)
                    .bind(to_bigint(up_to));
                let rows = query.fetch_all(c).await?.into_iter();
                rows.map(|row| entry(row, Timestamp::from_micros)).collect()
            }
        })
    }

    /// The oldest entries of one entity, at most `rows` and a checkpoint before them.
    pub(super) async fn oldest_rows(
        &mut self,
        key: &EntityKey,
        rows: usize,
    ) -> Result<Page, MaintenanceError> {
        let mut all: Vec<Logged> = Vec::new();
        loop {
            let version = all.last().map_or(0, |row| row.version);
            let page = self.log_of(key, version, to_bigint(rows as u64)).await?;
            let bytes: usize = page.iter().map(|row| row.patch.len()).sum();
            let more = page.len() == rows || bytes >= PAGE_BYTES;
            all.extend(page);
            // a large checkpoint fills a page, in which there is nothing to prune yet
            if !more || count_entries(&all) > 0 {
                return Ok(Page { rows: all, more });
            }
        }
    }

    /// Those of `uuids` whose event has a row that is not old.
    pub(super) async fn events_since(
        &mut self,
        uuids: &[Uuid],
        cutoff: Cutoff,
    ) -> Result<HashSet<Uuid>, MaintenanceError> {
        let found: Vec<Uuid> = match self {
            Self::Postgres(c) => {
                sqlx::query_scalar(
                    "SELECT event_uuid FROM event_log
                     WHERE event_uuid = ANY($1) AND ordinal >= 0
                         AND (committed_at >= $2 OR position > $3)",
                )
                .bind(uuids)
                .bind(to_pg(cutoff.before))
                .bind(to_bigint(cutoff.up_to))
                .fetch_all(c)
                .await?
            }
            Self::Sqlite(c) => {
                sqlx::query_scalar(
                    "SELECT l.event_uuid FROM json_each($1) AS u CROSS JOIN event_log AS l
                     ON l.event_uuid = unhex(u.value) AND l.ordinal >= 0
                     WHERE l.committed_at >= $2 OR l.position > $3",
                )
                .bind(json(&hex(uuids))?)
                .bind(cutoff.before.micros())
                .bind(to_bigint(cutoff.up_to))
                .fetch_all(c)
                .await?
            }
        };
        Ok(found.into_iter().collect())
    }

    /// Deletes the rows of those entities that are deleted and have just this version, and returns which
    /// they are. Those that another session has locked are left out, since a writer is about to
    /// make the entity anew.
    pub(super) async fn remove_entities(
        &mut self,
        last: Vec<Position>,
    ) -> Result<HashSet<EntityKey>, MaintenanceError> {
        if last.is_empty() {
            return Ok(HashSet::new());
        }
        let removed: Vec<(String, String)> = match self {
            Self::Postgres(c) => {
                let types: Vec<&str> = last.iter().map(|row| row.0.as_str()).collect();
                let ids: Vec<&str> = last.iter().map(|row| row.1.as_str()).collect();
                let versions: Vec<i64> = last.iter().map(|row| row.2).collect();
                let query = sqlx::query_as(
                    "WITH locked AS MATERIALIZED (
                         SELECT e.entity_type, e.entity_id
                         FROM unnest($1::text[], $2::text[], $3::int8[])
                             AS r (entity_type, entity_id, version)
                         JOIN entities e ON e.entity_type = r.entity_type
                             AND e.entity_id = r.entity_id AND e.version = r.version
                         WHERE e.deleted
                         ORDER BY e.entity_type, e.entity_id
                         FOR UPDATE OF e SKIP LOCKED)
                     DELETE FROM entities e USING locked l
                     WHERE e.entity_type = l.entity_type AND e.entity_id = l.entity_id
                     RETURNING e.entity_type, e.entity_id",
                );
                query.bind(types).bind(ids).bind(versions).fetch_all(c).await?
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as(
                    "DELETE FROM entities WHERE rowid IN (
                         SELECT e.rowid FROM json_each(?) AS r CROSS JOIN entities AS e
                         ON e.entity_type = r.value->>0 AND e.entity_id = r.value->>1
                             AND e.version = r.value->>2 AND e.deleted)
                     RETURNING entity_type, entity_id",
                );
                query.bind(json(&last)?).fetch_all(c).await?
            }
        };
        let key = |(entity_type, id)| EntityKey::new_unchecked(entity_type, id);
        Ok(removed.into_iter().map(key).collect())
    }

    /// Deletes rows of the log, and raises the floor of positions to the highest of those that readers of
    /// changes get: checkpoints and detached updates are none of these.
    pub(super) async fn delete_rows(&mut self, rows: &[Position]) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(c) => {
                let types: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
                let ids: Vec<&str> = rows.iter().map(|row| row.1.as_str()).collect();
                let versions: Vec<i64> = rows.iter().map(|row| row.2).collect();
                let query = sqlx::query(
                    "WITH deleted AS (
                         DELETE FROM event_log l
                         USING unnest($1::text[], $2::text[], $3::int8[])
                             AS r (entity_type, entity_id, version)
                         WHERE l.entity_type = r.entity_type AND l.entity_id = r.entity_id
                             AND l.version = r.version
                         RETURNING l.position, l.kind)
                     UPDATE event_log_epoch SET floor = greatest(floor, (
                         SELECT max(position) FROM deleted WHERE kind IN (0, 1)))",
                );
                query.bind(types).bind(ids).bind(versions).execute(c).await.map(|_| ())?;
            }
            Self::Sqlite(c) => {
                let query = sqlx::query(
                    "UPDATE event_log_epoch SET floor = max(floor, coalesce((
                         SELECT max(l.position) FROM json_each(?) AS r CROSS JOIN event_log AS l
                         ON l.entity_type = r.value->>0 AND l.entity_id = r.value->>1
                             AND l.version = r.value->>2 AND l.kind IN (0, 1)), 0));
                     DELETE FROM event_log WHERE position IN (
                         SELECT l.position FROM json_each(?) AS r CROSS JOIN event_log AS l
                         ON l.entity_type = r.value->>0 AND l.entity_id = r.value->>1
                             AND l.version = r.value->>2)",
                );
                let rows = json(&rows)?;
                query.bind(&rows).bind(&rows).execute(c).await.map(|_| ())?;
            }
        }
        Ok(())
    }

    /// The highest position of the log; 0 where it is empty.
    pub(super) async fn last_position(&mut self) -> Result<u64, MaintenanceError> {
        self.count("SELECT coalesce(max(position), 0) FROM event_log").await
    }

    /// Deletes some of the marks that only map times to positions below the floor: all but the last of
    /// them, which says from which time on the log is kept. Returns how many there were.
    pub(super) async fn delete_marks(&mut self, most: i64) -> Result<u64, MaintenanceError> {
        const QUERY: &str = "DELETE FROM event_log_times WHERE position IN (
                 SELECT position FROM event_log_times WHERE position < (
                     SELECT max(position) FROM event_log_times
                     WHERE position <= (SELECT floor FROM event_log_epoch))
                 ORDER BY position LIMIT $1)";
        Ok(match self {
            Self::Postgres(c) => sqlx::query(QUERY).bind(most).execute(c).await?.rows_affected(),
            Self::Sqlite(c) => sqlx::query(QUERY).bind(most).execute(c).await?.rows_affected(),
        })
    }

    /// Detaches the updates that are still there of these events from their uuids: they only
    /// count for their entity's fold then. No reader meets them any more, so that the floor of
    /// positions is raised to the highest of them.
    pub(super) async fn detach_updates(&mut self, uuids: &[Uuid]) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(c) => sqlx::query(
                "WITH detached AS (
                     UPDATE event_log SET event_uuid = gen_random_uuid(), ordinal = -1, kind = 3
                     WHERE event_uuid = ANY($1) AND ordinal >= 0
                     RETURNING position)
                 UPDATE event_log_epoch
                 SET floor = greatest(floor, (SELECT max(position) FROM detached))",
            )
            .bind(uuids)
            .execute(c)
            .await
            .map(|_| ())?,
            Self::Sqlite(c) => {
                let query = sqlx::query(
                    "UPDATE event_log_epoch SET floor = max(floor, coalesce((
                         SELECT max(position) FROM event_log
                         WHERE event_uuid IN (SELECT unhex(value) FROM json_each(?))
                             AND ordinal >= 0), 0));
                     UPDATE event_log SET event_uuid = randomblob(16), ordinal = -1, kind = 3
                     WHERE event_uuid IN (SELECT unhex(value) FROM json_each(?)) AND ordinal >= 0",
                );
                let uuids = json(&hex(uuids))?;
                query.bind(&uuids).bind(&uuids).execute(c).await.map(|_| ())?;
            }
        }
        Ok(())
    }

    /// Makes other runs of pruning wait until this transaction ends, so that none reads another's
    /// half-done step.
    pub(super) async fn prune_alone(&mut self) -> Result<(), MaintenanceError> {
        match self {
            // "producer" in ASCII
            Self::Postgres(_) => {
                self.run("SELECT pg_advisory_xact_lock(8101259051807302002)").await
            }
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// A checkpoint while the write lock is held would keep the services waiting.
    pub(super) async fn disable_wal_autocheckpoint(&mut self) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(_) => Ok(()),
            Self::Sqlite(_) => self.run("PRAGMA wal_autocheckpoint = 0").await,
        }
    }

    /// Copies SQLite's write-ahead log into the file, as far as no reader or writer is disturbed.
    pub(super) async fn wal_checkpoint(&mut self) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(_) => Ok(()),
            Self::Sqlite(_) => self.run("PRAGMA wal_checkpoint(PASSIVE)").await,
        }
    }
}

fn hex(uuids: &[Uuid]) -> Vec<String> {
    uuids.iter().map(|uuid| uuid.simple().to_string()).collect()
}

fn json(rows: &impl Serialize) -> Result<String, MaintenanceError> {
    serde_json::to_string(rows).map_err(|error| MaintenanceError::Statement(error.to_string()))
}
