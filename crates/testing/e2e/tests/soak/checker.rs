//! Compares the outcomes with the rows of the tables.

use std::collections::{BTreeMap, HashMap};

use producer_e2e::proto::Operation;
use producer_e2e::{Committed, EntityKey, Outcome, SentUpdate, merge_patch};
use serde_json::{Map, Value};
use sqlx::{Connection, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::outcomes::{Call, Entry, OutcomeLog};

const LOG: &str = "SELECT event_uuid, CAST(ordinal AS bigint), entity_id, version, created, \
                       CAST(operation AS bigint) FROM event_log \
                   WHERE entity_type = $1 AND kind = 0 ORDER BY entity_id, version";
const ENTITIES: &str =
    "SELECT entity_id, version, deleted, CAST(data AS text) FROM entities WHERE entity_type = $1";

const CHANGES: &str =
    "SELECT entity_type, entity_id, version FROM event_log WHERE kind IN (0, 1) ORDER BY position";
const ALL_ENTITIES: &str =
    "SELECT entity_type, entity_id, version, deleted, CAST(data AS text) FROM entities";

type ChangeRow = (String, String, i64);
type StoredRow = (String, String, i64, bool, String);

/// One row of the log: uuid, ordinal, entity, version, whether it made the entity, operation.
type Row = (Uuid, i64, String, i64, bool, i64);

/// The stored rows.
struct Stored {
    log: Vec<Row>,
    entities: Vec<(String, i64, bool, String)>,
}

/// An entity's version and its document; `None` where it does not exist.
type State = (i64, Option<Value>);

/// The problems, each in a sentence.
pub(crate) async fn problems(outcomes: &OutcomeLog, url: &str, entity_type: &str) -> Vec<String> {
    let stored = read(url, entity_type).await;
    let (entries, calls, mut problems) = outcomes.take();
    let mut versions: HashMap<Uuid, BTreeMap<i64, i64>> = HashMap::new();
    for (uuid, ordinal, _, version, ..) in &stored.log {
        versions.entry(*uuid).or_default().insert(*ordinal, *version);
    }
    let none = BTreeMap::new();
    let stored_versions = |uuid: &Uuid| versions.get(uuid).unwrap_or(&none);
    for (uuid, entry) in &entries {
        problems.extend(
            check_event(entry, stored_versions(uuid)).map(|problem| format!("{uuid}: {problem}")),
        );
    }
    for call in &calls {
        problems.extend(check_call(call, &entries, stored_versions));
    }
    problems.extend(check_states(&stored, &entries));
    problems
}

/// Everything that was committed, in the order of the log, and all entities.
pub(crate) async fn committed(url: &str) -> Committed {
    let entity = |(entity_type, entity_id, version, deleted, data): StoredRow| {
        let data = (!deleted).then(|| serde_json::from_str(&data).unwrap_or_default());
        (EntityKey { entity_type, entity_id }, (version as u64, data))
    };
    let change = |(entity_type, entity_id, version): ChangeRow| {
        (EntityKey { entity_type, entity_id }, version as u64)
    };
    let (changes, entities): (Vec<ChangeRow>, Vec<StoredRow>) = if url.starts_with("sqlite:") {
        let mut file = SqliteConnection::connect(url).await.unwrap();
        let mut transaction = file.begin().await.unwrap();
        let changes = sqlx::query_as(CHANGES).fetch_all(&mut *transaction).await.unwrap();
        (changes, sqlx::query_as(ALL_ENTITIES).fetch_all(&mut *transaction).await.unwrap())
    } else {
        let mut session = PgConnection::connect(url).await.unwrap();
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ";
        let mut transaction = session.begin_with(begin).await.unwrap();
        let changes = sqlx::query_as(CHANGES).fetch_all(&mut *transaction).await.unwrap();
        (changes, sqlx::query_as(ALL_ENTITIES).fetch_all(&mut *transaction).await.unwrap())
    };
    let entities = entities.into_iter().map(entity).collect();
    Committed::new(changes.into_iter().map(change).collect(), entities)
}

/// Reads both tables in one snapshot.
async fn read(url: &str, entity_type: &str) -> Stored {
    if url.starts_with("sqlite:") {
        let mut file = SqliteConnection::connect(url).await.unwrap();
        let mut transaction = file.begin().await.unwrap();
        let log = sqlx::query_as(LOG).bind(entity_type).fetch_all(&mut *transaction).await.unwrap();
        let entities =
            sqlx::query_as(ENTITIES).bind(entity_type).fetch_all(&mut *transaction).await;
        return Stored { log, entities: entities.unwrap() };
    }
    let mut session = PgConnection::connect(url).await.unwrap();
    let mut transaction =
        session.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let log = sqlx::query_as(LOG).bind(entity_type).fetch_all(&mut *transaction).await.unwrap();
    let entities = sqlx::query_as(ENTITIES).bind(entity_type).fetch_all(&mut *transaction).await;
    Stored { log, entities: entities.unwrap() }
}

/// Acknowledged means stored with the versions of the response, and new once; refused by all means
/// not stored; whatever is stored is complete. `stored` are versions by ordinal.
fn check_event(entry: &Entry, stored: &BTreeMap<i64, i64>) -> Option<String> {
    let wrong =
        |what: &str| Some(format!("{what}: outcomes {:?}, stored {stored:?}", entry.outcomes));
    if !stored.is_empty() && stored.len() != entry.event.updates.len() {
        return wrong("stored partially");
    }
    let (mut new, mut done, mut certain) = (0, 0, true);
    for outcome in &entry.outcomes {
        match outcome {
            Outcome::Done { duplicate, versions } => {
                done += 1;
                new += usize::from(!duplicate);
                if !stored.values().map(|&version| version as u64).eq(versions.iter().copied()) {
                    return wrong("acknowledged, but different in the log");
                }
            }
            // a stored event is a duplicate, whatever its conditions say then
            Outcome::PreconditionFailed if done > 0 => {
                return wrong("refused, after it was stored");
            }
            Outcome::PreconditionFailed
            | Outcome::Refused { retry_after: true }
            | Outcome::NotConnected => {}
            Outcome::Unknown | Outcome::NoResponse(_) => certain = false,
            Outcome::Refused { retry_after: false } | Outcome::Unexpected(_) => {
                return wrong("not a response of the contract");
            }
        }
    }
    match (stored.is_empty(), done, new) {
        (false, 0, _) if certain => wrong("refused, but stored"),
        (_, _, 2..) => wrong("new twice"),
        (_, 1.., 0) if certain => wrong("a duplicate of an event that was never new"),
        _ => None,
    }
}

/// The events of a request for one entity are applied in its order, but those that may have been
/// refused before they were sent again; an atomic one as a whole or not at all.
fn check_call<'s>(
    call: &Call,
    entries: &HashMap<Uuid, Entry>,
    stored: impl Fn(&Uuid) -> &'s BTreeMap<i64, i64>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut last: HashMap<&str, (Uuid, i64)> = HashMap::new();
    let outcomes = |uuid: &Uuid| entries.get(uuid).map(|entry| &entry.outcomes);
    for uuid in &call.events {
        let entry = entries.get(uuid).filter(|entry| !may_be_refused_first(entry));
        let updates = entry.map(|entry| entry.event.updates.iter());
        for (update, &version) in updates.into_iter().flatten().zip(stored(uuid).values()) {
            let id = &update.entity_id;
            let Some((earlier, before)) = last.insert(id, (*uuid, version)) else { continue };
            if before >= version {
                problems.push(format!(
                    "{}, {id}: {uuid} has version {version} (outcomes {:?}), but {earlier}, which is \
                     before it in the request, has {before} (outcomes {:?})",
                    call.method,
                    outcomes(uuid),
                    outcomes(&earlier)
                ));
            }
        }
    }
    let stored_count = call.events.iter().filter(|uuid| !stored(uuid).is_empty()).count();
    if call.atomic && stored_count != 0 && stored_count != call.events.len() {
        problems.push(format!("{} is stored partially: {:?}", call.method, call.events));
    }
    problems
}

