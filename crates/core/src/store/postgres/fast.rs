//! The fast road: a batch of flat patches in one statement that commits by itself. The patches of
//! one entity are folded, the database merges with `||`, and the log is written from what came back.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::columns::LogColumns;
use super::fault::Fault;
use super::writer::Session;
use super::{bigint, count, to_pg};
use crate::merge::fold_flat;
use crate::store::Verdict;
use crate::{EntityKey, Event, Patch};

/// The upsert finds the current row whoever wrote it last, so no update is lost. A row that would
/// grow past the limit isn't returned: its log rows get no version, which the table refuses
/// (23502), and the statement leaves nothing behind. So does a uuid that is in the log (23505).
///
/// A FULL JOIN, though every row of `changed` has its update, because PostgreSQL never does one as
/// a nested loop: it can't know how many rows the arrays hold. The order is that of the updates, so
/// that an entity's positions rise with its versions; they are drawn after its row is locked.
const APPLY: &str = r"
WITH changed AS (
    INSERT INTO entities AS e
        (entity_type, entity_id, version, size, data, created_at, updated_at)
    SELECT f.entity_type, f.entity_id, f.updates, f.size, f.data::jsonb, $6, $6
    FROM unnest($1::text[], $2::text[], $3::int8[], $4::int4[], $5::text[])
        AS f (entity_type, entity_id, updates, size, data)
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET
        version = e.version + excluded.version,
        size = e.size + excluded.size,
        data = e.data || excluded.data,
        updated_at = greatest(e.updated_at, excluded.updated_at)
    WHERE e.size::int8 + excluded.size <= $7
    RETURNING entity_type, entity_id, version, updated_at
), logged AS (
    INSERT INTO event_log (event_uuid, ordinal, version, created_at, saved_at, committed_at,
                           entity_type, entity_id, event_name, event_type, patch, stamp)
    SELECT u.event_uuid, u.ordinal, c.version - u.behind, u.created_at, u.saved_at, c.updated_at,
           u.entity_type, u.entity_id, u.event_name, u.event_type, u.patch::json, $18::int4
    FROM unnest($8::text[], $9::text[], $10::uuid[], $11::int2[], $12::int8[], $13::timestamptz[],
                $14::timestamptz[], $15::text[], $16::text[], $17::text[]) WITH ORDINALITY
        AS u (entity_type, entity_id, event_uuid, ordinal, behind, created_at, saved_at,
              event_name, event_type, patch, place)
    FULL JOIN changed c ON c.entity_type = u.entity_type AND c.entity_id = u.entity_id
    ORDER BY u.place
)
SELECT version FROM changed ORDER BY entity_type, entity_id";

/// The patches of a batch, folded for each entity, in the order in which rows are locked.
pub(super) struct Folded<'a>(BTreeMap<&'a EntityKey, Group<'a>>);

#[derive(Default)]
struct Group<'a> {
    patches: Vec<&'a Patch>,
    size: usize,
}

/// The batch for this road; `None` where it isn't exact: a patch that isn't flat, a uuid twice, an
/// entity that alone may pass the limit.
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
            if !update.patch().is_flat() || group.size > max_entity_bytes {
                return None;
            }
            group.patches.push(update.patch());
        }
    }
    Some(Folded(groups))
}

/// Applies the batch, all of it or, with any fault but [`Fault::Lost`], nothing.
pub(super) async fn apply(
    session: &mut Session<'_>,
    batch: &[Event],
    folded: Folded<'_>,
) -> Result<Vec<Verdict>, Fault> {
    let settings = session.settings;
    let (log, behind) = log_of(batch, &folded);
    let states = States::of(&folded);
    let statement = sqlx::query_scalar::<_, i64>(APPLY)
        .bind(states.types)
        .bind(states.ids)
        .bind(states.updates)
        .bind(states.sizes)
        .bind(states.data)
        .bind(to_pg(settings.clock.now()))
        .bind(i64::try_from(settings.max_entity_bytes).unwrap_or(i64::MAX))
        .bind(log.types)
        .bind(log.ids)
        .bind(log.uuids)
        .bind(log.ordinals)
        .bind(&behind)
        .bind(log.created)
        .bind(log.saved)
        .bind(log.names)
        .bind(log.event_types)
        .bind(log.patches)
        .bind(session.stamp.0)
        // the whole answer: what ends a stream early leaves the commit's own error unread
        .fetch_all(&mut session.connection);
    let versions = Session::flight(settings.flight_deadline, statement).await?;
    if versions.len() != folded.0.len() {
        return Err(Fault::Lost("the answer doesn't fit the batch".to_owned()));
    }
    Ok(verdicts(batch, &folded, &versions, &behind))
}

fn verdicts(batch: &[Event], folded: &Folded<'_>, last: &[i64], behind: &[i64]) -> Vec<Verdict> {
    let last: HashMap<_, _> = folded.0.keys().copied().zip(last).collect();
    let mut behind = behind.iter();
    let mut version_of = |key: &EntityKey| {
        let last = last.get(key).copied().copied().unwrap_or_default();
        count(last - behind.next().copied().unwrap_or_default())
    };
    let one = |event: &Event| {
        Verdict::Applied(event.updates().iter().map(|u| version_of(u.key())).collect())
    };
    batch.iter().map(one).collect()
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
    fn of(folded: &Folded<'a>) -> Self {
        let groups = &folded.0;
        Self {
            types: groups.keys().map(|key| key.entity_type()).collect(),
            ids: groups.keys().map(|key| key.entity_id()).collect(),
            updates: groups.values().map(|group| bigint(group.patches.len() as u64)).collect(),
            sizes: groups.values().map(|g| i32::try_from(g.size).unwrap_or(i32::MAX)).collect(),
            data: groups.values().map(|group| fold_flat(&group.patches)).collect(),
        }
    }
}

/// The log's rows, and for each how many updates of the same entity follow in the batch.
fn log_of<'a>(batch: &'a [Event], folded: &Folded<'_>) -> (LogColumns<'a>, Vec<i64>) {
    let groups = folded.0.iter();
    let mut left: HashMap<_, _> = groups.map(|(&key, group)| (key, group.patches.len())).collect();
    let mut log = LogColumns::default();
    let mut behind = Vec::with_capacity(batch.len());
    for event in batch {
        for (ordinal, update) in event.updates().iter().enumerate() {
            log.push(event, ordinal, update);
            let left = left.entry(update.key()).or_insert(1);
            *left -= 1;
            behind.push(bigint(*left as u64));
        }
    }
    (log, behind)
}
