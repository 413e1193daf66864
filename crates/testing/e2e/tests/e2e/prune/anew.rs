//! Entities that are deleted and made anew while pruning removes them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use producer_e2e::proto::Operation;
use producer_e2e::{Binary, DEADLINE, Database, Outcome, Rest, SentEvent, SentUpdate, Service};
use serde_json::{Map, Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection, raw_sql};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::pruned;
use crate::macros::on_both_databases;
use crate::rebuild_is_clean;

on_both_databases!(entities_are_deleted_and_made_anew_while_they_are_pruned);

/// Writers of each of two processes.
const WRITERS: usize = 4;
/// Few, so that writers and pruning meet.
const ENTITIES: u128 = 16;
/// How many removals there must be at least.
const REMOVALS: usize = 25;

async fn entities_are_deleted_and_made_anew_while_they_are_pruned(database: &Database) {
    let one = Service::start(Binary::Rest, &database.settings()).await;
    let two = Service::start(Binary::Rest, &database.settings()).await;
    Journal::start(database).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for rest in [one.rest(), two.rest()] {
        for _ in 0..WRITERS {
            writers.spawn(write(rest.clone(), Arc::clone(&stop)));
        }
    }
    let start = Instant::now();
    while Journal::removals(database).await < REMOVALS {
        assert!(start.elapsed() < 4 * DEADLINE, "too few entities are removed");
        tokio::join!(pruned(database, "1ms"), pruned(database, "20ms"));
    }
    stop.store(true, Ordering::Relaxed);
    let sent = writers.join_all().await.concat();
    one.stop().await;
    two.stop().await;
    let journal = Journal::read(database).await;
    println!(
        "FIGURES made anew while pruned: {} events, {} updates, {} checkpoints of deleted entities, \
         {} removed, in {:.1?}",
        sent.len(),
        journal.updates().count(),
        journal.0.iter().filter(|entry| entry.0 == CHECKPOINT && entry.3 == 2).count(),
        journal.0.iter().filter(|entry| entry.0 == REMOVED).count(),
        start.elapsed()
    );
    journal.has_each_acknowledged_update_once(&sent);
    let states = journal.replay(&sent);
    assert_eq!(stored(database).await, states);
    rebuild_is_clean(database).await;
}

/// Sends events until it is stopped. None is sent again: of a pruned log a service would not know it.
async fn write(rest: Rest, stop: Arc<AtomicBool>) -> Vec<(SentEvent, Vec<u64>)> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let event = event();
        match rest.send(&event).await {
            Outcome::Done { duplicate: false, versions } => acknowledged.push((event, versions)),
            Outcome::PreconditionFailed => assert!(event.updates.iter().any(deletes), "{event:?}"),
            other => panic!("{other:?}: {event:?}"),
        }
        sleep(Duration::from_millis(random(8) as u64)).await;
    }
    acknowledged
}

/// One to three updates. Each that doesn't delete brings an attribute of its own.
fn event() -> SentEvent {
    let update = |uuid: Uuid| {
        let id = format!("car-{}", random(ENTITIES));
        let (operation, attributes) = match random(20) {
            0..5 => (Operation::Delete, json!({})),
            5..8 => (Operation::Replace, json!({ uuid.to_string(): 1 })),
            // one path of the database's takes flat patches, one all others
            8..14 => (Operation::Merge, json!({ uuid.to_string(): 1 })),
            _ => (Operation::Merge, json!({"deep": {uuid.to_string(): 1}, "none": null})),
        };
        SentUpdate { operation, ..SentUpdate::new("Car", &id, attributes) }
    };
    let count = if random(4) == 0 { 1 + random(3) } else { 1 };
    SentEvent {
        uuid: Uuid::new_v4(),
        updates: (0..count).map(|_| update(Uuid::new_v4())).collect(),
    }
}

fn random(below: u128) -> u128 {
    // the lowest bits of a random uuid are random
    Uuid::new_v4().as_u128() % (1 << 32) % below
}

fn deletes(update: &SentUpdate) -> bool {
    update.operation == Operation::Delete
}

/// An entity's version, and its document unless it is deleted.
type State = (i64, Option<Value>);

/// What was written into the log, and which entities' rows were deleted, in this order: triggers write
/// it, so that nothing is missed that pruning deletes later. An entity's row is locked by whoever
/// writes either, so that the order is right for each entity.
struct Journal(Vec<Entry>);

