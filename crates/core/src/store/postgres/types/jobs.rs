//! Leases on what is to be built and dropped, by the server's clock.

use std::time::Duration;

use uuid::Uuid;

use crate::store::numbers::from_bigint;
use crate::store::postgres::error::StatementError;
use crate::store::postgres::short_transactions::Transaction;
use crate::store::postgres::write::Session;
use crate::store::types::{JobRow, into_job, part_ids};
use crate::types::{Job, Task};

/// What is to be dropped is taken alone; of what is to be built, all parts of a type that are at the same
/// place, so that its entities are walked once. Of two processes at once, one waits here
/// and then finds the other's lease.
const TAKE: &str = r"
WITH first AS (
    SELECT part_id, entity_type, state, place FROM type_parts
    WHERE state <> 1 AND (lease_until IS NULL OR lease_until < now())
    ORDER BY state DESC, part_id LIMIT 1
)
UPDATE type_parts p SET lease = $1, lease_until = now() + make_interval(secs => $2)
FROM first, type_parts before
WHERE p.entity_type = first.entity_type AND p.state = first.state AND p.place = first.place
    AND (p.part_id = first.part_id OR p.state = 0)
    AND (p.lease_until IS NULL OR p.lease_until < now())
    AND before.part_id = p.part_id
RETURNING p.part_id, p.entity_type, p.kind, p.spec, p.state, p.place, p.done, p.total,
          before.lease IS NOT NULL AS is_taken_over";

const RENEW: &str = r"
UPDATE type_parts SET lease_until = now() + make_interval(secs => $3)
WHERE part_id = ANY($1) AND lease = $2 RETURNING part_id";

const RELEASE: &str = r"
UPDATE type_parts SET lease_until = NULL WHERE part_id = ANY($1) AND lease = $2";

/// Counting millions would take longer than a statement may; the planner's estimate is enough.
const ESTIMATE: &str = "EXPLAIN SELECT FROM entities WHERE entity_type = $1";

const SET_TOTAL: &str = r"
UPDATE type_parts SET total = $3 WHERE part_id = ANY($1) AND lease = $2";

pub(super) async fn take(
    transaction: &mut Transaction<'_>,
    lease: Duration,
) -> Result<Option<Job>, StatementError> {
    let id = Uuid::new_v4();
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let taken = sqlx::query_as::<_, JobRow>(TAKE)
        .bind(id)
        .bind(lease.as_secs_f64())
        .persistent(caches)
        .fetch_all(transaction.connection());
    let rows = Session::with_timeout(deadline, taken).await?;
    Ok(into_job(rows, id)?)
}

/// Parts that are not the job's any more are taken out of it.
pub(super) async fn renew(
    transaction: &mut Transaction<'_>,
    job: &mut Job,
    lease: Duration,
) -> Result<bool, StatementError> {
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let renewed = sqlx::query_scalar::<_, i32>(RENEW)
        .bind(part_ids(job))
        .bind(job.lease)
        .bind(lease.as_secs_f64())
        .persistent(caches)
        .fetch_all(transaction.connection());
    let renewed = Session::with_timeout(deadline, renewed).await?;
    job.parts.retain(|part| renewed.contains(&part.id));
    if job.task == Task::Build && job.total.is_none() && !job.parts.is_empty() {
        job.total = Some(estimate(transaction, job).await?);
    }
    Ok(!job.parts.is_empty())
}

async fn estimate(transaction: &mut Transaction<'_>, job: &Job) -> Result<u64, StatementError> {
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let plan = sqlx::query_scalar::<_, String>(ESTIMATE)
        .bind(&job.entity_type)
        .persistent(caches)
        .fetch_all(transaction.connection());
    let plan = Session::with_timeout(deadline, plan).await?;
    let total = plan.first().and_then(|line| rows_of_plan(line)).unwrap_or(0);
    let set = sqlx::query(SET_TOTAL)
        .bind(part_ids(job))
        .bind(job.lease)
        .bind(total)
        .persistent(caches)
        .execute(transaction.connection());
    Session::with_timeout(deadline, set).await?;
    Ok(from_bigint(total))
}

/// `Index Only Scan using … (cost=0.42..8.44 rows=123 width=0)`
fn rows_of_plan(line: &str) -> Option<i64> {
    let (_, rows) = line.split_once(" rows=")?;
    rows.split(' ').next()?.parse().ok()
}

pub(super) async fn release(
    transaction: &mut Transaction<'_>,
    job: &Job,
) -> Result<(), StatementError> {
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let released = sqlx::query(RELEASE)
        .bind(part_ids(job))
        .bind(job.lease)
        .persistent(caches)
        .execute(transaction.connection());
    Session::with_timeout(deadline, released).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planner_says_how_many_rows_it_expects() {
        let line =
            "Index Only Scan using entities_pkey on entities  (cost=0.42..84.40 rows=1234 width=0)";
        assert_eq!(rows_of_plan(line), Some(1234));
        assert_eq!(rows_of_plan("Result"), None);
    }
}
