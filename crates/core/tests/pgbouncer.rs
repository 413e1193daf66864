//! PostgreSQL behind a real PgBouncer in transaction mode, which gives each transaction whatever
//! session of the server is free.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use producer_core::Clock;
use producer_core::ingest::{ApplyError, ApplyMode, Verdict};
use producer_core::store::{DatabaseUrl, Pooler, Store, connect};
use producer_maintenance::migrate::OtherSessions;
use producer_maintenance::{Database, MaintenanceError, adopt, migrate, prune, rebuild};
use producer_test_support::{PgBouncer, Postgres};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use support::{
    Db, START, applied, apply_through, car, default, event, key, settings, unhurried, uuid,
};

const DEADLINE: Duration = Duration::from_secs(30);

async fn direct(db: &Db) -> PgConnection {
    PgConnection::connect(db.direct_url()).await.unwrap()
}

fn through(bouncer: &PgBouncer, name: &str) -> Database {
    let url = bouncer.url(name);
    Database::from(DatabaseUrl::parse(Some(&url)).unwrap()).through(Pooler::Transaction)
}

/// Lets the log's table note in which session each of its rows is written, and how that is set up.
const NOTE_SESSIONS: &str = r"
CREATE TABLE noted (pid int, settings text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noted SELECT pg_backend_pid(), string_agg(current_setting(name), ' ' ORDER BY at)
    FROM unnest(ARRAY['synchronous_commit', 'statement_timeout', 'lock_timeout',
                      'idle_in_transaction_session_timeout', 'transaction_isolation',
                      'enable_seqscan', 'jit']) WITH ORDINALITY AS s (name, at);
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT ON event_log FOR EACH ROW EXECUTE FUNCTION note();";

async fn noted(db: &Db, what: &'static str) -> Vec<String> {
    sqlx::query_scalar(what).fetch_all(&mut direct(db).await).await.unwrap()
}

#[tokio::test]
async fn every_transaction_is_set_up_whatever_the_server_defaults_to() {
    let db = Db::pgbouncer(default).await;
    let mut admin = direct(&db).await;
    admin.execute(NOTE_SESSIONS).await.unwrap();
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut admin).await.unwrap();
    for default in ["synchronous_commit = off", "default_transaction_isolation = 'serializable'"] {
        let alter = format!("ALTER DATABASE {name} SET {default}");
        admin.execute(AssertSqlSafe(alter)).await.unwrap();
    }
    // so that PgBouncer's sessions are those of the new defaults
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    admin.execute(end).await.unwrap();
    let mut writer = db.store.writer();
    for (n, patch) in [(1, r#"{"flat":1}"#), (2, r#"{"deep":{}}"#), (3, r#"{"flat":2}"#)] {
        apply_through(&mut *writer, &[car(n, "a", patch)]).await;
    }
    let seen = noted(&db, "SELECT DISTINCT settings FROM noted").await;
    assert_eq!(seen, ["on 2s 100ms 4s read committed off off"]);
}

/// Four processes, each with writers and readers, over two sessions of the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_share_few_sessions_and_lose_nothing() {
    const BATCHES: u128 = 40;
    let db = Db::pgbouncer(unhurried).await;
    direct(&db).await.execute(NOTE_SESSIONS).await.unwrap();
    let producers = (0..4_u128).map(|producer| {
        let store = db.again(START);
        async move {
            let store = store.await;
            let (one, other) = (produce(&store, producer * 2), produce(&store, producer * 2 + 1));
            tokio::join!(one, other);
        }
    });
    join_all(producers).await;
    let shared = db.entity("Car", "shared").await.unwrap();
    assert_eq!(u128::from(shared.version), 8 * BATCHES);
    assert_eq!(shared.data.matches(": 1").count() as u128, 8 * BATCHES);
    let sessions = noted(&db, "SELECT DISTINCT pid::text FROM noted").await;
    assert_eq!(sessions.len(), 2, "eight writers shared them: {sessions:?}");
}

