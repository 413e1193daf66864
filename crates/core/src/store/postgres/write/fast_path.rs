//! The fast path: a batch of flat patches in one statement that commits by itself. The patches of
//! one entity are folded, the database merges with `||`, and the log's rows get the versions that the
//! upsert returns.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::columns::LogColumns;
use super::session::Session;
use crate::ingest::Verdict;
use crate::json::{Patch, fold_flat};
use crate::model::{EntityKey, EntityUpdate, Event, NewVersion, Operation};
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::postgres::error::StatementError;
use crate::store::postgres::time::to_pg;

/// The upsert merges into the current row, whichever writer wrote it last, so no update is lost. A row that would
/// grow past the limit isn't returned: then `made` is empty, the log's rows get no version, which
/// the table refuses (23502), and the statement fails as a whole. So it does for a uuid that is in the log
/// (23505).
///
/// No join: the updates name the place of their entity among the groups, which are sorted as `made`
/// is. Set-returning functions in the select list are streamed, those in FROM materialized one by
/// one; together that is a tenth of the statement's CPU. The log's rows are written in the order of
/// the updates, so that an entity's positions rise with its versions; they are drawn after its row
/// is locked, because `made` needs all of `changed`.
const APPLY: &str = r"
WITH changed AS (
    INSERT INTO entities AS e
        (entity_type, entity_id, version, size, data, created_at, updated_at)
    SELECT entity_type, entity_id, updates, size, data::jsonb, $6, $6
    FROM (SELECT unnest($1::text[]) AS entity_type, unnest($2::text[]) AS entity_id,
                 unnest($3::int8[]) AS updates, unnest($4::int4[]) AS size,
                 unnest($5::text[]) AS data) AS f
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET
        version = e.version + excluded.version,
        size = e.size + excluded.size,
        data = e.data || excluded.data,
        updated_at = greatest(e.updated_at, excluded.updated_at)
    WHERE e.size::int8 + excluded.size <= $7
    RETURNING entity_type, entity_id, version, updated_at
), made AS (
    SELECT array_agg(version) AS versions, array_agg(updated_at) AS times
    FROM (SELECT version, updated_at FROM changed ORDER BY entity_type, entity_id) AS c
    HAVING count(*) = cardinality($1)
), logged AS (
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
                 unnest($21::text[]) AS event_actor) AS u
)
SELECT versions FROM made";

/// The same for a single update, without arrays: half of the database's work for a single event, and
/// so the latency of a service under low load. A row that would grow past the limit gives
/// no row here, and nothing is written.
const APPLY_ONE: &str = r"
WITH changed AS (
    INSERT INTO entities AS e
        (entity_type, entity_id, version, size, data, created_at, updated_at)
    VALUES ($1, $2, 1, $3, $4::text::jsonb, $5, $5)
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET
        version = e.version + 1,
        size = e.size + excluded.size,
        data = e.data || excluded.data,
        updated_at = greatest(e.updated_at, excluded.updated_at)
    WHERE e.size::int8 + excluded.size <= $6
    RETURNING version, updated_at
)
INSERT INTO event_log (event_uuid, ordinal, version, created_at, saved_at, committed_at, created,
                       entity_type, entity_id, event_name, event_type, patch, attempt_id,
                       event_source, event_actor)
SELECT $7, 0, version, $8, $9, updated_at, version = 1, $1, $2, $10, $11, $12::text::json, $13, $14,
       $15
FROM changed
RETURNING version";

/// The patches of a batch, folded for each entity, in the order in which rows are locked.
pub(super) struct Folded<'a>(BTreeMap<&'a EntityKey, Group<'a>>);

#[derive(Default)]
struct Group<'a> {
    patches: Vec<&'a Patch>,
    size: usize,
}

/// The batch folded for this path; `None` where folding is not exact: another operation than a merge, a
/// condition, a patch that isn't flat, a uuid twice, an entity that may exceed the limit by this batch
/// alone. A deleted entity has the largest size, so that the statement's own condition refuses it.
pub(super) fn fold(batch: &[Event], max_entity_bytes: usize) -> Option<Folded<'_>> {
    let mut uuids = HashSet::with_capacity(batch.len());
    let mut groups = BTreeMap::<_, Group<'_>>::new();
    for event in batch {
        if !uuids.insert(event.uuid()) {
            return None;
        }
        for update in event.updates() {
            let group = groups.entry(update.key()).or_default();
            group.size += update.patch().size();
            if !is_plain(update) || group.size > max_entity_bytes {
                return None;
            }
            group.patches.push(update.patch());
        }
    }
    Some(Folded(groups))
}

fn is_plain(update: &EntityUpdate) -> bool {
    update.operation() == Operation::Merge && update.is_unconditional() && update.patch().is_flat()
}

/// Applies the batch: all of it or, with any error but [`StatementError::OutcomeUnknown`], nothing.
pub(super) async fn apply(
    session: &mut Session<'_>,
    batch: &[Event],
    folded: Folded<'_>,
) -> Result<Vec<Verdict>, StatementError> {
    match batch {
        [event] if let [update] = event.updates() => apply_one(session, event, update).await,
        _ => apply_many(session, batch, folded).await,
    }
}

