//! The slow path, which every batch can take: lock the entities, read them, plan in memory, write,
//! commit.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::columns::{ChangeColumns, IndexColumns, KeyColumns, LogColumns};
use super::search::SearchColumns;
use super::session::Session;
use crate::ingest::{ApplyError, Verdict};
use crate::model::{EntityKey, EntityUpdate, Event};
use crate::store::numbers::{from_bigint, to_bigint};
use crate::store::postgres::error::{StatementError, TransactionError};
use crate::store::postgres::query;
use crate::store::postgres::time::{from_pg, to_pg};
use crate::store::write::indexes::{index_changes, search_changes};
use crate::store::write::plan::{
    Change, EarlierParts, Known, LogRow, Rules, Stored, Writes, plan, plan_part, seen,
};
use crate::store::write::slices::{Slice, parts, slices};
use crate::types::KeptParts;

/// How often a batch is retried that lost a race against another writer.
const RETRIES: u32 = 5;

// In the order of the keys, as every writer locks; NO KEY UPDATE is what an upsert takes.
const LOCK: &str = r"
SELECT e.entity_type, e.entity_id, CASE WHEN e.deleted THEN 0 ELSE e.size END
FROM unnest($1::text[], $2::text[]) AS k (entity_type, entity_id)
JOIN entities e ON e.entity_type = k.entity_type AND e.entity_id = k.entity_id
ORDER BY e.entity_type, e.entity_id
FOR NO KEY UPDATE OF e";

const LOCK_SKIP_LOCKED: &str = r"
SELECT e.entity_type, e.entity_id, CASE WHEN e.deleted THEN 0 ELSE e.size END
FROM unnest($1::text[], $2::text[]) AS k (entity_type, entity_id)
JOIN entities e ON e.entity_type = k.entity_type AND e.entity_id = k.entity_id
ORDER BY e.entity_type, e.entity_id
FOR NO KEY UPDATE OF e SKIP LOCKED";

const READ: &str = r"
SELECT e.entity_type, e.entity_id, e.version, e.deleted, e.size, e.created_at, e.updated_at,
       e.data::text
FROM unnest($1::text[], $2::text[]) AS k (entity_type, entity_id)
JOIN entities e ON e.entity_type = k.entity_type AND e.entity_id = k.entity_id";

/// Where the definitions of types have another generation than $26, no state is written. The rows of indexes
/// come after their entities, some of which are inserted here: whoever inserts the same is waited for there.
const WRITE: &str = r"
WITH change AS NOT MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::bool[], $6::int4[],
                         $7::text[], $8::timestamptz[], $9::timestamptz[])
        AS c (entity_type, entity_id, replaces, version, deleted, size, data, created_at, updated_at)
    WHERE $26 = (SELECT generation FROM type_generation WHERE only_row)
), updated AS (
    UPDATE entities e
    SET version = c.version, deleted = c.deleted, size = c.size, data = c.data::jsonb,
        created_at = c.created_at, updated_at = c.updated_at
    FROM change c
    WHERE e.entity_type = c.entity_type AND e.entity_id = c.entity_id
        AND c.replaces > 0 AND e.version = c.replaces
    RETURNING 1
), inserted AS (
    INSERT INTO entities
        (entity_type, entity_id, version, deleted, size, data, created_at, updated_at)
    SELECT entity_type, entity_id, version, deleted, size, data::jsonb, created_at, updated_at
    FROM change WHERE replaces = 0
    ON CONFLICT DO NOTHING
    RETURNING 1
), logged AS (
    INSERT INTO event_log (event_uuid, ordinal, version, created_at, saved_at, committed_at,
                           created, operation, entity_type, entity_id, event_name, event_type,
                           event_source, event_actor, patch, attempt_id)
    SELECT event_uuid, ordinal, version, created_at, saved_at, committed_at, created, operation,
           entity_type, entity_id, event_name, event_type, event_source, event_actor, patch::json,
           $25::int4
    FROM unnest($10::text[], $11::text[], $12::uuid[], $13::int2[], $14::int8[],
                $15::timestamptz[], $16::timestamptz[], $17::timestamptz[], $18::bool[],
                $19::int2[], $20::text[], $21::text[], $22::text[], $23::text[], $24::text[])
        AS l (entity_type, entity_id, event_uuid, ordinal, version, created_at, saved_at,
              committed_at, created, operation, event_name, event_type, event_source, event_actor,
              patch)
), indexed AS (
    INSERT INTO entity_index AS i (index_id, entity_id, key)
    SELECT * FROM unnest($27::int4[], $28::text[], $29::bytea[])
    WHERE (SELECT count(*) FROM updated) + (SELECT count(*) FROM inserted) = cardinality($1)
    ON CONFLICT (index_id, entity_id) DO UPDATE SET key = excluded.key
    WHERE i.key IS DISTINCT FROM excluded.key
)
SELECT (SELECT count(*) FROM updated) + (SELECT count(*) FROM inserted),
       $26 = (SELECT generation FROM type_generation WHERE only_row)";

