//! Many updates in one statement.

use std::sync::LazyLock;

use super::fold::{Folded, Group, UpdatePlaces, demanded_version, new_version};
use super::indexes::{Fence, INDEX_COLUMNS, PartRows, insert};
use crate::ingest::Verdict;
use crate::model::Event;
use crate::store::numbers::to_bigint;
use crate::store::postgres::error::StatementError;
use crate::store::postgres::time::to_pg;
use crate::store::postgres::write::columns::{KeyColumns, LogColumns};
use crate::store::postgres::write::search::upsert;
use crate::store::postgres::write::session::Session;

/// Merges without conditions, as in most batches.
///
/// The upsert merges into the current row, whichever writer wrote it last, so no update is lost. A row that
/// would grow past the limit isn't returned (nor one that is deleted, whose size is the largest): then
/// `made` is empty, the log's rows get no version, which the table refuses (23502), and the statement
/// fails as a whole. So it does for a uuid that is in the log (23505).
///
/// No join: the updates name the place of their entity among the groups, which are sorted as `made`
/// is. Set-returning functions in the select list are streamed, those in FROM materialized one by
/// one; together that is a tenth of the statement's CPU. The log's rows are written in the order of
/// the updates, so that an entity's positions rise with its versions; they are drawn after its row
/// is locked, because `made` needs all of `changed`.
///
/// Where the definitions of types have another generation than $22, nothing is changed, and the log's rows
/// get no version either.
static MERGE: LazyLock<String> = LazyLock::new(|| statement(MERGED, MERGES_LOGGED, None));

/// The same with rows of indexes and of search.
static MERGE_WITH_PARTS: LazyLock<String> =
    LazyLock::new(|| statement(MERGED, MERGES_LOGGED, Some(23)));

const MERGED: &str = r"
    INSERT INTO entities AS e
        (entity_type, entity_id, version, size, data, created_at, updated_at)
    SELECT entity_type, entity_id, updates, size, data::jsonb, $6, $6
    FROM (SELECT unnest($1::text[]) AS entity_type, unnest($2::text[]) AS entity_id,
                 unnest($3::int8[]) AS updates, unnest($4::int4[]) AS size,
                 unnest($5::text[]) AS data) AS f
    WHERE $22 = (SELECT generation FROM type_generation WHERE only_row)
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET
        version = e.version + excluded.version,
        size = e.size + excluded.size,
        data = e.data || excluded.data,
        updated_at = greatest(e.updated_at, excluded.updated_at)
    WHERE e.size::int8 + excluded.size <= $7
    RETURNING entity_type, entity_id, version, updated_at";

const MERGES_LOGGED: &str = r"
    INSERT INTO event_log (event_uuid, ordinal, version, created_at, saved_at, committed_at,
                           created, entity_type, entity_id, event_name, event_type, patch,
                           attempt_id, event_source, event_actor)
    SELECT event_uuid, ordinal, ((SELECT versions FROM made))[place] - behind, created_at, saved_at,
           ((SELECT times FROM made))[place], ((SELECT versions FROM made))[place] - behind = 1,
           entity_type, entity_id, event_name, event_type, patch::json, $19::int4, event_source,
           event_actor
    FROM (SELECT unnest($8::text[]) AS entity_type, unnest($9::text[]) AS entity_id,
                 unnest($10::uuid[]) AS event_uuid, unnest($11::int2[]) AS ordinal,
                 unnest($12::int4[]) AS place, unnest($13::int8[]) AS behind,
                 unnest($14::timestamptz[]) AS created_at, unnest($15::timestamptz[]) AS saved_at,
                 unnest($16::text[]) AS event_name, unnest($17::text[]) AS event_type,
                 unnest($18::text[]) AS patch, unnest($20::text[]) AS event_source,
                 unnest($21::text[]) AS event_actor) AS u";

/// The same for all operations, and for conditions. `demanded` is the version that an update's entity must
/// have before it, -1 for any: an update whose condition does not hold gets no version, which fails the
/// statement. The keys of entities whose document is made from nothing are $26 and $27, because ON
/// CONFLICT sees no other columns than the table's. A statement of its own, since all this costs time.
static CHANGE: LazyLock<String> = LazyLock::new(|| statement(CHANGED, CHANGES_LOGGED, None));

