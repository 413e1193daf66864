//! The steps of building and dropping, each in a short transaction.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

use super::jobs::{ids, micros};
use crate::model::Timestamp;
use crate::store::numbers::to_bigint;
use crate::store::sqlite::write::{drop_search_rows, write_index_rows, write_search_rows};
use crate::store::types::{STEP_BYTES, STEP_ENTITIES, STEP_ROWS, count, indexes_of, search_rows};
use crate::types::index_key::EntityFacts;
use crate::types::{IndexRow, Job, PartKind, StepOutcome};

/// Entities whose documents have so many bytes together, or one.
const ENTITIES: &str = r"
SELECT e.entity_id, e.created_at, e.updated_at, CASE WHEN NOT e.deleted THEN e.data END
FROM (SELECT row, number, sum(size) OVER (ORDER BY number ROWS UNBOUNDED PRECEDING) AS bytes
      FROM (SELECT rowid AS row, CASE WHEN deleted THEN 0 ELSE size END AS size,
                   row_number() OVER (ORDER BY entity_id) AS number
            FROM entities WHERE entity_type = $1 AND entity_id > $2
            ORDER BY entity_id LIMIT $3)) AS page
JOIN entities AS e ON e.rowid = row
WHERE bytes <= $4 OR number = 1 ORDER BY number";

const MOVE: &str = r"
UPDATE type_parts
SET place = $3, done = done + $4,
    lease_until = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + $5
WHERE part_id IN (SELECT value FROM json_each($1)) AND lease = $2 AND state = 0
RETURNING part_id, (SELECT coalesce(max(position), 0) FROM event_log)";

const READY: &str = r"
UPDATE type_parts SET state = 1, lease = NULL, lease_until = NULL
WHERE part_id IN (SELECT value FROM json_each($1)) AND lease = $2 AND state = 0
RETURNING part_id";

const IS_OURS: &str = r"
SELECT EXISTS (SELECT 1 FROM type_parts WHERE part_id = $1 AND lease = $2 AND state = 2)";

const DELETE: &str = r"
DELETE FROM entity_index WHERE index_id = $1 AND entity_id IN (
    SELECT entity_id FROM entity_index WHERE index_id = $1 ORDER BY entity_id LIMIT $2)";

const DELETED: &str = r"
UPDATE type_parts
SET done = done + $2, lease_until = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + $3
WHERE part_id = $1";

const GONE: &str = "DELETE FROM type_parts WHERE part_id = $1";

type EntityRow = (String, i64, i64, Option<String>);

pub(super) async fn build(
    connection: &mut SqliteConnection,
    job: &mut Job,
    lease: Duration,
) -> Result<StepOutcome, sqlx::Error> {
    let entities: Vec<EntityRow> = sqlx::query_as(ENTITIES)
        .bind(&job.entity_type)
        .bind(&job.place)
        .bind(STEP_ENTITIES)
        .bind(STEP_BYTES)
        .fetch_all(&mut *connection)
        .await?;
    let Some((end, ..)) = entities.last() else { return ready(connection, job).await };
    // before the rows are written: those that are to be dropped get none
    let moved: Vec<(i32, i64)> = sqlx::query_as(MOVE)
        .bind(ids(job))
        .bind(job.lease)
        .bind(end)
        .bind(count(entities.len()))
        .bind(micros(lease))
        .fetch_all(&mut *connection)
        .await?;
    job.parts.retain(|part| moved.iter().any(|(id, _)| *id == part.id));
    if job.parts.is_empty() {
        return Ok(StepOutcome::Lost);
    }
    write_index_rows(connection, &rows_of(job, &entities)).await?;
    let documents = entities.iter().map(|(id, _, _, data)| (id.as_str(), data.as_deref()));
    write_search_rows(connection, search_rows(job, documents)).await?;
    (job.place, job.done) = (end.clone(), job.done + entities.len() as u64);
    job.log_position = moved.first().map_or(0, |(_, position)| *position);
    Ok(StepOutcome::Went)
}

/// Where an entity has no key, no row of it can be there that has one: whoever knows the index writes it.
fn rows_of<'e>(job: &Job, entities: &'e [EntityRow]) -> Vec<(&'e str, IndexRow)> {
    let indexes = indexes_of(job);
    let mut rows = Vec::new();
    for (id, created, updated, data) in entities {
        let Some(data) = data else { continue };
        let (created, updated) =
            (Timestamp::from_micros(*created), Timestamp::from_micros(*updated));
        let keyed = indexes.rows(Some(EntityFacts { created, updated, data }));
        let keyed = keyed.into_iter().filter(|row| row.key.is_some());
        rows.extend(keyed.map(|row| (id.as_str(), row)));
    }
    rows
}

async fn ready(connection: &mut SqliteConnection, job: &Job) -> Result<StepOutcome, sqlx::Error> {
    let ready: Vec<i32> =
        sqlx::query_scalar(READY).bind(ids(job)).bind(job.lease).fetch_all(connection).await?;
    Ok(if ready.is_empty() { StepOutcome::Lost } else { StepOutcome::Finished })
}

pub(super) async fn drop_rows(
    connection: &mut SqliteConnection,
    job: &mut Job,
    lease: Duration,
) -> Result<StepOutcome, sqlx::Error> {
    let Some(part) = job.parts.first() else { return Ok(StepOutcome::Lost) };
    let is_ours: bool = sqlx::query_scalar(IS_OURS)
        .bind(part.id)
        .bind(job.lease)
        .fetch_one(&mut *connection)
        .await?;
    if !is_ours {
        return Ok(StepOutcome::Lost);
    }
    let deleted = match &part.kind {
        PartKind::Index(_) => {
            let delete = sqlx::query(DELETE).bind(part.id).bind(STEP_ROWS);
            delete.execute(&mut *connection).await?.rows_affected()
        }
        PartKind::Search(search) => {
            drop_search_rows(connection, part.id, &search.language, STEP_ROWS).await?
        }
    };
    if deleted == 0 {
        sqlx::query(GONE).bind(part.id).execute(connection).await?;
        return Ok(StepOutcome::Finished);
    }
    sqlx::query(DELETED)
        .bind(part.id)
        .bind(to_bigint(deleted))
        .bind(micros(lease))
        .execute(connection)
        .await?;
    job.done += deleted;
    Ok(StepOutcome::Went)
}