/// Applies the batch, and again after a race or a lock timeout.
pub(super) async fn apply(
    session: &mut Session<'_>,
    batch: &[Event],
    mut kept: Arc<KeptParts>,
    mut skip_locked: bool,
    atomic: bool,
) -> Result<Vec<Verdict>, ApplyError> {
    let mut retries = 0;
    loop {
        let failure = match transaction(session, batch, &kept, skip_locked, atomic).await {
            Ok(verdicts) => return Ok(verdicts),
            Err(failure) => failure,
        };
        match failure.error {
            StatementError::OutcomeUnknown(_) | StatementError::Unavailable(..) => {
                return Err(failure.into_error(session.attempt));
            }
            error => {
                session.run("ROLLBACK").await.map_err(StatementError::before_commit)?;
                match error {
                    StatementError::LockTimeout(_) if !skip_locked => skip_locked = true,
                    // another session is inserting a key of the batch; which one shows only in a
                    // batch of one event
                    StatementError::LockTimeout(_) if atomic || batch.len() == 1 => {
                        return Ok(vec![Verdict::Locked; batch.len()]);
                    }
                    // no event is refused because of a definition: each turn needs a new one
                    StatementError::StaleTypes => {
                        let read = session.read_kept_parts().await;
                        kept = read.map_err(StatementError::before_commit)?;
                    }
                    StatementError::Contention(_) | StatementError::UniqueViolation(_)
                        if retries < RETRIES =>
                    {
                        retries += 1;
                        tokio::time::sleep(jitter(retries)).await;
                    }
                    error => return Err(error.before_commit()),
                }
            }
        }
    }
}

/// A random pause: up to 4 ms before the first retry, up to 64 ms before the fifth.
fn jitter(retries: u32) -> Duration {
    let random = u64::from(Uuid::new_v4().as_bytes()[0]);
    Duration::from_micros((random << retries) * 8)
}

async fn transaction(
    session: &mut Session<'_>,
    batch: &[Event],
    kept: &KeptParts,
    skip_locked: bool,
    atomic: bool,
) -> Result<Vec<Verdict>, TransactionError> {
    session.begin(skip_locked).await?;
    let sizes = lock(session, batch, skip_locked).await?;
    let slices = slices(batch, &sizes);
    let mut locks = Locks::new(sizes.into_keys().collect(), kept, skip_locked);
    let mut verdicts = Vec::with_capacity(batch.len());
    for slice in slices {
        match slice {
            Slice::Whole(events) => verdicts.extend(whole(session, events, &mut locks).await?),
            Slice::InParts(event, parts) => {
                verdicts.push(in_parts(session, event, parts, &mut locks).await?);
            }
        }
    }
    let commits = !atomic || verdicts.iter().all(Verdict::is_stored);
    let end = session.run(if commits { "COMMIT" } else { "ROLLBACK" }).await;
    end.map_err(|error| TransactionError { error, committing: commits })?;
    Ok(verdicts)
}

/// Which entities may be written, and with which indexes.
struct Locks<'k> {
    /// Those that this transaction has locked or inserted.
    ours: HashSet<EntityKey>,
    /// Those that other sessions have locked, and those that must not be written before them.
    held: HashSet<EntityKey>,
    skip_locked: bool,
    kept: &'k KeptParts,
}

impl<'k> Locks<'k> {
    fn new(ours: HashSet<EntityKey>, kept: &'k KeptParts, skip_locked: bool) -> Self {
        Self { ours, held: HashSet::new(), skip_locked, kept }
    }
}