/// The same with rows of indexes and of search.
static CHANGE_WITH_PARTS: LazyLock<String> =
    LazyLock::new(|| statement(CHANGED, CHANGES_LOGGED, Some(28)));

const CHANGED: &str = r"
    INSERT INTO entities AS e
        (entity_type, entity_id, version, size, data, created_at, updated_at, deleted)
    SELECT entity_type, entity_id, updates, size, data::jsonb, $6, $6, deleted
    FROM (SELECT unnest($1::text[]) AS entity_type, unnest($2::text[]) AS entity_id,
                 unnest($3::int8[]) AS updates, unnest($4::int4[]) AS size,
                 unnest($5::text[]) AS data, unnest($25::bool[]) AS deleted) AS f
    WHERE $22 = (SELECT generation FROM type_generation WHERE only_row)
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET
        version = e.version + excluded.version,
        size = CASE WHEN (e.entity_type, e.entity_id) IN
                         (SELECT unnest($26::text[]), unnest($27::text[]))
               THEN excluded.size ELSE e.size + excluded.size END,
        data = CASE WHEN (e.entity_type, e.entity_id) IN
                         (SELECT unnest($26::text[]), unnest($27::text[]))
               THEN excluded.data ELSE e.data || excluded.data END,
        updated_at = greatest(e.updated_at, excluded.updated_at),
        deleted = excluded.deleted
    WHERE NOT e.deleted
        AND ((e.entity_type, e.entity_id) IN (SELECT unnest($26::text[]), unnest($27::text[]))
             OR e.size::int8 + excluded.size <= $7)
    RETURNING entity_type, entity_id, version, updated_at";

const CHANGES_LOGGED: &str = r"
    INSERT INTO event_log (event_uuid, ordinal, version, created_at, saved_at, committed_at,
                           created, entity_type, entity_id, event_name, event_type, patch,
                           attempt_id, event_source, event_actor, operation)
    SELECT event_uuid, ordinal,
           CASE WHEN demanded IS NULL OR demanded = version - 1 OR (demanded = -1 AND version > 1)
                THEN version END,
           created_at, saved_at, committed_at, version = 1, entity_type, entity_id, event_name,
           event_type, patch::json, $19::int4, event_source, event_actor, operation
    FROM (SELECT unnest($8::text[]) AS entity_type, unnest($9::text[]) AS entity_id,
                 unnest($10::uuid[]) AS event_uuid, unnest($11::int2[]) AS ordinal,
                 ((SELECT versions FROM made))[unnest($12::int4[])] - unnest($13::int8[]) AS version,
                 ((SELECT times FROM made))[unnest($12::int4[])] AS committed_at,
                 unnest($14::timestamptz[]) AS created_at, unnest($15::timestamptz[]) AS saved_at,
                 unnest($16::text[]) AS event_name, unnest($17::text[]) AS event_type,
                 unnest($18::text[]) AS patch, unnest($20::text[]) AS event_source,
                 unnest($21::text[]) AS event_actor, unnest($23::int2[]) AS operation,
                 unnest($24::int8[]) AS demanded) AS u";

/// A statement that changes entities and writes the log. Rows of indexes and of search, if there are any, are
/// the parameters from `first_of_parts` on. They are written after their entities are locked, because that needs
/// `made`, which then also has the times when the entities were made.
fn statement(changed: &str, logged: &str, first_of_parts: Option<usize>) -> String {
    let (created_at, creations, parts) = match first_of_parts {
        None => ("", "", String::new()),
        Some(first) => {
            let indexed = insert(first);
            let searched = upsert(first + INDEX_COLUMNS, "(SELECT versions FROM made) IS NOT NULL");
            let parts = format!(", {indexed}, searched AS ({searched}\n)");
            (", created_at", ", array_agg(created_at) AS creations", parts)
        }
    };
    format!(
        r"
WITH changed AS ({changed}{created_at}
), made AS (
    SELECT array_agg(version) AS versions, array_agg(updated_at) AS times{creations}
    FROM (SELECT version, updated_at{created_at} FROM changed
          ORDER BY entity_type, entity_id) AS c
    HAVING count(*) = cardinality($1)
), logged AS ({logged}
){parts}
SELECT versions FROM made"
    )
}