/// `kind`, entity, version, operation, `created`, uuid and ordinal of a row of the log, its patch. The
/// kind is -1 where the entity's row was deleted.
type Entry = (i64, String, i64, i64, bool, Uuid, i64, String);

const REMOVED: i64 = -1;
const CHECKPOINT: i64 = 2;

const POSTGRES_JOURNAL: &str = "
    CREATE TABLE journal (n bigserial PRIMARY KEY, kind bigint, id text, version bigint,
        operation bigint, created bool, uuid uuid, ordinal bigint, patch text);
    CREATE FUNCTION write_journal() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_TABLE_NAME = 'event_log' THEN
            INSERT INTO journal (kind, id, version, operation, created, uuid, ordinal, patch)
            VALUES (NEW.kind, NEW.entity_id, NEW.version, NEW.operation, NEW.created,
                NEW.event_uuid, NEW.ordinal, NEW.patch::text);
        ELSE
            INSERT INTO journal (kind, id, version, operation, created, uuid, ordinal, patch)
            VALUES (-1, OLD.entity_id, OLD.version, 0, false, gen_random_uuid(), 0, '{}');
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER logged AFTER INSERT ON event_log FOR EACH ROW EXECUTE FUNCTION write_journal();
    CREATE TRIGGER removed AFTER DELETE ON entities FOR EACH ROW EXECUTE FUNCTION write_journal();";

const SQLITE_JOURNAL: &str = "
    CREATE TABLE journal (n INTEGER PRIMARY KEY, kind INTEGER, id TEXT, version INTEGER,
        operation INTEGER, created INTEGER, uuid BLOB, ordinal INTEGER, patch TEXT);
    CREATE TRIGGER logged AFTER INSERT ON event_log BEGIN
        INSERT INTO journal (kind, id, version, operation, created, uuid, ordinal, patch)
        VALUES (NEW.kind, NEW.entity_id, NEW.version, NEW.operation, NEW.created, NEW.event_uuid,
            NEW.ordinal, NEW.patch);
    END;
    CREATE TRIGGER removed AFTER DELETE ON entities BEGIN
        INSERT INTO journal (kind, id, version, operation, created, uuid, ordinal, patch)
        VALUES (-1, OLD.entity_id, OLD.version, 0, 0, randomblob(16), 0, '{}');
    END;";

impl Journal {
    async fn start(database: &Database) {
        match database {
            Database::Postgres(_) => {
                raw_sql(POSTGRES_JOURNAL).execute(&mut postgres(database).await).await.map(drop)
            }
            Database::Sqlite(..) => {
                raw_sql(SQLITE_JOURNAL).execute(&mut sqlite(database).await).await.map(drop)
            }
        }
        .unwrap();
    }

    async fn removals(database: &Database) -> usize {
        const QUERY: &str = "SELECT count(*) FROM journal WHERE kind = -1";
        let removals: i64 = match database {
            Database::Postgres(_) => {
                sqlx::query_scalar(QUERY).fetch_one(&mut postgres(database).await).await
            }
            Database::Sqlite(..) => {
                sqlx::query_scalar(QUERY).fetch_one(&mut sqlite(database).await).await
            }
        }
        .unwrap();
        removals as usize
    }

    async fn read(database: &Database) -> Self {
        const QUERY: &str = "SELECT kind, id, version, operation, created, uuid, ordinal, patch
                             FROM journal ORDER BY n";
        let entries = match database {
            Database::Postgres(_) => {
                sqlx::query_as(QUERY).fetch_all(&mut postgres(database).await).await
            }
            Database::Sqlite(..) => {
                sqlx::query_as(QUERY).fetch_all(&mut sqlite(database).await).await
            }
        };
        Self(entries.unwrap())
    }

    fn updates(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(|entry| entry.0 == 0)
    }