/// Locks the entities of the batch that exist; returns their sizes. With `skip_locked`, those that other
/// sessions have locked are left out.
async fn lock(
    session: &mut Session<'_>,
    batch: &[Event],
    skip_locked: bool,
) -> Result<HashMap<EntityKey, usize>, StatementError> {
    let keys = keys_of(batch.iter().flat_map(Event::updates));
    let statement = sqlx::query_as::<_, (String, String, i32)>(if skip_locked {
        LOCK_SKIP_LOCKED
    } else {
        LOCK
    })
    .bind(keys.types)
    .bind(keys.ids)
    .persistent(session.caches_statements())
    .fetch_all(&mut *session.connection);
    let rows = Session::with_timeout(session.settings.statement_deadline, statement).await?;
    let sized = rows.into_iter().map(|(entity_type, entity_id, size)| {
        (EntityKey::new_unchecked(entity_type, entity_id), usize::try_from(size).unwrap_or(0))
    });
    Ok(sized.collect())
}

/// The verdicts on those of the events, by their places, whose uuid is taken.
async fn already_logged(
    session: &mut Session<'_>,
    events: &[Event],
) -> Result<HashMap<usize, Verdict>, StatementError> {
    let uuids: Vec<Uuid> = events.iter().map(Event::uuid).collect();
    let mut verdicts = HashMap::new();
    let found = |logged| verdicts.extend(seen(events, &logged));
    let caches_statements = session.caches_statements();
    let logged = query::logged(&mut *session.connection, &uuids, caches_statements, found);
    Session::with_timeout(session.settings.statement_deadline, logged).await?;
    Ok(verdicts)
}

/// The entities of the updates that exist and are locked by this transaction; the others are added
/// to `held`.
async fn entities<'u>(
    session: &mut Session<'_>,
    updates: impl IntoIterator<Item = &'u EntityUpdate>,
    locks: &mut Locks<'_>,
) -> Result<HashMap<EntityKey, Stored>, StatementError> {
    let keys = keys_of(updates);
    let statement = sqlx::query_as::<_, StoredRow>(READ)
        .bind(keys.types)
        .bind(keys.ids)
        .persistent(session.caches_statements())
        .fetch_all(&mut *session.connection);
    let mut entities = HashMap::new();
    for (entity_type, entity_id, version, deleted, size, created, updated, data) in
        Session::with_timeout(session.settings.statement_deadline, statement).await?
    {
        let key = EntityKey::new_unchecked(entity_type, entity_id);
        if locks.ours.contains(&key) {
            let stored = Stored {
                version: from_bigint(version),
                deleted,
                size: usize::try_from(size).unwrap_or(0),
                created: from_pg(created),
                updated: from_pg(updated),
                data,
            };
            entities.insert(key, stored);
        } else {
            locks.held.insert(key);
        }
    }
    if !locks.skip_locked && !locks.held.is_empty() {
        return Err(StatementError::Contention("an entity appeared meanwhile".to_owned()));
    }
    Ok(entities)
}

type StoredRow = (String, String, i64, bool, i32, DateTime<Utc>, DateTime<Utc>, String);

async fn whole(
    session: &mut Session<'_>,
    events: &[Event],
    locks: &mut Locks<'_>,
) -> Result<Vec<Verdict>, StatementError> {
    let seen = already_logged(session, events).await?;
    let entities = entities(session, events.iter().flat_map(Event::updates), locks).await?;
    let known = Known { seen, entities };
    let plan = plan(events, &known, &mut locks.held, rules(session));
    let (verdicts, writes) = plan.map_err(StatementError::Refused)?;
    write(session, writes, &known, locks).await?;
    Ok(verdicts)
}

/// An event whose documents don't fit in memory together; if a part is refused, the event is rolled
/// back to its savepoint.
async fn in_parts(
    session: &mut Session<'_>,
    event: &Event,
    parts: Vec<Range<usize>>,
    locks: &mut Locks<'_>,
) -> Result<Verdict, StatementError> {
    if let Some(verdict) = already_logged(session, std::slice::from_ref(event)).await?.remove(&0) {
        return Ok(verdict);
    }
    session.run("SAVEPOINT event").await?;
    let mut versions = Vec::with_capacity(event.updates().len());
    let mut earlier = EarlierParts::default();
    for part in parts {
        match apply_part(session, event, part, &mut earlier, locks).await? {
            Verdict::Applied(made) => versions.extend(made),
            refused => {
                session.run("ROLLBACK TO event").await?;
                return Ok(refused);
            }
        }
    }
    Ok(Verdict::Applied(versions))
}

