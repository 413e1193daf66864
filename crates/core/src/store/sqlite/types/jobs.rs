//! Leases on what is to be built and dropped, by the machine's clock.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::store::numbers::from_bigint;
use crate::store::types::{JobRow, into_job, part_ids};
use crate::types::{Job, Task};

/// As on PostgreSQL. What is free is read first, since RETURNING has nothing of what was there before.
const FREE: &str = r"
WITH free AS (
    SELECT * FROM type_parts
    WHERE state <> 1 AND (lease_until IS NULL OR lease_until < unixepoch('subsec') * 1000000)
), first AS (
    SELECT part_id, entity_type, state, place FROM free ORDER BY state DESC, part_id LIMIT 1
)
SELECT p.part_id, p.entity_type, p.kind, p.spec, p.state, p.place, p.done, p.total,
       p.lease IS NOT NULL AS is_taken_over
FROM first CROSS JOIN free AS p
    ON p.entity_type = first.entity_type AND p.state = first.state AND p.place = first.place
WHERE p.part_id = first.part_id OR p.state = 0
ORDER BY p.part_id";

const LEASE: &str = r"
UPDATE type_parts
SET lease = $2, lease_until = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + $3
WHERE part_id IN (SELECT value FROM json_each($1))";

const RENEW: &str = r"
UPDATE type_parts
SET lease_until = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + $3, total = coalesce($4, total)
WHERE part_id IN (SELECT value FROM json_each($1)) AND lease = $2 RETURNING part_id";

const RELEASE: &str = r"
UPDATE type_parts SET lease_until = NULL
WHERE part_id IN (SELECT value FROM json_each($1)) AND lease = $2";

pub(super) async fn take(
    connection: &mut SqliteConnection,
    lease: Duration,
) -> Result<Option<Job>, sqlx::Error> {
    let id = Uuid::new_v4();
    let free: Vec<JobRow> = sqlx::query_as(FREE).fetch_all(&mut *connection).await?;
    let Some(job) = into_job(free, id)? else { return Ok(None) };
    sqlx::query(LEASE)
        .bind(ids(&job))
        .bind(id)
        .bind(micros(lease))
        .execute(&mut *connection)
        .await?;
    Ok(Some(job))
}

/// Parts that are not the job's any more are taken out of it.
pub(super) async fn renew(
    connection: &mut SqliteConnection,
    job: &mut Job,
    total: Option<i64>,
    lease: Duration,
) -> Result<bool, sqlx::Error> {
    let renewed: Vec<i32> = sqlx::query_scalar(RENEW)
        .bind(ids(job))
        .bind(job.lease)
        .bind(micros(lease))
        .bind(total)
        .fetch_all(connection)
        .await?;
    job.parts.retain(|part| renewed.contains(&part.id));
    if job.task == Task::Build {
        job.total = job.total.or(total.map(from_bigint));
    }
    Ok(!job.parts.is_empty())
}

pub(super) async fn release(
    connection: &mut SqliteConnection,
    job: &Job,
) -> Result<(), sqlx::Error> {
    sqlx::query(RELEASE).bind(ids(job)).bind(job.lease).execute(connection).await.map(drop)
}

/// A job's parts as a JSON array.
pub(super) fn ids(job: &Job) -> String {
    let ids: Vec<String> = part_ids(job).iter().map(i32::to_string).collect();
    format!("[{}]", ids.join(","))
}

pub(super) fn micros(lease: Duration) -> i64 {
    i64::try_from(lease.as_micros()).unwrap_or(i64::MAX)
}