    /// With the version that was answered; and there is no other.
    fn has_each_acknowledged_update_once(&self, sent: &[(SentEvent, Vec<u64>)]) {
        let mut logged = HashMap::new();
        for entry in self.updates() {
            let twice = logged.insert((entry.5, entry.6), (entry.1.clone(), entry.2));
            assert_eq!(twice, None, "twice in the log: {entry:?}");
        }
        for (event, versions) in sent {
            for ((ordinal, update), version) in (0..).zip(&event.updates).zip(versions) {
                let expected = (update.entity_id.clone(), *version as i64);
                assert_eq!(logged.remove(&(event.uuid, ordinal)), Some(expected), "{event:?}");
            }
        }
        assert_eq!(logged, HashMap::new(), "never acknowledged");
    }

    /// Replays the updates that were sent, in the order in which they were logged: between two births
    /// of an entity each version comes once, and checkpoints hold the state at their version.
    fn replay(&self, sent: &[(SentEvent, Vec<u64>)]) -> BTreeMap<String, State> {
        let sent: HashMap<Uuid, &SentEvent> = sent.iter().map(|(e, _)| (e.uuid, e)).collect();
        // of each entity every state since its birth
        let mut lives: BTreeMap<String, Vec<Option<Value>>> = BTreeMap::new();
        for entry @ (kind, id, version, operation, created, uuid, ordinal, patch) in &self.0 {
            let life = lives.entry(id.clone()).or_default();
            let current = life.last().cloned().flatten();
            match *kind {
                REMOVED => {
                    assert_eq!((life.len() as i64, current), (*version, None), "{entry:?}");
                    life.clear();
                }
                CHECKPOINT => {
                    let state = life[*version as usize - 1].clone();
                    let expected =
                        if state.is_some() { Operation::Replace } else { Operation::Delete };
                    assert_eq!(*operation, log_code(expected), "{entry:?}");
                    let patch: Value = serde_json::from_str(patch).unwrap();
                    assert_eq!(state.unwrap_or_else(|| json!({})), patch, "{entry:?}");
                }
                _ => {
                    let update = &sent[uuid].updates[*ordinal as usize];
                    assert_eq!((life.len() as i64 + 1, current.is_none()), (*version, *created));
                    assert_eq!(*operation, log_code(update.operation), "{entry:?}");
                    life.push(after(current, update));
                }
            }
        }
        let last = |(id, mut life): (String, Vec<Option<Value>>)| {
            let version = life.len() as i64;
            life.pop().map(|state| (id, (version, state)))
        };
        lives.into_iter().filter_map(last).collect()
    }
}

/// The column `operation`.
fn log_code(operation: Operation) -> i64 {
    match operation {
        Operation::Unspecified | Operation::Merge => 0,
        Operation::Replace => 1,
        Operation::Delete => 2,
    }
}

/// The state after an update; the patches of this test go no deeper than two levels.
fn after(before: Option<Value>, update: &SentUpdate) -> Option<Value> {
    let mut document = match (before, update.operation) {
        (None, Operation::Delete) => panic!("deletes what does not exist: {update:?}"),
        (_, Operation::Delete) => return None,
        (Some(document), Operation::Unspecified | Operation::Merge) => document,
        (None, _) | (_, Operation::Replace) => Value::Object(Map::new()),
    };
    for (name, value) in update.attributes.as_object().unwrap() {
        match value {
            Value::Null => {}
            Value::Object(members) => {
                let deep = &mut document[name];
                members.iter().for_each(|(name, value)| deep[name] = value.clone());
            }
            leaf => document[name] = leaf.clone(),
        }
    }
    Some(document)
}

async fn stored(database: &Database) -> BTreeMap<String, State> {
    const QUERY: &str = "SELECT entity_id, version, deleted, CAST(data AS text) FROM entities";
    let rows: Vec<(String, i64, bool, String)> = match database {
        Database::Postgres(_) => {
            sqlx::query_as(QUERY).fetch_all(&mut postgres(database).await).await
        }
        Database::Sqlite(..) => sqlx::query_as(QUERY).fetch_all(&mut sqlite(database).await).await,
    }
    .unwrap();
    let state = |(id, version, deleted, data): (String, i64, bool, String)| {
        let data = serde_json::from_str(&data).unwrap();
        (id, (version, (!deleted).then_some(data)))
    };
    rows.into_iter().map(state).collect()
}

async fn postgres(database: &Database) -> PgConnection {
    PgConnection::connect(database.url()).await.unwrap()
}

async fn sqlite(database: &Database) -> SqliteConnection {
    SqliteConnection::connect(database.url()).await.unwrap()
}