/// Whether its entity may not have existed when the event was sent first: it deletes it, and was not
/// acknowledged at once.
fn may_be_refused_first(entry: &Entry) -> bool {
    let done = matches!(entry.outcomes.first(), Some(Outcome::Done { .. }));
    !done && entry.event.updates.iter().any(|update| update.operation == Operation::Delete)
}

/// Versions are the numbers from 1 without a gap, and the state is the fold of the events.
fn check_states(stored: &Stored, entries: &HashMap<Uuid, Entry>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut folds: BTreeMap<&str, State> = BTreeMap::new();
    for (uuid, ordinal, id, version, created, operation) in &stored.log {
        let sent = entries.get(uuid).and_then(|entry| entry.event.updates.get(*ordinal as usize));
        let Some(update) = sent.filter(|update| update.entity_id == *id) else {
            problems.push(format!("{uuid}: stored for {id}, but not sent for it"));
            continue;
        };
        let (last, state) = folds.entry(id).or_insert((0, None));
        if *version != *last + 1 {
            problems.push(format!("{id}: version {version} follows {last}"));
        }
        if *created != state.is_none() || *operation != log_code(update.operation) {
            problems.push(format!(
                "{id}: version {version} is logged with operation {operation}, created {created}, \
                 after {state:?}: {update:?}"
            ));
        }
        *last = *version;
        match apply(state.take(), update) {
            Ok(after) => *state = after,
            Err(problem) => problems.push(format!("{id}: version {version} {problem}")),
        }
    }
    for (id, version, deleted, data) in &stored.entities {
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        let fold = folds.remove(&**id).unwrap_or_default();
        if *deleted && data != Value::Object(Map::new()) {
            problems.push(format!("{id}: is deleted, but has the document {data}"));
        }
        let state = (*version, (!deleted).then_some(data));
        if fold != state {
            problems.push(format!("{id}: is {state:?}, but the fold of its log is {fold:?}"));
        }
    }
    problems.extend(folds.keys().map(|id| format!("{id}: in the log, but not in entities")));
    problems
}

/// The value of the log's column `operation`.
fn log_code(operation: Operation) -> i64 {
    match operation {
        Operation::Unspecified | Operation::Merge => 0,
        Operation::Replace => 1,
        Operation::Delete => 2,
    }
}

/// The document after an update.
fn apply(before: Option<Value>, update: &SentUpdate) -> Result<Option<Value>, &'static str> {
    let mut document = match (before, update.operation) {
        (None, Operation::Delete) => return Err("deletes what does not exist"),
        (Some(_), Operation::Delete) => return Ok(None),
        (Some(document), Operation::Unspecified | Operation::Merge) => document,
        (_, _) => Value::Object(Map::new()),
    };
    merge_patch(&mut document, &update.attributes);
    Ok(Some(document))
}
