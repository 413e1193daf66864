//! A single update, without arrays: half of the database's work for a single event, and so the latency of
//! a service under low load.

use std::sync::LazyLock;

use super::fold::{ANY_VERSION, Group, demanded_version, new_version};
use crate::ingest::Verdict;
use crate::model::{EntityUpdate, Event};
use crate::store::numbers::to_bigint;
use crate::store::postgres::error::StatementError;
use crate::store::postgres::time::to_pg;
use crate::store::postgres::write::session::Session;

/// An update that makes the entity where it doesn't exist. A row that is deleted, that would grow past
/// the limit, or that must not exist ($18), gives no row here, and nothing is written. Nor is it where the
/// definitions of types have another generation than $19.
static UPSERT: LazyLock<String> = LazyLock::new(|| {
    with_log(
        r"
    INSERT INTO entities AS e
        (entity_type, entity_id, version, size, data, created_at, updated_at)
    SELECT $1, $2, 1, $3::int4, $4::text::jsonb, $5::timestamptz, $5::timestamptz
    WHERE $19 = (SELECT generation FROM type_generation WHERE only_row)
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET
        version = e.version + 1,
        size = CASE WHEN $17 THEN excluded.size ELSE e.size + excluded.size END,
        data = CASE WHEN $17 THEN excluded.data ELSE e.data || excluded.data END,
        updated_at = greatest(e.updated_at, excluded.updated_at)
    WHERE NOT e.deleted AND NOT $18::bool AND ($17 OR e.size::int8 + excluded.size <= $6)
    RETURNING version, updated_at",
    )
});

/// An update of an entity that must exist, with the version $20 or any.
static UPDATE: LazyLock<String> = LazyLock::new(|| {
    with_log(
        r"
    UPDATE entities AS e SET
        version = e.version + 1,
        deleted = $18::bool,
        size = CASE WHEN $17 THEN $3 ELSE e.size + $3 END,
        data = CASE WHEN $17 THEN $4::text::jsonb ELSE e.data || $4::text::jsonb END,
        updated_at = greatest(e.updated_at, $5)
    WHERE e.entity_type = $1 AND e.entity_id = $2 AND NOT e.deleted
        AND ($20::int8 IS NULL OR e.version = $20) AND ($17 OR e.size::int8 + $3 <= $6)
        AND $19 = (SELECT generation FROM type_generation WHERE only_row)
    RETURNING version, updated_at",
    )
});

fn with_log(changed: &str) -> String {
    format!(
        r"
WITH changed AS ({changed}
)
INSERT INTO event_log (event_uuid, ordinal, version, created_at, saved_at, committed_at, created,
                       entity_type, entity_id, event_name, event_type, patch, attempt_id,
                       event_source, event_actor, operation)
SELECT $7, 0, version, $8, $9, updated_at, version = 1, $1, $2, $10, $11, $12::text::json, $13, $14,
       $15, $16
FROM changed
RETURNING version"
    )
}

/// Applies an event of one update; `group` is that update's.
pub(super) async fn apply(
    session: &mut Session<'_>,
    event: &Event,
    update: &EntityUpdate,
    group: &Group<'_>,
    generation: i64,
) -> Result<Vec<Verdict>, StatementError> {
    let settings = session.settings;
    let demanded = demanded_version(update).flatten();
    let must_exist = demanded.is_some_and(|version| version != 0);
    let statement = if must_exist { UPDATE.as_str() } else { UPSERT.as_str() };
    let mut statement = sqlx::query_scalar::<_, i64>(statement)
        .bind(update.key().entity_type())
        .bind(update.key().entity_id())
        .bind(group.size())
        .bind(group.data())
        .bind(to_pg(settings.clock.now()))
        .bind(to_bigint(settings.max_entity_bytes as u64))
        .bind(event.uuid())
        .bind(event.created().map(to_pg))
        .bind(event.saved().map(to_pg))
        .bind(event.name())
        .bind(event.event_type())
        .bind(update.patch().text())
        .bind(session.attempt.0)
        .bind(event.source())
        .bind(event.actor())
        .bind(update.operation().code())
        .bind(group.replaces);
    statement = if must_exist {
        let demanded = demanded.filter(|version| *version != ANY_VERSION);
        statement.bind(group.deletes).bind(generation).bind(demanded)
    } else {
        statement.bind(demanded.is_some()).bind(generation)
    };
    let statement =
        statement.persistent(session.caches_statements()).fetch_all(&mut *session.connection);
    let made = Session::with_timeout(settings.statement_deadline, statement).await?;
    match made.as_slice() {
        [version] => Ok(vec![Verdict::Applied(vec![new_version(*version)])]),
        _ => Err(StatementError::Refused(
            "the entity does not fulfil a condition, its document may exceed its limit, or the definitions \
             of types have changed"
                .to_owned(),
        )),
    }
}
