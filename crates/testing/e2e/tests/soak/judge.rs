//! Holds what was heard against what is stored, asked of the tables, not of the services.

use std::collections::{BTreeMap, HashMap};

use e2e::Outcome;
use serde_json::{Map, Value};
use sqlx::{Connection, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::ledger::{Call, Entry, Ledger};

const LOG: &str = "SELECT event_uuid, CAST(ordinal AS bigint), entity_id, version FROM event_log \
                   WHERE entity_type = $1 AND kind = 0 ORDER BY entity_id, version";
const ENTITIES: &str =
    "SELECT entity_id, version, CAST(data AS text) FROM entities WHERE entity_type = $1";

/// One row of the log: uuid, ordinal, entity, version.
type Row = (Uuid, i64, String, i64);

/// What is stored.
struct Stored {
    log: Vec<Row>,
    entities: Vec<(String, i64, String)>,
}

/// Everything that is wrong, each in a sentence.
pub(crate) async fn findings(ledger: &Ledger, url: &str, entity_type: &str) -> Vec<String> {
    let stored = read(url, entity_type).await;
    let (entries, calls, mut findings) = ledger.take();
    let mut versions: HashMap<Uuid, BTreeMap<i64, i64>> = HashMap::new();
    for (uuid, ordinal, _, version) in &stored.log {
        versions.entry(*uuid).or_default().insert(*ordinal, *version);
    }
    let none = BTreeMap::new();
    let of = |uuid: &Uuid| versions.get(uuid).unwrap_or(&none);
    for (uuid, entry) in &entries {
        findings.extend(of_event(entry, of(uuid)).map(|wrong| format!("{uuid}: {wrong}")));
    }
    for call in &calls {
        findings.extend(of_call(call, &entries, of));
    }
    findings.extend(of_states(&stored, &entries));
    findings
}

/// Both tables at one moment.
async fn read(url: &str, entity_type: &str) -> Stored {
    if url.starts_with("sqlite:") {
        let mut file = SqliteConnection::connect(url).await.unwrap();
        let mut moment = file.begin().await.unwrap();
        let log = sqlx::query_as(LOG).bind(entity_type).fetch_all(&mut *moment).await.unwrap();
        let entities = sqlx::query_as(ENTITIES).bind(entity_type).fetch_all(&mut *moment).await;
        return Stored { log, entities: entities.unwrap() };
    }
    let mut session = PgConnection::connect(url).await.unwrap();
    let mut moment = session.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let log = sqlx::query_as(LOG).bind(entity_type).fetch_all(&mut *moment).await.unwrap();
    let entities = sqlx::query_as(ENTITIES).bind(entity_type).fetch_all(&mut *moment).await;
    Stored { log, entities: entities.unwrap() }
}

/// Acknowledged means stored, with the versions that were told, and new once; refused by all means
/// not stored; and whatever is stored is stored wholly. `stored` are versions by ordinal.
fn of_event(entry: &Entry, stored: &BTreeMap<i64, i64>) -> Option<String> {
    let wrong = |what: &str| Some(format!("{what}: heard {:?}, stored {stored:?}", entry.heard));
    if !stored.is_empty() && stored.len() != entry.event.updates.len() {
        return wrong("stored in part");
    }
    let (mut new, mut done, mut certain) = (0, 0, true);
    for outcome in &entry.heard {
        match outcome {
            Outcome::Done { duplicate, versions } => {
                done += 1;
                new += usize::from(!duplicate);
                if !stored.values().map(|&version| version as u64).eq(versions.iter().copied()) {
                    return wrong("acknowledged, but not so in the log");
                }
            }
            Outcome::Refused { retry_after: true } | Outcome::NotConnected => {}
            Outcome::Unknown | Outcome::Silent(_) => certain = false,
            Outcome::Refused { retry_after: false } | Outcome::Unexpected(_) => {
                return wrong("not an answer of the contract");
            }
        }
    }
    match (stored.is_empty(), done, new) {
        (false, 0, _) if certain => wrong("refused, but stored"),
        (_, _, 2..) => wrong("new twice"),
        (_, 1.., 0) if certain => wrong("a duplicate of nothing"),
        _ => None,
    }
}

/// Events of a call on one entity took effect in the call's order; of an atomic one all or none.
fn of_call<'s>(
    call: &Call,
    entries: &HashMap<Uuid, Entry>,
    stored: impl Fn(&Uuid) -> &'s BTreeMap<i64, i64>,
) -> Vec<String> {
    let mut findings = Vec::new();
    let mut last: HashMap<&str, (Uuid, i64)> = HashMap::new();
    let heard = |uuid: &Uuid| entries.get(uuid).map(|entry| &entry.heard);
    for uuid in &call.events {
        let updates = entries.get(uuid).map(|entry| entry.event.updates.iter());
        for ((_, id, _), &version) in updates.into_iter().flatten().zip(stored(uuid).values()) {
            let Some((earlier, before)) = last.insert(id, (*uuid, version)) else { continue };
            if before >= version {
                findings.push(format!(
                    "{}, {id}: {uuid} became version {version} (heard {:?}) before {earlier}, \
                     which stood before it in the call and became {before} (heard {:?})",
                    call.way,
                    heard(uuid),
                    heard(&earlier)
                ));
            }
        }
    }
    let kept = call.events.iter().filter(|uuid| !stored(uuid).is_empty()).count();
    if call.atomic && kept != 0 && kept != call.events.len() {
        findings.push(format!("{} is stored in part: {:?}", call.way, call.events));
    }
    findings
}

/// Versions are the whole numbers from 1, and the state is the fold of what was sent.
fn of_states(stored: &Stored, entries: &HashMap<Uuid, Entry>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut folds: BTreeMap<&str, (i64, Value)> = BTreeMap::new();
    for (uuid, ordinal, id, version) in &stored.log {
        let sent = entries.get(uuid).and_then(|entry| entry.event.updates.get(*ordinal as usize));
        let Some((_, _, patch)) = sent.filter(|update| update.1 == *id) else {
            findings.push(format!("{uuid}: stored for {id}, but never sent so"));
            continue;
        };
        let (last, state) = folds.entry(id).or_insert((0, Value::Object(Map::new())));
        if *version != *last + 1 {
            findings.push(format!("{id}: version {version} follows on {last}"));
        }
        *last = *version;
        merge(state, patch);
    }
    for (id, version, data) in &stored.entities {
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        let fold = folds.remove(&**id).unwrap_or_default();
        if fold != (*version, data.clone()) {
            findings.push(format!("{id}: is {version} {data}, its log makes {fold:?}"));
        }
    }
    findings.extend(folds.keys().map(|id| format!("{id}: in the log, but no entity")));
    findings
}

/// RFC 7396, as it stands there.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
