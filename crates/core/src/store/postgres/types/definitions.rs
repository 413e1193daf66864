//! Changing a definition, in one transaction. The row of the generation is locked first, so that changes come
//! one after the other; writers only read it, and never wait.

use sqlx::PgConnection;

use crate::store::postgres::error::StatementError;
use crate::store::postgres::short_transactions::Transaction;
use crate::store::postgres::time::to_pg;
use crate::store::postgres::write::Session;
use crate::store::types::{Judged, judge, part_columns};
use crate::types::{ChangeOutcome, Definition, TypeChange};

const LOCK: &str = "SELECT generation FROM type_generation WHERE only_row FOR UPDATE";

const PRESENT: &str = "SELECT version, definition FROM type_definitions WHERE entity_type = $1";

const RAISE: &str = r"
UPDATE type_generation SET generation = generation + 1 WHERE only_row RETURNING generation";

const STORE: &str = r"
INSERT INTO type_definitions (entity_type, version, definition, created_at, updated_at)
VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (entity_type) DO UPDATE SET
    version = excluded.version, definition = excluded.definition, updated_at = excluded.updated_at";

const REMOVE: &str = "DELETE FROM type_definitions WHERE entity_type = $1";

/// Whoever works on a part loses its lease.
const DROP_OTHER_PARTS: &str = r"
UPDATE type_parts
SET state = 2, place = '', done = 0, total = NULL, lease = NULL, lease_until = NULL
WHERE entity_type = $1 AND state <> 2
    AND (kind, spec) NOT IN (SELECT unnest($2::int2[]), unnest($3::text[]))";

const ADD_NEW_PARTS: &str = r"
INSERT INTO type_parts (entity_type, kind, spec)
SELECT $1, kind, spec
FROM unnest($2::int2[], $3::text[]) WITH ORDINALITY AS declared (kind, spec, place)
WHERE NOT EXISTS (
    SELECT FROM type_parts p
    WHERE p.entity_type = $1 AND p.state <> 2 AND p.kind = declared.kind AND p.spec = declared.spec)
ORDER BY place";

pub(super) async fn change(
    transaction: &mut Transaction<'_>,
    change: &TypeChange<'_>,
) -> Result<ChangeOutcome, StatementError> {
    let (deadline, caches) = (transaction.deadline(), transaction.caches_statements());
    let connection = transaction.connection();
    Session::with_timeout(deadline, lock_and_change(connection, caches, change)).await
}

async fn lock_and_change(
    connection: &mut PgConnection,
    caches_statements: bool,
    change: &TypeChange<'_>,
) -> Result<ChangeOutcome, sqlx::Error> {
    sqlx::query(LOCK).persistent(caches_statements).fetch_one(&mut *connection).await?;
    let present: Option<(i64, String)> = sqlx::query_as(PRESENT)
        .bind(change.entity_type)
        .persistent(caches_statements)
        .fetch_optional(&mut *connection)
        .await?;
    if let Judged::Ended(outcome) = judge(change, present.as_ref()) {
        return Ok(outcome);
    }
    publish(connection, caches_statements, change).await?;
    Ok(ChangeOutcome::Changed { created: present.is_none() })
}

async fn publish(
    connection: &mut PgConnection,
    caches_statements: bool,
    change: &TypeChange<'_>,
) -> Result<(), sqlx::Error> {
    let generation: i64 =
        sqlx::query_scalar(RAISE).persistent(caches_statements).fetch_one(&mut *connection).await?;
    let stored = match change.definition.map(Definition::to_json) {
        Some(definition) => sqlx::query(STORE)
            .bind(change.entity_type)
            .bind(generation)
            .bind(definition)
            .bind(to_pg(change.now)),
        None => sqlx::query(REMOVE).bind(change.entity_type),
    };
    stored.persistent(caches_statements).execute(&mut *connection).await?;
    let (kinds, specs) = part_columns(change);
    for statement in [DROP_OTHER_PARTS, ADD_NEW_PARTS] {
        sqlx::query(statement)
            .bind(change.entity_type)
            .bind(&kinds)
            .bind(&specs)
            .persistent(caches_statements)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