/// Sends flat and deep events, each one twice, and reads between them.
async fn produce(store: &Arc<dyn Store>, producer: u128) {
    let mut writer = store.writer();
    for n in 0..40 {
        let patch = match n % 3 {
            0 => format!(r#"{{"o":{{"p{producer}n{n}":1}}}}"#),
            _ => format!(r#"{{"p{producer}n{n}":1}}"#),
        };
        let id = producer * 1000 + n;
        let batch = [event(id, &[("Car", "shared", &patch), ("Car", &id.to_string(), &patch)])];
        let verdicts = apply_through(&mut *writer, &batch).await;
        let read = store.event(uuid(id)).await.unwrap().unwrap();
        assert_eq!(read.updates.len(), 2);
        let again = apply_through(&mut *writer, &batch).await;
        assert!(matches!(verdicts[0], Verdict::Applied(_)), "{verdicts:?}");
        assert!(matches!(again[0], Verdict::Duplicate { .. }), "{again:?}");
        assert!(store.entity(&key("Car", "shared")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn what_others_hold_waits_aside() {
    let db = Db::pgbouncer(default).await;
    db.apply(&[car(1, "held", "{}"), car(2, "free", "{}")]).await;
    let mut foreign = direct(&db).await;
    let hold = "BEGIN; SELECT FROM entities WHERE entity_id = 'held' FOR UPDATE";
    foreign.execute(hold).await.unwrap();
    for (n, patch) in [(10, r#"{"flat":1}"#), (20, r#"{"deep":{}}"#)] {
        let verdicts = db.apply(&[car(n, "held", patch), car(n + 1, "free", patch)]).await;
        assert_eq!(verdicts[0], Verdict::Locked);
        assert!(matches!(verdicts[1], Verdict::Applied(_)));
    }
}

/// Polls `future` so many times and drops it.
async fn dropped_after<T>(polls: u32, future: impl Future<Output = T>) {
    let mut half = std::pin::pin!(future);
    for _ in 0..polls {
        tokio::select! {
            biased;
            _ = &mut half => break,
            () = tokio::task::yield_now() => {}
        }
    }
}

/// A read begins a transaction here, which must never go back to the pool with its connection.
#[tokio::test]
async fn reads_and_batches_dropped_half_way_leave_nothing_open() {
    let db = Db::pgbouncer(|settings| settings.max_connections = 2).await;
    db.apply(&[car(1, "a", "{}")]).await;
    let mut writer = db.store.writer();
    for step in 0..40_u32 {
        dropped_after(step, db.store.entity(&key("Car", "a"))).await;
        assert!(db.car("a").await.is_some());
        let n = 100 + u128::from(step);
        let batch = [car(n, "a", if step % 2 == 0 { r#"{"x":1}"# } else { r#"{"x":{}}"# })];
        dropped_after(step, writer.apply(&batch, ApplyMode::Normal)).await;
        let started = Instant::now();
        // the dropped one's session may hold its locks until the server sees it go
        while !apply_through(&mut *writer, &batch).await[0].is_stored() {
            assert!(started.elapsed() < DEADLINE);
        }
    }
    assert_eq!(db.entity("Car", "a").await.unwrap().version, 41);
    let open = "SELECT pid::text FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let started = Instant::now();
    while !noted(&db, open).await.is_empty() {
        assert!(started.elapsed() < DEADLINE, "a transaction stays open");
    }
}

#[tokio::test]
async fn a_pooler_that_is_gone_is_unavailable_and_comes_back_by_itself() {
    let bouncer = PgBouncer::before(Postgres::shared(), &["default_pool_size = 1"]);
    let db = Db::through(&bouncer, default).await;
    let mut writer = db.store.writer();
    apply_through(&mut *writer, &[car(1, "a", "{}")]).await;
    bouncer.kill();
    let refused = writer.apply(&[car(2, "a", "{}")], ApplyMode::Normal).await;
    // within 20 ms of the last batch the connection isn't looked at: then beginning fails
    assert!(matches!(refused, Err(ApplyError::Unavailable { .. })), "{refused:?}");
    assert!(db.store.ping().await.is_err());
    bouncer.start();
    assert_eq!(apply_through(&mut *writer, &[car(2, "a", "{}")]).await, [applied(vec![2])]);
    assert_eq!(db.store.ping().await, Ok(()));
}

const HINT: &str = "DATABASE_POOLER: \"none\" is invalid: ";

/// Whether PgBouncer refuses the connection's options or drops them silently.
#[tokio::test]
async fn without_the_setting_the_start_ends_with_a_line_that_names_it() {
    let refusing = PgBouncer::before(Postgres::shared(), &[]);
    let ignore = "ignore_startup_parameters = extra_float_digits, options";
    let ignoring = PgBouncer::before(Postgres::shared(), &[ignore]);
    let database = Postgres::shared().fresh_database().await;
    for bouncer in [refusing, ignoring] {
        let url = bouncer.url(database.name());
        let Err(error) = connect(&settings(&url, default)).await else { panic!("it was taken") };
        assert!(error.0.starts_with(HINT) && error.0.contains("transaction"), "{error}");
        assert!(!error.0.contains('\n'));
        let database = Database::from(DatabaseUrl::parse(Some(&url)).unwrap());
        let error = migrate::up(&database).await.unwrap_err();
        assert!(!error.is_transient() && error.to_string().starts_with(HINT), "{error}");
    }
}

#[tokio::test]
async fn options_in_the_url_are_named() {
    let bouncer = PgBouncer::before(Postgres::shared(), &[]);
    let url = bouncer.url("postgres") + "?options=-c%20work_mem%3D8MB";
    let pooled = settings(&url, |settings| settings.pooler = Pooler::Transaction);
    let Err(error) = connect(&pooled).await else { panic!("it was taken") };
    assert!(error.0.starts_with("DATABASE_URL: ") && error.0.contains("options"), "{error}");
}

/// Also through one session that others have used before.
#[tokio::test]
async fn migrating_goes_through_it_and_back_and_at_once() {
    let bouncer = PgBouncer::before(Postgres::shared(), &["default_pool_size = 1"]);
    let database = Postgres::shared().fresh_database().await;
    let (pooled, direct) = (through(&bouncer, database.name()), database.url());
    let direct = Database::from(DatabaseUrl::parse(Some(direct)).unwrap());
    for _ in 0..2 {
        let ways = [&pooled, &direct, &pooled, &pooled, &direct, &pooled];
        let runs = join_all(ways.map(migrate::up)).await;
        assert!(runs.iter().all(Result::is_ok), "{runs:?}");
        let steps = migrate::status(&pooled).await.unwrap();
        assert!(steps.iter().all(|step| step.applied.is_some()));
        assert!(!pooled.has_older_table().await.unwrap());
        migrate::down(&pooled, 0, OtherSessions::Ignore).await.unwrap();
        assert!(migrate::status(&pooled).await.unwrap().iter().all(|step| step.applied.is_none()));
    }
}

#[tokio::test]
async fn what_needs_a_session_of_its_own_says_so() {
    let bouncer = PgBouncer::before(Postgres::shared(), &[]);
    let database = through(&bouncer, "postgres");
    let (clock, day) = (Clock::system(), Duration::from_secs(86_400));
    let ignore = &mut |_| {};
    let errors = [
        rebuild::rebuild(&database, false, ignore).await.unwrap_err(),
        prune::prune(&database, day, &clock, ignore).await.unwrap_err(),
        adopt::adopt(&database, 1 << 20, &clock, ignore).await.unwrap_err(),
    ];
    for error in errors {
        let MaintenanceError::Refused(line) = error else { panic!("{error}") };
        assert!(line.starts_with("DATABASE_POOLER: ") && line.contains("DATABASE_URL"), "{line}");
    }
}
