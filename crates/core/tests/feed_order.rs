//! The order of the feed, with sessions that draw positions and commit late, or never.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use producer_core::Operation;
use producer_core::feed::{Feed, Item, Reader, Start};
use producer_core::model::UnavailableKind;
use producer_core::store::{DatabaseUrl, Store};
use producer_maintenance::{Database, epoch, migrate, prune};
use producer_test_support::Postgres;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use support::feed::{
    LONG, TestClock, caught_up, changes, feed, from, next_changes, page, pairs, read, refusal,
    tokens,
};
use support::{
    Db, START, apply, apply_through, car, clock, open, settings, sqlite_copy, unhurried,
};
use tokio::time::{Instant, sleep};

on_all!(
    a_token_of_another_database_is_gone,
    a_token_ahead_of_the_log_is_gone,
    a_pruned_log_that_is_written_again_skips_nothing,
);

/// A session of the test's own.
async fn session(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn run(session: &mut PgConnection, sql: &str) {
    session.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}

/// Writes a row of the log, whose position is drawn now.
async fn log(session: &mut PgConnection, id: &str, version: u64) {
    let created = version == 1;
    let insert = format!(
        "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created,
             entity_type, entity_id, event_name, patch)
         VALUES (gen_random_uuid(), 0, {version}, now(), {created}, 'Car', '{id}', 'Tested', '{{}}')"
    );
    run(session, &insert).await;
}

/// What a reader gets now. The tailer has looked at the log meanwhile.
async fn page_now(feed: &Feed, start: Start) -> Vec<(String, u64)> {
    changes(&feed.page(page(start)).await.unwrap().items)
}

async fn the_next(reader: &mut Reader, expected: &[(&str, u64)]) {
    let items = next_changes(reader, expected.len()).await;
    assert_eq!(changes(&items), pairs(expected));
}

