//! The steps of building and dropping, each in a short transaction. Entities are locked in the order of their
//! keys, as every writer does, and rows of indexes only while their entity is locked.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::store::numbers::from_bigint;
use crate::store::postgres::error::StatementError;
use crate::store::postgres::short_transactions::Transaction;
use crate::store::postgres::time::from_pg;
use crate::store::postgres::write::{IndexColumns, SearchColumns, Session};
use crate::store::types::{
    STEP_BYTES, STEP_ENTITIES, STEP_ROWS, count, indexes_of, part_ids, search_rows,
};
use crate::types::index_key::EntityFacts;
use crate::types::{Job, PartKind, StepOutcome};

/// The last id of the entities whose documents have so many bytes together, or of one.
const END: &str = r"
SELECT entity_id
FROM (SELECT entity_id, row_number() OVER ids AS number,
             sum(CASE WHEN deleted THEN 0 ELSE size END) OVER ids AS bytes
      FROM (SELECT entity_id, deleted, size FROM entities
            WHERE entity_type = $1 AND entity_id > $2
            ORDER BY entity_id LIMIT $3) AS entities
      WINDOW ids AS (ORDER BY entity_id ROWS UNBOUNDED PRECEDING)) AS sized
WHERE bytes <= $4 OR number = 1 ORDER BY entity_id DESC LIMIT 1";

const LOCK: &str = r"
SELECT entity_id, created_at, updated_at, CASE WHEN NOT deleted THEN data::text END
FROM entities WHERE entity_type = $1 AND entity_id > $2 AND entity_id <= $3
ORDER BY entity_id FOR NO KEY UPDATE";

const WRITE: &str = r"
INSERT INTO entity_index AS i (index_id, entity_id, key)
SELECT * FROM unnest($1::int4[], $2::text[], $3::bytea[])
ON CONFLICT (index_id, entity_id) DO UPDATE SET key = excluded.key
WHERE i.key IS DISTINCT FROM excluded.key";

const MOVE: &str = r"
UPDATE type_parts
SET place = $3, done = done + $4, lease_until = now() + make_interval(secs => $5)
WHERE part_id = ANY($1) AND lease = $2 AND state = 0
RETURNING part_id, (SELECT last_value FROM event_log_position)";

const READY: &str = r"
UPDATE type_parts SET state = 1, lease = NULL, lease_until = NULL
WHERE part_id = ANY($1) AND lease = $2 AND state = 0 RETURNING part_id";

/// Behind the place, so that what is deleted already is not looked at again.
const DROP: &str = r"
WITH step AS (
    SELECT entity_id FROM entity_index WHERE index_id = $1 AND entity_id > $2
    ORDER BY entity_id LIMIT $3
), deleted AS (
    DELETE FROM entity_index i USING step s WHERE i.index_id = $1 AND i.entity_id = s.entity_id
)
UPDATE type_parts
SET place = coalesce((SELECT max(entity_id) FROM step), place),
    done = done + (SELECT count(*) FROM step),
    lease_until = now() + make_interval(secs => $5)
WHERE part_id = $1 AND lease = $4 AND state = 2
RETURNING place, (SELECT count(*) FROM step)";

/// The same of search.
const DROP_SEARCH: &str = r"
WITH step AS (
    SELECT entity_id FROM entity_search WHERE part_id = $1 AND entity_id > $2
    ORDER BY entity_id LIMIT $3
), deleted AS (
    DELETE FROM entity_search i USING step s WHERE i.part_id = $1 AND i.entity_id = s.entity_id
)
UPDATE type_parts
SET place = coalesce((SELECT max(entity_id) FROM step), place),
    done = done + (SELECT count(*) FROM step),
    lease_until = now() + make_interval(secs => $5)
WHERE part_id = $1 AND lease = $4 AND state = 2
RETURNING place, (SELECT count(*) FROM step)";

const GONE: &str = "DELETE FROM type_parts WHERE part_id = $1 AND lease = $2 AND state = 2";

type LockedRow = (String, DateTime<Utc>, DateTime<Utc>, Option<String>);

pub(super) async fn build(
    transaction: &mut Transaction<'_>,
    job: &mut Job,
    lease: Duration,
) -> Result<StepOutcome, StatementError> {
    let Some(end) = end_of_step(transaction, job).await? else {
        return ready(transaction, job).await;
    };
    let entities = lock(transaction, job, &end).await?;
    write(transaction, job, &entities).await?;
    let moved = moved(transaction, job, &end, entities.len(), lease).await?;
    if moved.len() < job.parts.len() {
        // whoever drops one of them must not meet rows that come later
        return Err(StatementError::Contention("a part is not the job's any more".to_owned()));
    }
    (job.place, job.done) = (end, job.done + entities.len() as u64);
    job.log_position = moved.first().map_or(0, |(_, position)| *position);
    Ok(StepOutcome::Went)
}

