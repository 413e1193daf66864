//! What other sessions and a failing server do to the PostgreSQL adapter.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use producer_core::ingest::{ApplyError, ApplyMode, Verdict, Writer};
use producer_core::store::{DatabaseSettings, Store};
use producer_test_support::Postgres;
use serde_json::json;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{Connection, Executor};
use support::{
    Db, START, applied, apply, car, clock, default, event, event_of, open, settings, uuid,
};

/// Far longer than anything here should take.
const DEADLINE: Duration = Duration::from_secs(30);

async fn session(db: &Db) -> PgConnection {
    PgConnection::connect(&db.url).await.unwrap()
}

/// Applies until `done` is content with the answer.
async fn until(
    writer: &mut dyn Writer,
    batch: &[producer_core::Event],
    done: impl Fn(&Result<Vec<Verdict>, ApplyError>) -> bool,
) -> Result<Vec<Verdict>, ApplyError> {
    let started = Instant::now();
    loop {
        let answer = writer.apply(batch, ApplyMode::Normal).await;
        if done(&answer) {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "still {answer:?}");
    }
}

#[tokio::test]
async fn a_row_that_others_hold_waits_aside_and_its_neighbours_go_on() {
    let db = Db::postgres(default).await;
    db.apply(&[car(1, "held", "{}"), car(2, "free", "{}")]).await;
    let mut foreign = session(&db).await;
    foreign
        .execute("BEGIN; SELECT FROM entities WHERE entity_id = 'held' FOR UPDATE")
        .await
        .unwrap();
    for (n, patch) in [(10, r#"{"flat":1}"#), (20, r#"{"deep":{}}"#)] {
        let both = [("Car", "held", patch), ("Car", "behind", patch)];
        let batch = [event(n, &both), car(n + 1, "free", patch), car(n + 2, "behind", patch)];
        let verdicts = db.apply(&batch).await;
        assert_eq!((&verdicts[0], &verdicts[2]), (&Verdict::Locked, &Verdict::Locked));
        assert!(matches!(verdicts[1], Verdict::Applied(_)));
    }
    assert_eq!(db.car("held").await.unwrap(), "{}");
    assert_eq!(db.car("behind").await, None);
    // a condition waits too: it is judged by the state that the other session leaves
    let condition = |n, version: u64| {
        let item = json!({
            "entityType": "Car", "entityId": "held", "expectedVersion": version,
            "updatedAttributes": {},
        });
        event_of(n, &[item])
    };
    let batch = [condition(30, 1), condition(31, 7), car(32, "free", "{}")];
    let verdicts = db.apply(&batch).await;
    assert_eq!(verdicts[..2], [Verdict::Locked, Verdict::Locked]);
    assert!(matches!(verdicts[2], Verdict::Applied(_)));
    foreign.execute("UPDATE entities SET version = 7 WHERE entity_id = 'held'").await.unwrap();
    foreign.execute("COMMIT").await.unwrap();
    let verdicts = db.apply(&batch[..2]).await;
    assert!(matches!(verdicts[0], Verdict::PreconditionFailed(..)), "{verdicts:?}");
    assert_eq!(verdicts[1], applied(vec![8]));
    assert_eq!(db.apply(&[car(10, "held", "{}")]).await, [applied(vec![9])]);
}

/// The held row comes to light when the first parts of the event are written already.
#[tokio::test]
async fn an_event_in_parts_waits_as_a_whole() {
    let db = Db::postgres(|settings| settings.statement_timeout = Duration::from_secs(30)).await;
    let full = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000_000));
    let ids: Vec<String> = (0..12).map(|n| format!("full{n:02}")).collect();
    for (n, id) in (0..).zip(&ids) {
        db.apply(&[car(n, id, &full)]).await;
    }
    let mut foreign = session(&db).await;
    let hold = "BEGIN; SELECT FROM entities WHERE entity_id = 'full11' FOR UPDATE";
    foreign.execute(hold).await.unwrap();
    let updates: Vec<_> = ids.iter().map(|id| ("Car", id.as_str(), r#"{"o":{}}"#)).collect();
    let batch = [event(20, &updates), car(21, "full00", "{}"), car(22, "free", "{}")];
    let verdicts = db.apply(&batch).await;
    assert_eq!(verdicts, [Verdict::Locked, Verdict::Locked, applied(vec![1])]);
    assert_eq!(db.entity("Car", "full00").await.unwrap().version, 1);
    foreign.execute("COMMIT").await.unwrap();
    assert_eq!(db.apply(&batch[..1]).await, [applied(vec![2; 12])]);
}

#[tokio::test]
async fn atomic_stores_nothing_while_others_hold_a_row() {
    let db = Db::postgres(default).await;
    db.apply(&[car(1, "held", "{}")]).await;
    let mut foreign = session(&db).await;
    foreign
        .execute("BEGIN; SELECT FROM entities WHERE entity_id = 'held' FOR UPDATE")
        .await
        .unwrap();
    let batch = [car(2, "free", "{}"), car(3, "held", "{}")];
    let verdicts = db.store.writer().apply(&batch, ApplyMode::Atomic).await.unwrap();
    assert_eq!(verdicts, [applied(vec![1]), Verdict::Locked]);
    assert_eq!(db.car("free").await, None);
}

#[tokio::test]
async fn a_key_that_others_are_inserting_splits_the_batch() {
    let db = Db::postgres(default).await;
    let mut foreign = session(&db).await;
    let insert =
        "BEGIN; INSERT INTO entities VALUES ('Car', 'new', 1, 2, false, '{}', now(), now())";
    foreign.execute(insert).await.unwrap();
    let mut writer = db.store.writer();
    let batch = [car(1, "new", r#"{"a":1}"#), car(2, "free", "{}")];
    let refused = writer.apply(&batch, ApplyMode::Normal).await;
    assert!(matches!(refused, Err(ApplyError::Refused(_))), "{refused:?}");
    let halves = batch.each_ref().map(std::slice::from_ref);
    let first = writer.apply(halves[0], ApplyMode::SkipLocked).await;
    assert_eq!(first, Ok(vec![Verdict::Locked]));
    let second = writer.apply(halves[1], ApplyMode::SkipLocked).await;
    assert_eq!(second, Ok(vec![applied(vec![1])]));
    foreign.execute("ROLLBACK").await.unwrap();
    assert_eq!(apply(&mut *writer, halves[0]).await, [applied(vec![1])]);
}

#[tokio::test]
async fn a_deadlock_with_a_foreign_session_is_settled() {
    let db = Db::postgres(|settings| settings.lock_timeout = Duration::from_secs(10)).await;
    db.apply(&[car(1, "a", "{}"), car(2, "b", "{}")]).await;
    let mut foreign = session(&db).await;
    let lock_b = "SET deadlock_timeout = '10s'; BEGIN; UPDATE entities SET size = size WHERE entity_id = 'b'";
    foreign.execute(lock_b).await.unwrap();
    let store = db.again(START).await;
    let ours = tokio::spawn(async move {
        let batch = [car(3, "a", r#"{"x":1}"#), car(4, "b", r#"{"x":1}"#)];
        store.writer().apply(&batch, ApplyMode::Normal).await
    });
    wait_for_lock(&db).await;
    // ours holds a and waits for b: now the foreign one wants a; ours is the one that looks first
    let theirs =
        foreign.execute("UPDATE entities SET size = size WHERE entity_id = 'a'; COMMIT").await;
    assert!(theirs.is_ok(), "{theirs:?}");
    let verdicts = ours.await.unwrap();
    assert_eq!(verdicts, Ok(vec![applied(vec![2]); 2]));
}

/// Waits until a session of ours waits for a lock.
async fn wait_for_lock(db: &Db) {
    let mut admin = session(db).await;
    let started = Instant::now();
    loop {
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'producer'
             AND datname = current_database() AND wait_event_type = 'Lock')",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        if waiting {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "no one waits");
    }
}

#[tokio::test]
async fn a_killed_connection_is_replaced() {
    let db = Db::postgres(default).await;
    let mut writer = db.store.writer();
    apply(&mut *writer, &[car(1, "a", "{}")]).await;
    assert!(db.car("a").await.is_some());
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'producer' AND datname = current_database()";
    session(&db).await.execute(kill).await.unwrap();
    assert!(db.car("a").await.is_some(), "a read finds a fresh connection by itself");
    let batch = [car(2, "a", r#"{"x":1}"#)];
    let settled = until(&mut *writer, &batch, Result::is_ok).await.unwrap();
    assert_eq!(settled, [applied(vec![2])]);
}

#[tokio::test]
async fn a_statement_that_times_out_leaves_a_usable_writer() {
    let db = Db::postgres(|settings| {
        settings.statement_timeout = Duration::from_millis(200);
        settings.lock_timeout = Duration::from_secs(10);
    });
    let db = db.await;
    db.apply(&[car(1, "a", "{}")]).await;
    let mut foreign = session(&db).await;
    foreign.execute("BEGIN; SELECT FROM entities FOR UPDATE").await.unwrap();
    let mut writer = db.store.writer();
    for (n, patch) in [(2, r#"{"x":1}"#), (3, r#"{"x":{}}"#)] {
        let timed_out = writer.apply(&[car(n, "a", patch)], ApplyMode::Normal).await;
        assert!(matches!(timed_out, Err(ApplyError::Unavailable { .. })), "{timed_out:?}");
    }
    foreign.execute("ROLLBACK").await.unwrap();
    let batch = [car(2, "a", r#"{"x":1}"#), car(3, "a", r#"{"x":{}}"#)];
    let verdicts = apply(&mut *writer, &batch).await;
    assert_eq!(verdicts, [applied(vec![2]), applied(vec![3])]);
}

/// sqlx#4393: in 0.9.0 a `begin` dropped half-way leaves its transaction open in the pool.
#[tokio::test]
async fn an_apply_dropped_half_way_leaves_nothing_open() {
    let db = Db::postgres(default).await;
    db.apply(&[car(1, "a", "{}")]).await;
    let mut writer = db.store.writer();
    for step in 0..40_u32 {
        let n = 100 + u128::from(step);
        let batch = [car(n, "a", r#"{"x":{}}"#)];
        {
            let mut half = std::pin::pin!(writer.apply(&batch, ApplyMode::Normal));
            for _ in 0..step {
                tokio::select! {
                    biased;
                    _ = &mut half => break,
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        let settled = until(&mut *writer, &batch, |answer| {
            // the dropped one's connection may hold its locks until the server sees it go
            answer.as_ref().is_ok_and(|verdicts| verdicts[0] != Verdict::Locked)
        });
        settled.await.unwrap();
        assert!(db.store.event(uuid(n)).await.unwrap().is_some());
    }
    assert_eq!(db.entity("Car", "a").await.unwrap().version, 41);
}

/// The hazard itself, on a pool of one: our reads must survive it, which they do by never beginning
/// a transaction.
#[tokio::test]
async fn reads_dropped_half_way_leave_the_pool_usable() {
    let db = Db::postgres(|settings| settings.max_connections = 2).await;
    db.apply(&[car(1, "a", "{}")]).await;
    for step in 0..20 {
        {
            let key = support::key("Car", "a");
            let mut half = std::pin::pin!(db.store.entity(&key));
            for _ in 0..step {
                tokio::select! {
                    biased;
                    _ = &mut half => break,
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        assert!(db.car("a").await.is_some());
    }
}

#[tokio::test]
async fn a_database_that_is_not_migrated_is_unavailable() {
    let database = Postgres::shared().fresh_database().await;
    let store = open(&settings(database.url(), default), clock(START)).await;
    let answer = store.writer().apply(&[car(1, "a", "{}")], ApplyMode::Normal).await;
    assert!(matches!(answer, Err(ApplyError::Unavailable { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_read_only_database_is_unavailable() {
    let db = Db::postgres(default).await;
    let mut admin = session(&db).await;
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut admin).await.unwrap();
    let alter = |to: &str| {
        let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {to}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
    };
    alter("on").execute(&mut admin).await.unwrap();
    let mut writer = db.store.writer();
    let answer = writer.apply(&[car(1, "a", "{}")], ApplyMode::Normal).await;
    assert!(matches!(answer, Err(ApplyError::Unavailable { .. })), "{answer:?}");
    alter("off").execute(&mut admin).await.unwrap();
    assert_eq!(apply(&mut *writer, &[car(1, "a", "{}")]).await, [applied(vec![1])]);
}

async fn migrated<'s>(server: &'s Postgres) -> producer_test_support::Database<'s> {
    use producer_core::store::DatabaseUrl;
    use producer_maintenance::{Database, migrate};
    let database = server.fresh_database().await;
    let url = DatabaseUrl::parse(Some(database.url())).unwrap();
    migrate::up(&Database::from(url)).await.unwrap();
    database
}

/// Lets a writer's connection be idle for long enough to be tested before it is used.
async fn idle() {
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(30) {
        tokio::task::yield_now().await;
    }
}

fn short(settings: &mut DatabaseSettings) {
    settings.statement_timeout = Duration::from_millis(300);
    settings.acquire_timeout = Duration::from_millis(500);
}

#[tokio::test]
async fn a_server_that_freezes_leaves_the_outcome_unknown_and_a_second_try_settles_it() {
    let server = Postgres::own();
    let database = migrated(&server).await;
    let store = open(&settings(database.url(), short), clock(START)).await;
    let mut writer = store.writer();
    let batch = |n: u128| [car(2 * n, "a", r#"{"x":1}"#), car(2 * n + 1, "b", r#"{"x":1}"#)];
    let (froze, frozen) = tokio::sync::oneshot::channel();
    let under_load = tokio::spawn(async move {
        let mut frozen = Some(froze);
        for n in 0.. {
            if let Err(error) = writer.apply(&batch(n), ApplyMode::Normal).await {
                return (writer, n, error);
            }
            // after the first batch the log is marked with a time, before the next one is sent
            if n > 1
                && let Some(started) = frozen.take()
            {
                started.send(()).unwrap();
            }
        }
        unreachable!()
    });
    frozen.await.unwrap();
    server.freeze();
    let (mut writer, n, error) = under_load.await.unwrap();
    assert!(matches!(error, ApplyError::Unknown { .. }), "{error:?}");
    let still = writer.apply(&batch(n), ApplyMode::Normal).await;
    assert!(matches!(still, Err(ApplyError::Unavailable { .. })), "{still:?}");
    assert!(store.ping().await.is_err());
    server.thaw();
    until(&mut *writer, &batch(n), Result::is_ok).await.unwrap();
    for id in ["a", "b"] {
        let entity = store.entity(&support::key("Car", id)).await.unwrap().unwrap();
        assert_eq!(u128::from(entity.version), n + 1, "applied exactly once");
    }
}

/// Nothing was sent over the connection that does not respond: no outcome is unknown.
#[tokio::test]
async fn a_server_that_froze_while_idle_is_unavailable() {
    let server = Postgres::own();
    let database = migrated(&server).await;
    let store = open(&settings(database.url(), short), clock(START)).await;
    let mut writer = store.writer();
    apply(&mut *writer, &[car(1, "a", "{}")]).await;
    server.freeze();
    idle().await;
    let answer = writer.apply(&[car(2, "a", "{}")], ApplyMode::Normal).await;
    assert!(matches!(answer, Err(ApplyError::Unavailable { .. })), "{answer:?}");
    server.thaw();
    let settled = until(&mut *writer, &[car(2, "a", "{}")], Result::is_ok).await;
    assert_eq!(settled, Ok(vec![applied(vec![2])]));
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_and_comes_back_by_itself() {
    let server = Postgres::own();
    let database = migrated(&server).await;
    let store = open(&settings(database.url(), short), clock(START)).await;
    let mut writer = store.writer();
    apply(&mut *writer, &[car(1, "a", "{}")]).await;
    for bring_down in [Postgres::stop, Postgres::kill] {
        bring_down(&server);
        idle().await;
        let batch = [car(2, "a", "{}")];
        let down = writer.apply(&batch, ApplyMode::Normal).await;
        assert!(matches!(down, Err(ApplyError::Unavailable { .. })), "{down:?}");
        assert!(store.ping().await.is_err());
        server.start();
        until(&mut *writer, &batch, Result::is_ok).await.unwrap();
        assert!(store.ping().await.is_ok());
    }
    let a = store.entity(&support::key("Car", "a")).await.unwrap().unwrap();
    assert_eq!(a.version, 2, "applied exactly once");
}

/// Every idle connection of the pool is broken then, and the pool doesn't know.
#[tokio::test]
async fn the_first_read_after_a_restart_answers() {
    let server = Postgres::own();
    let database = migrated(&server).await;
    let store = open(&settings(database.url(), default), clock(START)).await;
    apply(&mut *store.writer(), &[car(1, "a", "{}")]).await;
    for restart in [Postgres::stop, Postgres::kill] {
        fill_the_pool(&*store).await;
        restart(&server);
        server.start();
        assert_eq!(store.ping().await, Ok(()));
        fill_the_pool(&*store).await;
        restart(&server);
        server.start();
        let a = store.entity(&support::key("Car", "a")).await.unwrap().unwrap();
        assert_eq!(a.version, 1);
    }
}

/// Reads side by side until every connection of the pool is open and idle.
async fn fill_the_pool(store: &dyn Store) {
    let started = Instant::now();
    let pool = || store.pool().unwrap();
    while pool().open < pool().max {
        let pings = (0..pool().max).map(|_| store.ping());
        assert!(join_all(pings).await.iter().all(Result::is_ok));
        assert!(started.elapsed() < DEADLINE, "still {:?}", pool());
    }
    while pool().idle < pool().max {
        assert!(started.elapsed() < DEADLINE, "still {:?}", pool());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_no_error() {
    let nowhere = settings("postgres://nobody@127.0.0.1:1/none", short);
    let store = producer_core::store::connect(&nowhere).await.unwrap();
    assert!(store.ping().await.is_err());
}

/// A reader of the log orders each entity by position.
#[tokio::test]
async fn positions_rise_with_versions_within_an_entity() {
    let db = Db::postgres(default).await;
    let pool = PgPoolOptions::new().connect(&db.url).await.unwrap();
    for round in 0..12_u128 {
        let id = |n: u128| format!("car{}", (n * 7) % 40);
        let batch: Vec<_> =
            (0..300).map(|n| car(round * 1000 + n, &id(n), &format!(r#"{{"n":{n}}}"#))).collect();
        db.apply(&batch).await;
    }
    let disorder: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT version - lag(version) OVER
            (PARTITION BY entity_type, entity_id ORDER BY position) AS step FROM event_log) AS s
         WHERE step <> 1",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(disorder, 0);
}
