//! Changing a definition.

use sqlx::sqlite::SqliteConnection;

use crate::store::types::{Judged, judge, part_columns};
use crate::types::{ChangeOutcome, Definition, TypeChange};

const PRESENT: &str = "SELECT version, definition FROM type_definitions WHERE entity_type = $1";

const RAISE: &str = r"
UPDATE type_generation SET generation = generation + 1 WHERE only_row = 1 RETURNING generation";

const STORE: &str = r"
INSERT INTO type_definitions (entity_type, version, definition, created_at, updated_at)
VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (entity_type) DO UPDATE SET
    version = excluded.version, definition = excluded.definition, updated_at = excluded.updated_at";

const REMOVE: &str = "DELETE FROM type_definitions WHERE entity_type = $1";

/// Whoever works on a part loses its lease. $2 has the parts as an array of [kind, spec].
const DROP_OTHER_PARTS: &str = r"
UPDATE type_parts
SET state = 2, place = '', done = 0, total = NULL, lease = NULL, lease_until = NULL
WHERE entity_type = $1 AND state <> 2
    AND (kind, spec) NOT IN (SELECT value->>0, value->>1 FROM json_each($2))";

const ADD_NEW_PARTS: &str = r"
INSERT INTO type_parts (entity_type, kind, spec)
SELECT $1, declared.value->>0, declared.value->>1
FROM json_each($2) AS declared
WHERE NOT EXISTS (
    SELECT 1 FROM type_parts AS p
    WHERE p.entity_type = $1 AND p.state <> 2
        AND p.kind = declared.value->>0 AND p.spec = declared.value->>1)
ORDER BY declared.key";

pub(super) async fn change(
    connection: &mut SqliteConnection,
    change: &TypeChange<'_>,
) -> Result<ChangeOutcome, sqlx::Error> {
    let present: Option<(i64, String)> =
        sqlx::query_as(PRESENT).bind(change.entity_type).fetch_optional(&mut *connection).await?;
    if let Judged::Ended(outcome) = judge(change, present.as_ref()) {
        return Ok(outcome);
    }
    publish(connection, change).await?;
    Ok(ChangeOutcome::Changed { created: present.is_none() })
}

async fn publish(
    connection: &mut SqliteConnection,
    change: &TypeChange<'_>,
) -> Result<(), sqlx::Error> {
    let generation: i64 = sqlx::query_scalar(RAISE).fetch_one(&mut *connection).await?;
    let stored = match change.definition.map(Definition::to_json) {
        Some(definition) => sqlx::query(STORE)
            .bind(change.entity_type)
            .bind(generation)
            .bind(definition)
            .bind(change.now.micros()),
        None => sqlx::query(REMOVE).bind(change.entity_type),
    };
    stored.execute(&mut *connection).await?;
    let (kinds, specs) = part_columns(change);
    let parts: Vec<_> = kinds.iter().zip(&specs).collect();
    let parts = serde_json::to_string(&parts).map_err(|error| sqlx::Error::Encode(error.into()))?;
    for statement in [DROP_OTHER_PARTS, ADD_NEW_PARTS] {
        sqlx::query(statement)
            .bind(change.entity_type)
            .bind(&parts)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