async fn apply_one(
    session: &mut Session<'_>,
    event: &Event,
    update: &EntityUpdate,
) -> Result<Vec<Verdict>, StatementError> {
    let settings = session.settings;
    let patch = update.patch();
    let statement = sqlx::query_scalar::<_, i64>(APPLY_ONE)
        .bind(update.key().entity_type())
        .bind(update.key().entity_id())
        .bind(i32::try_from(patch.size()).unwrap_or(i32::MAX))
        .bind(fold_flat(&[patch]))
        .bind(to_pg(settings.clock.now()))
        .bind(to_bigint(settings.max_entity_bytes as u64))
        .bind(event.uuid())
        .bind(event.created().map(to_pg))
        .bind(event.saved().map(to_pg))
        .bind(event.name())
        .bind(event.event_type())
        .bind(patch.text())
        .bind(session.attempt.0)
        .bind(event.source())
        .bind(event.actor())
        .persistent(session.caches_statements())
        .fetch_all(&mut *session.connection);
    let made = Session::with_timeout(settings.statement_deadline, statement).await?;
    match made.as_slice() {
        [version] => Ok(vec![Verdict::Applied(vec![new_version(*version)])]),
        _ => Err(StatementError::Refused("the document may exceed its limit".to_owned())),
    }
}

async fn apply_many(
    session: &mut Session<'_>,
    batch: &[Event],
    folded: Folded<'_>,
) -> Result<Vec<Verdict>, StatementError> {
    let settings = session.settings;
    let (log, places_of_updates) = log_of(batch, &folded);
    let states = States::new(&folded);
    let statement = sqlx::query_scalar::<_, Vec<i64>>(APPLY)
        .bind(states.types)
        .bind(states.ids)
        .bind(states.updates)
        .bind(states.sizes)
        .bind(states.data)
        .bind(to_pg(settings.clock.now()))
        .bind(to_bigint(settings.max_entity_bytes as u64))
        .bind(log.types)
        .bind(log.ids)
        .bind(log.uuids)
        .bind(log.ordinals)
        .bind(&places_of_updates.places)
        .bind(&places_of_updates.behind)
        .bind(log.created)
        .bind(log.saved)
        .bind(log.names)
        .bind(log.event_types)
        .bind(log.patches)
        .bind(session.attempt.0)
        .bind(log.sources)
        .bind(log.actors)
        .persistent(session.caches_statements())
        // all rows: ending the stream early would leave an error of the commit unread
        .fetch_all(&mut *session.connection);
    let made = Session::with_timeout(settings.statement_deadline, statement).await?;
    match made.first() {
        Some(versions) if versions.len() == folded.0.len() => {
            Ok(verdicts(batch, versions, &places_of_updates))
        }
        _ => Err(StatementError::OutcomeUnknown(
            "the statement returned an unexpected number of versions".to_owned(),
        )),
    }
}

fn verdicts(batch: &[Event], last: &[i64], places_of_updates: &UpdatePlaces) -> Vec<Verdict> {
    let mut versions =
        places_of_updates.places.iter().zip(&places_of_updates.behind).map(|(&place, &behind)| {
            let index = usize::try_from(place - 1).unwrap_or(usize::MAX);
            new_version(last.get(index).map_or(0, |last| last - behind))
        });
    let one =
        |event: &Event| Verdict::Applied(versions.by_ref().take(event.updates().len()).collect());
    batch.iter().map(one).collect()
}

/// This path makes no deleted entity anew, so only the first version creates.
fn new_version(version: i64) -> NewVersion {
    NewVersion { version: from_bigint(version), created: version == 1 }
}

/// The folded states as columns.
struct States<'a> {
    types: Vec<&'a str>,
    ids: Vec<&'a str>,
    updates: Vec<i64>,
    sizes: Vec<i32>,
    data: Vec<String>,
}

impl<'a> States<'a> {
    fn new(folded: &Folded<'a>) -> Self {
        let groups = &folded.0;
        Self {
            types: groups.keys().map(|key| key.entity_type()).collect(),
            ids: groups.keys().map(|key| key.entity_id()).collect(),
            updates: groups.values().map(|group| to_bigint(group.patches.len() as u64)).collect(),
            sizes: groups.values().map(|g| i32::try_from(g.size).unwrap_or(i32::MAX)).collect(),
            data: groups.values().map(|group| fold_flat(&group.patches)).collect(),
        }
    }
}

/// The place of each update, in the order of the log's rows.
#[derive(Default)]
struct UpdatePlaces {
    /// The place of its entity among the folded states, from 1.
    places: Vec<i32>,
    /// How many updates of the same entity follow in the batch.
    behind: Vec<i64>,
}

fn log_of<'a>(batch: &'a [Event], folded: &Folded<'_>) -> (LogColumns<'a>, UpdatePlaces) {
    let groups =
        (1..).zip(&folded.0).map(|(place, (&key, group))| (key, (place, group.patches.len())));
    let mut left: HashMap<_, (i32, usize)> = groups.collect();
    let mut log = LogColumns::default();
    let mut places_of_updates = UpdatePlaces::default();
    for event in batch {
        for (ordinal, update) in event.updates().iter().enumerate() {
            log.push(event, ordinal, update);
            let (place, left) = left.entry(update.key()).or_insert((0, 1));
            *left -= 1;
            places_of_updates.places.push(*place);
            places_of_updates.behind.push(to_bigint(*left as u64));
        }
    }
    (log, places_of_updates)
}