async fn end_of_step(
    transaction: &mut Transaction<'_>,
    job: &Job,
) -> Result<Option<String>, StatementError> {
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let end = sqlx::query_scalar(END)
        .bind(&job.entity_type)
        .bind(&job.place)
        .bind(STEP_ENTITIES)
        .bind(STEP_BYTES)
        .persistent(caches)
        .fetch_optional(transaction.connection());
    Session::with_timeout(deadline, end).await
}

async fn lock(
    transaction: &mut Transaction<'_>,
    job: &Job,
    end: &str,
) -> Result<Vec<LockedRow>, StatementError> {
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let locked = sqlx::query_as(LOCK)
        .bind(&job.entity_type)
        .bind(&job.place)
        .bind(end)
        .persistent(caches)
        .fetch_all(transaction.connection());
    Session::with_timeout(deadline, locked).await
}

/// Where an entity has no key, no row of it can be there that has one: whoever knows the index writes it.
async fn write(
    transaction: &mut Transaction<'_>,
    job: &Job,
    entities: &[LockedRow],
) -> Result<(), StatementError> {
    let indexes = indexes_of(job);
    let mut rows = IndexColumns::default();
    for (id, created, updated, data) in entities {
        let Some(data) = data else { continue };
        let facts = EntityFacts { created: from_pg(*created), updated: from_pg(*updated), data };
        rows.extend(id, indexes.rows(Some(facts)).into_iter().filter(|row| row.key.is_some()));
    }
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let written = sqlx::query(WRITE)
        .bind(rows.indexes)
        .bind(rows.entities)
        .bind(rows.keys)
        .persistent(caches)
        .execute(transaction.connection());
    Session::with_timeout(deadline, written).await?;
    let documents = entities.iter().map(|(id, _, _, data)| (id.as_str(), data.as_deref()));
    let searches: SearchColumns<'_> = search_rows(job, documents).into_iter().collect();
    let written = searches.write(transaction.connection(), caches);
    Session::with_timeout(deadline, written).await
}

async fn moved(
    transaction: &mut Transaction<'_>,
    job: &Job,
    end: &str,
    entities: usize,
    lease: Duration,
) -> Result<Vec<(i32, i64)>, StatementError> {
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let moved = sqlx::query_as(MOVE)
        .bind(part_ids(job))
        .bind(job.lease)
        .bind(end)
        .bind(count(entities))
        .bind(lease.as_secs_f64())
        .persistent(caches)
        .fetch_all(transaction.connection());
    Session::with_timeout(deadline, moved).await
}

async fn ready(
    transaction: &mut Transaction<'_>,
    job: &mut Job,
) -> Result<StepOutcome, StatementError> {
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let ready = sqlx::query_scalar::<_, i32>(READY)
        .bind(part_ids(job))
        .bind(job.lease)
        .persistent(caches)
        .fetch_all(transaction.connection());
    let ready = Session::with_timeout(deadline, ready).await?;
    Ok(if ready.is_empty() { StepOutcome::Lost } else { StepOutcome::Finished })
}

pub(super) async fn drop_rows(
    transaction: &mut Transaction<'_>,
    job: &mut Job,
    lease: Duration,
) -> Result<StepOutcome, StatementError> {
    let Some(part) = job.parts.first() else { return Ok(StepOutcome::Lost) };
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let statement = match part.kind {
        PartKind::Index(_) => DROP,
        PartKind::Search(_) => DROP_SEARCH,
    };
    let step = sqlx::query_as::<_, (String, i64)>(statement)
        .bind(part.id)
        .bind(&job.place)
        .bind(STEP_ROWS)
        .bind(job.lease)
        .bind(lease.as_secs_f64())
        .persistent(caches)
        .fetch_optional(transaction.connection());
    let Some((place, rows)) = Session::with_timeout(deadline, step).await? else {
        return Ok(StepOutcome::Lost);
    };
    if rows > 0 {
        (job.place, job.done) = (place, job.done + from_bigint(rows));
        return Ok(StepOutcome::Went);
    }
    let gone = sqlx::query(GONE)
        .bind(part.id)
        .bind(job.lease)
        .persistent(caches)
        .execute(transaction.connection());
    Session::with_timeout(deadline, gone).await?;
    Ok(StepOutcome::Finished)
}