/// From each token all that follows on it comes, in the same order.
async fn nothing_is_skipped(feed: &Feed, expected: &[(&str, u64)]) {
    let all = read(feed, Start::Oldest).await;
    assert_eq!(changes(&all), pairs(expected));
    for (behind, token) in (1..).zip(tokens(&all).into_iter().take(expected.len())) {
        assert_eq!(changes(&read(feed, Start::Token(token)).await), pairs(&expected[behind..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_late_comes_first() {
    let db = Db::postgres(unhurried).await;
    let feed = feed(&db.store);
    let mut reader = feed.watch(from(Start::Oldest)).await.unwrap();
    assert_eq!(changes(&caught_up(&mut reader).await), []);
    let mut late = session(db.direct_url()).await;
    run(&mut late, "BEGIN").await;
    log(&mut late, "late", 1).await;
    db.apply(&[car(1, "a", "{}")]).await;
    db.apply(&[car(2, "a", "{}")]).await;
    for start in [Start::Oldest, Start::Now] {
        assert_eq!(page_now(&feed, start).await, []);
    }
    log(&mut late, "late", 2).await;
    run(&mut late, "COMMIT").await;
    let expected = [("late", 1), ("a", 1), ("a", 2), ("late", 2)];
    the_next(&mut reader, &expected).await;
    nothing_is_skipped(&feed, &expected).await;
}

/// By windows of transaction ids version 2 would come before version 1, while a third transaction is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_keep_their_order_while_a_third_transaction_is_open() {
    let db = Db::postgres(unhurried).await;
    let feed = feed(&db.store);
    let mut reader = feed.watch(from(Start::Oldest)).await.unwrap();
    let [mut early, mut other, mut third] = [
        session(db.direct_url()).await,
        session(db.direct_url()).await,
        session(db.direct_url()).await,
    ];
    for session in [&mut early, &mut other, &mut third] {
        run(session, "BEGIN").await;
    }
    // the first has the lowest id, the second version 1, the third stays open between them
    run(&mut early, "SELECT pg_current_xact_id()").await;
    run(&mut third, "SELECT pg_current_xact_id()").await;
    log(&mut other, "x", 1).await;
    log(&mut third, "third", 1).await;
    assert_eq!(page_now(&feed, Start::Oldest).await, []);
    run(&mut other, "COMMIT").await;
    log(&mut early, "x", 2).await;
    run(&mut early, "COMMIT").await;
    // the second one's row has no open transaction before it, but that is not known of its position
    let seen = page_now(&feed, Start::Oldest).await;
    assert!(pairs(&[("x", 1)]).starts_with(&seen), "{seen:?}");
    db.apply(&[car(1, "a", "{}")]).await;
    run(&mut third, "COMMIT").await;
    let expected = [("x", 1), ("third", 1), ("x", 2), ("a", 1)];
    the_next(&mut reader, &expected).await;
    nothing_is_skipped(&feed, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_that_are_rolled_back_are_passed_over() {
    let db = Db::postgres(unhurried).await;
    let feed = feed(&db.store);
    let mut reader = feed.watch(from(Start::Oldest)).await.unwrap();
    let [mut one, mut two] = [session(db.direct_url()).await, session(db.direct_url()).await];
    for session in [&mut one, &mut two] {
        run(session, "BEGIN").await;
    }
    log(&mut one, "one", 1).await;
    db.apply(&[car(1, "a", "{}")]).await;
    log(&mut two, "two", 1).await;
    run(&mut one, "ROLLBACK").await;
    run(&mut two, "ROLLBACK").await;
    the_next(&mut reader, &[("a", 1)]).await;
    // the end of the log is no row, and no token
    let end = feed.page(page(Start::Now)).await.unwrap();
    assert!(end.caught_up);
    assert_eq!(end.next.position(), 2);
    db.apply(&[car(2, "a", "{}")]).await;
    the_next(&mut reader, &[("a", 2)]).await;
    assert_eq!(page_now(&feed, Start::Token(end.next)).await, pairs(&[("a", 2)]));
    nothing_is_skipped(&feed, &[("a", 1), ("a", 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_begins_while_the_log_is_held_gets_what_is_marked() {
    let db = Db::postgres(unhurried).await;
    let clock = TestClock::new();
    let store = open(&db.settings, clock.clock(0)).await;
    let mut writer = store.writer();
    for n in 1..4 {
        clock.set(i64::try_from(n).unwrap() * 10);
        apply(&mut *writer, &[car(n, "a", "{}")]).await;
        let marked = format!("SELECT position::text FROM event_log_times WHERE position = {n}");
        let deadline = Instant::now() + LONG;
        while db.texts(&marked).await.is_empty() {
            assert!(Instant::now() < deadline, "{n} is not marked");
            sleep(Duration::from_millis(2)).await;
        }
    }
    let mut holder = session(db.direct_url()).await;
    run(&mut holder, "BEGIN").await;
    log(&mut holder, "held", 1).await;
    apply(&mut *writer, &[car(4, "a", "{}")]).await;
    let feed = feed(&db.store);
    let mut reader = feed.watch(from(Start::Oldest)).await.unwrap();
    the_next(&mut reader, &[("a", 1), ("a", 2), ("a", 3)]).await;
    run(&mut holder, "COMMIT").await;
    the_next(&mut reader, &[("held", 1), ("a", 4)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_feed_back_is_described() {
    let db = Db::postgres(unhurried).await;
    let mut holder = session(db.direct_url()).await;
    run(&mut holder, "SET application_name = 'a report'; BEGIN").await;
    log(&mut holder, "held", 1).await;
    let pid: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut holder).await.unwrap();
    let head = db.store.head().await.unwrap();
    assert_eq!((head.drawn, head.writers.len(), head.writers[0].pid), (1, 1, Some(pid)));
    let described = db.store.describe(&head.writers[0]).await.unwrap();
    assert_eq!(
        described,
        format!(
            "session {pid} of postgres (a report); end it with: SELECT pg_terminate_backend({pid})"
        )
    );
    run(&mut holder, "ROLLBACK").await;
    assert_eq!(db.store.head().await.unwrap().writers, []);
}

/// A server of a test's own, with a migrated database.
async fn migrated(server: &Postgres) -> producer_test_support::Database<'_> {
    let database = server.fresh_database().await;
    migrate::up(&maintained(database.url())).await.unwrap();
    database
}

fn maintained(url: &str) -> Database {
    DatabaseUrl::parse(Some(url)).unwrap().into()
}

/// Without durability; what is not committed is written late.
const SERVER: &[&str] = &[
    "fsync=off",
    "shared_buffers=32MB",
    "wal_writer_delay=10s",
    "autovacuum=off",
    "max_prepared_transactions=5",
    "log_min_messages=fatal",
];

fn server() -> Postgres {
    Postgres::with_settings(SERVER).expect("PostgreSQL's server binaries")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_transaction_is_waited_for_and_described() {
    let server = server();
    let database = migrated(&server).await;
    let store = open(&settings(database.url(), unhurried), clock(START)).await;
    let feed = feed(&store);
    let mut prepared = session(database.url()).await;
    run(&mut prepared, "BEGIN").await;
    log(&mut prepared, "late", 1).await;
    run(&mut prepared, "PREPARE TRANSACTION 'forgotten'").await;
    prepared.close().await.unwrap();
    apply(&mut *store.writer(), &[car(1, "a", "{}")]).await;
    assert_eq!(page_now(&feed, Start::Oldest).await, []);
    let head = store.head().await.unwrap();
    assert_eq!((head.writers.len(), head.writers[0].pid), (1, None));
    let described = store.describe(&head.writers[0]).await.unwrap();
    assert!(described.starts_with("prepared transaction 'forgotten' of postgres"), "{described}");
    let mut reader = feed.watch(from(Start::Oldest)).await.unwrap();
    run(&mut session(database.url()).await, "COMMIT PREPARED 'forgotten'").await;
    the_next(&mut reader, &[("late", 1), ("a", 1)]).await;
}

/// The server is killed while positions are drawn that its log does not have yet: they are drawn again, by
/// transactions that commit in another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_that_are_drawn_again_after_a_crash_are_not_skipped() {
    for rolled_back in [false, true] {
        let server = server();
        let database = migrated(&server).await;
        let store = open(&settings(database.url(), unhurried), clock(START)).await;
        let feed = feed(&store);
        let mut reader = feed.watch(from(Start::Oldest)).await.unwrap();
        let mut writer = store.writer();
        for n in 1..4 {
            apply(&mut *writer, &[car(n, "a", "{}")]).await;
        }
        let mut before = next_changes(&mut reader, 3).await;
        before.retain(|item| matches!(item, Item::Change(_)));
        let mut holder = session(database.url()).await;
        run(&mut holder, "BEGIN").await;
        log(&mut holder, "never", 1).await;
        run(&mut holder, "SELECT nextval('event_log_position') FROM generate_series(1, 60)").await;
        if rolled_back {
            run(&mut holder, "ROLLBACK").await;
        }
        // the tailer has seen the last of them
        assert_eq!(page_now(&feed, Start::Now).await, []);
        server.kill();
        server.start();

        let mut open = session(database.url()).await;
        run(&mut open, "BEGIN").await;
        log(&mut open, "b", 1).await;
        let again: i64 = sqlx::query_scalar("SELECT last_value FROM event_log_position")
            .fetch_one(&mut open)
            .await
            .unwrap();
        // a rollback may have been written to the server's log at once
        assert!(rolled_back || again < 64, "{again}");
        apply_through(&mut *writer, &[car(4, "a", "{}")]).await;
        let deadline = Instant::now() + LONG;
        let seen = loop {
            match feed.page(page(Start::Now)).await {
                Ok(page) => break changes(&page.items),
                Err(problem) => assert!(Instant::now() < deadline, "{problem:?}"),
            }
        };
        assert_eq!(seen, []);
        run(&mut open, "COMMIT").await;
        the_next(&mut reader, &[("b", 1), ("a", 4)]).await;
        for (n, token) in (1..).zip(tokens(&before)) {
            let then = changes(&read(&feed, Start::Token(token)).await);
            assert_eq!(then, pairs(&[("a", 1), ("a", 2), ("a", 3), ("b", 1), ("a", 4)][n..]));
        }
    }
}

/// The service's role may draw positions and write, but not read the sequence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_read_the_sequence_can_write_and_is_told_so() {
    let server = server();
    let database = migrated(&server).await;
    run(
        &mut session(database.url()).await,
        "CREATE ROLE service LOGIN;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO service;
         GRANT USAGE ON SEQUENCE event_log_position TO service",
    )
    .await;
    let url = database.url().replace("//postgres@", "//service@");
    let store = open(&settings(&url, unhurried), clock(START)).await;
    let mut writer = store.writer();
    for n in 1..4 {
        apply(&mut *writer, &[car(n, "a", "{}")]).await;
    }
    let error = store.head().await.unwrap_err();
    assert_eq!(error.kind, UnavailableKind::Authentication, "{error}");
    assert!(error.text.contains("event_log_position"), "{error}");
    let refused = refusal(&feed(&store), Start::Oldest).await;
    assert!(refused.starts_with("unavailable: "), "{refused}");
    let grant = "GRANT SELECT ON SEQUENCE event_log_position TO service";
    run(&mut session(database.url()).await, grant).await;
    let feed = feed(&store);
    assert_eq!(changes(&read(&feed, Start::Oldest).await).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_goes_on_where_the_database_was_until_it_gets_a_new_epoch() {
    let server = server();
    let database = migrated(&server).await;
    let store = open(&settings(database.url(), unhurried), clock(START)).await;
    for n in 1..4 {
        apply(&mut *store.writer(), &[car(n, "a", "{}")]).await;
    }
    let read_before = tokens(&read(&feed(&store), Start::Oldest).await);
    let copy = server.fresh_database().await;
    let mut dump = Command::new(server.program("pg_dump").unwrap())
        .args(["--no-owner", "--dbname", database.url()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let restored = Command::new(server.program("psql").unwrap())
        .args(["--quiet", "-v", "ON_ERROR_STOP=1", "--dbname", copy.url()])
        .stdin(dump.stdout.take().unwrap())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(dump.wait().unwrap().success() && restored.success());
    let copied = open(&settings(copy.url(), unhurried), clock(START)).await;
    apply(&mut *copied.writer(), &[car(4, "a", "{}")]).await;
    goes_on_until_it_gets_a_new_epoch(&copied, copy.url(), &read_before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_file_goes_on_until_it_gets_a_new_epoch() {
    let db = Db::sqlite(support::default).await;
    for n in 1..4 {
        db.apply(&[car(n, "a", "{}")]).await;
    }
    let read_before = tokens(&read(&feed(&db.store), Start::Oldest).await);
    let (_file, url) = sqlite_copy(&db).await;
    let copied = open(&settings(&url, support::default), clock(START)).await;
    apply(&mut *copied.writer(), &[car(4, "a", "{}")]).await;
    goes_on_until_it_gets_a_new_epoch(&copied, &url, &read_before).await;
}

/// A copy has four changes, of which those before have read three.
async fn goes_on_until_it_gets_a_new_epoch(
    copy: &Arc<dyn Store>,
    url: &str,
    before: &[producer_core::feed::Token],
) {
    let all = [("a", 1), ("a", 2), ("a", 3), ("a", 4)];
    let feed = feed(copy);
    for (n, token) in (1..).zip(before.iter().take(3)) {
        let then = changes(&read(&feed, Start::Token(token.clone())).await);
        assert_eq!(then, pairs(&all[n..]));
    }
    let mut reader = feed.watch(from(Start::Token(before[2].clone()))).await.unwrap();
    the_next(&mut reader, &all[3..]).await;
    epoch::renew(&maintained(url)).await.unwrap();
    for token in before {
        let refused = refusal(&feed, Start::Token(token.clone())).await;
        assert!(refused.starts_with("gone: the token is of another log"), "{refused}");
    }
    // an open stream gets it as soon as something comes
    apply(&mut *copy.writer(), &[car(5, "a", "{}")]).await;
    let items = support::feed::items_to(&mut reader, |item| item.kind() == "gone").await;
    assert_eq!(changes(&items), []);
    assert!(reader.next().await.is_none());
    assert_eq!(changes(&read(&feed, Start::Oldest).await).len(), 5);
}

async fn a_token_of_another_database_is_gone(db: Db) {
    db.apply(&[car(1, "a", "{}")]).await;
    let other = Db::sqlite(support::default).await;
    for n in 1..4 {
        other.apply(&[car(n, "a", "{}")]).await;
    }
    for token in tokens(&read(&feed(&other.store), Start::Oldest).await) {
        let refused = refusal(&feed(&db.store), Start::Token(token)).await;
        assert!(refused.starts_with("gone: the token is of another log"), "{refused}");
    }
}

/// As where the database was restored to an earlier time, and `migrate new-epoch` was forgotten.
async fn a_token_ahead_of_the_log_is_gone(db: Db) {
    for n in 1..5 {
        db.apply(&[car(n, "a", "{}")]).await;
    }
    let read_before = tokens(&read(&feed(&db.store), Start::Oldest).await);
    let delete = "DELETE FROM event_log WHERE position > 2";
    match db.direct_url().starts_with("sqlite:") {
        true => drop(SqliteConnection::connect(&db.url).await.unwrap().execute(delete).await),
        false => run(&mut session(db.direct_url()).await, delete).await,
    }
    let feed = feed(&db.store);
    let then = changes(&read(&feed, Start::Token(read_before[0].clone())).await);
    assert_eq!(then, pairs(&[("a", 2)]));
    for token in &read_before[2..] {
        let refused = refusal(&feed, Start::Token(token.clone())).await;
        assert!(refused.starts_with("gone: the token is ahead of the log"), "{refused}");
    }
}

/// A log of which pruning has left next to nothing, and whose end was of a deleted entity.
async fn a_pruned_log_that_is_written_again_skips_nothing(db: Db) {
    let delete = |n| {
        let item = json!({"entityType": "Car", "entityId": "a",
                          "operation": Operation::Delete.as_str()});
        support::event_of(n, &[item])
    };
    for n in 1..4 {
        db.apply(&[car(n, "a", "{}")]).await;
    }
    db.apply(&[delete(4)]).await;
    let old = read(&feed(&db.store), Start::Oldest).await;
    let last = tokens(&old).pop().unwrap();
    for n in [10, 20] {
        let later = support::clock(START + 1_000_000);
        prune::prune(&db.database(), Duration::ZERO, &later, &mut |_| {}).await.unwrap();
        // who has read all goes on, also in a new process
        let feed = feed(&db.store);
        assert_eq!(changes(&read(&feed, Start::Token(last.clone())).await), []);
        for token in &tokens(&old)[..3] {
            let refused = refusal(&feed, Start::Token(token.clone())).await;
            assert!(refused.starts_with("gone: the changes that follow"), "{refused}");
        }
        if n == 20 {
            db.apply(&[car(n, "b", "{}"), car(n + 1, "a", "{}")]).await;
            let then = changes(&read(&feed, Start::Token(last.clone())).await);
            assert_eq!(then, pairs(&[("b", 1), ("a", 5)]));
        }
    }
}