async fn apply_part(
    session: &mut Session<'_>,
    event: &Event,
    part: Range<usize>,
    earlier: &mut EarlierParts,
    locks: &mut Locks<'_>,
) -> Result<Verdict, StatementError> {
    let entities = entities(session, &event.updates()[part.clone()], locks).await?;
    if event.updates().iter().any(|update| locks.held.contains(update.key())) {
        locks.held.extend(event.updates().iter().map(|update| update.key().clone()));
        return Ok(Verdict::Locked);
    }
    let known = Known { entities, ..Known::default() };
    let plan = plan_part(event, part, &known, earlier, rules(session));
    let (verdict, writes) = plan.map_err(StatementError::Refused)?;
    write(session, writes, &known, locks).await?;
    Ok(verdict)
}

fn rules(session: &Session<'_>) -> Rules {
    let settings = session.settings;
    let now = settings.clock.now();
    Rules {
        max_entity_bytes: settings.max_entity_bytes,
        now,
        attempt: session.attempt,
        atomic: session.atomic,
    }
}

/// In one statement, or as many as the sizes need.
async fn write(
    session: &mut Session<'_>,
    Writes { changes, log }: Writes<'_>,
    known: &Known,
    locks: &mut Locks<'_>,
) -> Result<(), StatementError> {
    locks.ours.extend(changes.iter().map(|change| change.key.clone()));
    let counts: Vec<usize> =
        parts(&changes, |change| change.data.len()).iter().map(|part| part.len()).collect();
    let mut changes = changes.into_iter();
    let mut log = parts(&log, |row| row.update.patch().text().len()).into_iter();
    for count in counts {
        let part: Vec<Change<'_>> = changes.by_ref().take(count).collect();
        let indexes = index_changes(&part, known, locks.kept).into_iter().collect();
        let searches: SearchColumns<'_> =
            search_changes(&part, known, locks.kept).into_iter().collect();
        let fence = (locks.kept.generation(), indexes);
        let states = part.into_iter().collect();
        write_part(session, states, log.next().unwrap_or_default(), fence).await?;
        // now every entity of the part is locked
        let caches = session.caches_statements();
        let searches = searches.write(&mut *session.connection, caches);
        Session::with_timeout(session.settings.statement_deadline, searches).await?;
    }
    for rows in log {
        let fence = (locks.kept.generation(), IndexColumns::default());
        write_part(session, ChangeColumns::default(), rows, fence).await?;
    }
    Ok(())
}

async fn write_part(
    session: &mut Session<'_>,
    states: ChangeColumns<'_>,
    log: &[LogRow<'_>],
    (generation, indexes): (i64, IndexColumns<'_>),
) -> Result<(), StatementError> {
    let expected = to_bigint(states.types.len() as u64);
    let mut rows = LogColumns::with_capacity(log.len());
    for row in log {
        rows.push(row.event, row.ordinal, row.update);
    }
    let versions: Vec<i64> = log.iter().map(|row| to_bigint(row.version)).collect();
    let created: Vec<bool> = log.iter().map(|row| row.created).collect();
    let committed: Vec<_> = log.iter().map(|row| to_pg(row.committed)).collect();
    let operations: Vec<_> = log.iter().map(|row| row.update.operation().code()).collect();
    let statement = sqlx::query_as::<_, (i64, bool)>(WRITE)
        .bind(states.types)
        .bind(states.ids)
        .bind(states.replaces)
        .bind(states.versions)
        .bind(states.deleted)
        .bind(states.sizes)
        .bind(states.data)
        .bind(states.created)
        .bind(states.updated)
        .bind(rows.types)
        .bind(rows.ids)
        .bind(rows.uuids)
        .bind(rows.ordinals)
        .bind(versions)
        .bind(rows.created)
        .bind(rows.saved)
        .bind(committed)
        .bind(created)
        .bind(operations)
        .bind(rows.names)
        .bind(rows.event_types)
        .bind(rows.sources)
        .bind(rows.actors)
        .bind(rows.patches)
        .bind(session.attempt.0)
        .bind(generation)
        .bind(indexes.indexes)
        .bind(indexes.entities)
        .bind(indexes.keys)
        .persistent(session.caches_statements())
        .fetch_all(&mut *session.connection);
    let written = Session::with_timeout(session.settings.statement_deadline, statement).await?;
    match written.as_slice() {
        [(written, true)] if *written == expected => Ok(()),
        [(_, false)] => Err(StatementError::StaleTypes),
        // an entity that was new to us has been made by another writer
        _ => Err(StatementError::Contention("an entity changed meanwhile".to_owned())),
    }
}

fn keys_of<'u>(updates: impl IntoIterator<Item = &'u EntityUpdate>) -> KeyColumns<'u> {
    let keys: BTreeSet<_> = updates.into_iter().map(EntityUpdate::key).collect();
    keys.into_iter().collect()
}
