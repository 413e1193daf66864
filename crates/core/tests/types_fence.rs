//! Writers that began before a definition was published, on PostgreSQL.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::time::Duration;

use producer_core::store::DatabaseUrl;
use producer_core::types::PartState;
use producer_maintenance::{Database, migrate};
use producer_test_support::Postgres;
use sqlx::{Connection, Executor, PgConnection};
use support::types::{QUICK, Running, declare, rows_are_right, settled, types, until};
use support::{Db, START, car, clock, default, open, unhurried};
use tokio::time::{Instant, sleep};

const INSERT: &str = "INSERT INTO entities
    (entity_type, entity_id, version, size, data, created_at, updated_at)
VALUES ('Car', 'late', 1, 7, '{\"a\":1}', '2026-01-01Z', '2026-01-01Z')";

/// Whether a builder has the part and has looked at who writes, again and again.
async fn is_awaited(db: &Db) {
    let looks = "SELECT lease_until::text FROM type_parts WHERE lease IS NOT NULL";
    let mut seen = Vec::new();
    until(async || {
        seen.extend(db.texts(looks).await);
        seen.sort();
        seen.dedup();
        seen.len() > 3
    })
    .await;
}

async fn state(db: &Db) -> PartState {
    types(&db.store).get("Car").await.unwrap().unwrap().parts[0].state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_has_written_is_waited_for() {
    let db = Db::postgres(unhurried).await;
    db.apply(&[car(1, "early", r#"{"a":1}"#)]).await;
    let mut late = PgConnection::connect(db.direct_url()).await.unwrap();
    late.execute("BEGIN").await.unwrap();
    late.execute(INSERT).await.unwrap();
    declare(&db.store, r#""data.a""#).await;
    let builder = Running::start(&db.store, QUICK);
    is_awaited(&db).await;
    assert_eq!(state(&db).await, PartState::Building);
    // others go on meanwhile, and later ones are not waited for
    db.apply(&[car(2, "meanwhile", r#"{"a":2}"#)]).await;
    late.execute("COMMIT").await.unwrap();
    settled(&db).await;
    builder.stop().await;
    assert_eq!(rows_are_right(&db).await, 3);
}

/// It belongs to no session any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_transaction_is_waited_for() {
    const SETTINGS: &[&str] = &["max_prepared_transactions=2", "fsync=off", "shared_buffers=32MB"];
    let server = Postgres::with_settings(SETTINGS).unwrap();
    let database = server.fresh_database().await;
    let maintained = Database::from(DatabaseUrl::parse(Some(database.url())).unwrap());
    migrate::up(&maintained).await.unwrap();
    let store = open(&support::settings(database.url(), unhurried), clock(START)).await;
    let mut session = PgConnection::connect(database.url()).await.unwrap();
    for statement in ["BEGIN", INSERT, "PREPARE TRANSACTION 'late'"] {
        session.execute(statement).await.unwrap();
    }
    declare(&store, r#""data.a""#).await;
    let builder = Running::start(&store, QUICK);
    let leases = "SELECT count(*) FROM type_parts WHERE lease IS NOT NULL AND total IS NOT NULL";
    until(async || {
        sqlx::query_scalar::<_, i64>(leases).fetch_one(&mut session).await.unwrap() == 1
    })
    .await;
    let writers = store.writers_of_entities().await.unwrap();
    assert_eq!((writers.len(), writers[0].pid), (1, None));
    let described = store.describe_writer(&writers[0]).await.unwrap();
    assert!(described.starts_with("prepared transaction 'late'"), "{described}");
    session.execute("COMMIT PREPARED 'late'").await.unwrap();
    let types = types(&store);
    until(async || types.get("Car").await.unwrap().unwrap().parts[0].state == PartState::Ready)
        .await;
    builder.stop().await;
    let rows = "SELECT count(*) FROM entity_index WHERE key IS NOT NULL";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&mut session).await.unwrap();
    assert_eq!(rows, 1);
}

/// A writer's statement that waits for an entity since before the definition was published has not seen it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_under_an_old_snapshot_is_waited_for() {
    for patches in [&[r#"{"a":1}"#][..], &[r#"{"a":1}"#, r#"{"a":2}"#], &[r#"{"a":1,"b":{"c":1}}"#]]
    {
        let db = Db::postgres(unhurried).await;
        db.apply(&[car(100, "warm", r#"{"x":1}"#), car(101, "warm", r#"{"x":{}}"#)]).await;
        let other = db.again(START).await;
        let mut holder = PgConnection::connect(db.direct_url()).await.unwrap();
        holder.execute("BEGIN").await.unwrap();
        holder.execute(INSERT).await.unwrap();
        let batch: Vec<_> = (1..).zip(patches).map(|(n, patch)| car(n, "late", patch)).collect();
        let waiting = tokio::spawn(async move {
            other.writer().apply(&batch, producer_core::ingest::ApplyMode::Normal).await
        });
        let waits = "SELECT count(*)::text FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until(async || db.texts(waits).await == ["1"]).await;
        declare(&db.store, r#""data.a""#).await;
        let builder = Running::start(&db.store, QUICK);
        is_awaited(&db).await;
        holder.execute("ROLLBACK").await.unwrap();
        let verdicts = waiting.await.unwrap().unwrap();
        assert!(verdicts.iter().all(|verdict| verdict.is_stored()), "{verdicts:?}");
        settled(&db).await;
        builder.stop().await;
        assert_eq!(rows_are_right(&db).await, 1, "{patches:?}");
    }
}

/// What others lock is waited for in short steps, and the rest of the database goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_entity_only_delays_the_builder() {
    let db = Db::postgres(default).await;
    db.apply(&[car(1, "a", r#"{"a":1}"#), car(2, "b", r#"{"a":1}"#)]).await;
    declare(&db.store, r#""data.a""#).await;
    let mut holder = PgConnection::connect(db.direct_url()).await.unwrap();
    holder.execute("BEGIN").await.unwrap();
    let lock = "SELECT FROM entities WHERE entity_id = 'b' FOR UPDATE";
    holder.execute(lock).await.unwrap();
    let builder = Running::start(&db.store, QUICK);
    is_awaited(&db).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(300) {
        db.apply(&[car(started.elapsed().as_nanos(), "a", r#"{"a":2}"#)]).await;
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(state(&db).await, PartState::Building);
    holder.execute("ROLLBACK").await.unwrap();
    settled(&db).await;
    builder.stop().await;
    assert_eq!(rows_are_right(&db).await, 2);
}