/// Applies a batch of several updates.
pub(super) async fn apply(
    session: &mut Session<'_>,
    batch: &[Event],
    folded: Folded<'_>,
    fence: Fence<'_>,
) -> Result<Vec<Verdict>, StatementError> {
    let settings = session.settings;
    let log = log_of(batch, &folded.places);
    let keys: KeyColumns<'_> = folded.groups.iter().map(|group| group.key).collect();
    let groups = || folded.groups.iter();
    let updates: Vec<i64> = groups().map(|group| to_bigint(group.updates as u64)).collect();
    let mut statement =
        sqlx::query_scalar::<_, Vec<i64>>(match (folded.is_plain, fence.rows.is_empty()) {
            (true, true) => MERGE.as_str(),
            (true, false) => MERGE_WITH_PARTS.as_str(),
            (false, true) => CHANGE.as_str(),
            (false, false) => CHANGE_WITH_PARTS.as_str(),
        })
        .bind(keys.types)
        .bind(keys.ids)
        .bind(updates)
        .bind(groups().map(Group::size).collect::<Vec<_>>())
        .bind(groups().map(Group::data).collect::<Vec<_>>())
        .bind(to_pg(settings.clock.now()))
        .bind(to_bigint(settings.max_entity_bytes as u64))
        .bind(log.types)
        .bind(log.ids)
        .bind(log.uuids)
        .bind(log.ordinals)
        .bind(&folded.places.groups)
        .bind(&folded.places.behind)
        .bind(log.created)
        .bind(log.saved)
        .bind(log.names)
        .bind(log.event_types)
        .bind(log.patches)
        .bind(session.attempt.0)
        .bind(log.sources)
        .bind(log.actors)
        .bind(fence.generation);
    if !folded.is_plain {
        let updates = || batch.iter().flat_map(Event::updates);
        let replaced = groups().filter(|group| group.replaces);
        let replaced: KeyColumns<'_> = replaced.map(|group| group.key).collect();
        statement = statement
            .bind(updates().map(|update| update.operation().code()).collect::<Vec<_>>())
            .bind(updates().map(|update| demanded_version(update).flatten()).collect::<Vec<_>>())
            .bind(groups().map(|group| group.deletes).collect::<Vec<_>>())
            .bind(replaced.types)
            .bind(replaced.ids);
    }
    if !fence.rows.is_empty() {
        let PartRows { indexes, searches } = fence.rows;
        statement = searches.bind(indexes.bind(statement));
    }
    let statement = statement
        .persistent(session.caches_statements())
        // all rows: ending the stream early would leave an error of the commit unread
        .fetch_all(&mut *session.connection);
    let made = Session::with_timeout(settings.statement_deadline, statement).await?;
    match made.first() {
        Some(versions) if versions.len() == folded.groups.len() => {
            Ok(verdicts(batch, versions, &folded.places))
        }
        _ => Err(StatementError::OutcomeUnknown(
            "the statement returned an unexpected number of versions".to_owned(),
        )),
    }
}

fn verdicts(batch: &[Event], last: &[i64], places: &UpdatePlaces) -> Vec<Verdict> {
    let mut versions = places.groups.iter().zip(&places.behind).map(|(&place, &behind)| {
        let index = usize::try_from(place - 1).unwrap_or(usize::MAX);
        new_version(last.get(index).map_or(0, |last| last - behind))
    });
    let one =
        |event: &Event| Verdict::Applied(versions.by_ref().take(event.updates().len()).collect());
    batch.iter().map(one).collect()
}

fn log_of<'a>(batch: &'a [Event], places: &UpdatePlaces) -> LogColumns<'a> {
    let mut log = LogColumns::with_capacity(places.groups.len());
    for event in batch {
        for (ordinal, update) in event.updates().iter().enumerate() {
            log.push(event, ordinal, update);
        }
    }
    log
}
