//! Migrations where another session holds a lock.

use std::time::Duration;

use producer_maintenance::migrate::{self, OtherSessions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fixture::Fixture;

/// Only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(30);

async fn holder(fixture: &Fixture, statements: &'static str) -> PgConnection {
    let options: PgConnectOptions = fixture.url().parse().expect("a URL");
    let mut holder = options.application_name("the holder").connect().await.expect("a connection");
    holder.execute(statements).await.expect("it holds the lock");
    holder
}

async fn both_in_time<A, B>(
    one: impl Future<Output = A>,
    other: impl Future<Output = B>,
) -> (A, B) {
    timeout(DEADLINE, async { tokio::join!(one, other) }).await.expect("in time")
}

async fn pid(holder: &mut PgConnection) -> String {
    sqlx::query_scalar("SELECT pg_backend_pid()::text").fetch_one(holder).await.expect("a pid")
}

fn names_the_holder(line: &str, pid: &str) {
    for word in [pid, "the holder", "since 2"] {
        assert!(line.contains(word), "{word} in {line}");
    }
}

#[tokio::test]
async fn a_session_that_holds_the_migrations_lock_is_named_and_waited_for() {
    let [fixture, _] = Fixture::both().await;
    let mut holder = holder(&fixture, "SELECT pg_advisory_lock(8101259051807302003)").await;
    let pid = pid(&mut holder).await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let database = fixture.database();
    let report = &mut |line: &str| drop(report.send(line.to_owned()));
    let up = migrate::up_reporting(&database, report);
    let look_on = async {
        names_the_holder(&reports.recv().await.expect("a line"), &pid);
        let one = migrate::attempt_up(&fixture.database()).await.expect_err("it is still held");
        assert!(one.is_transient(), "{one}");
        names_the_holder(&one.to_string(), &pid);
        holder.close().await.expect("closed");
    };
    let (up, ()) = both_in_time(up, look_on).await;
    up.expect("migrated");
}

/// A statement that waits for a table lets nobody past: it must give up soon and let them.
#[tokio::test]
async fn a_migration_behind_a_long_reader_does_not_block_everyone_else() {
    let [fixture, _] = Fixture::both_migrated().await;
    let mut reader = holder(&fixture, "BEGIN; SELECT FROM entities").await;
    let pid = pid(&mut reader).await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let database = fixture.database();
    let report = &mut |line: &str| drop(report.send(line.to_owned()));
    let down = migrate::down_reporting(&database, 0, OtherSessions::Ignore, report);
    let look_on = async {
        for _ in 0..2 {
            names_the_holder(&reports.recv().await.expect("a line"), &pid);
            assert_eq!(fixture.text("SELECT count(*) FROM entities").await, "0", "others get past");
        }
        reader.execute("COMMIT").await.expect("committed");
    };
    let (down, ()) = both_in_time(down, look_on).await;
    down.expect("reverted");
}

#[tokio::test]
async fn a_process_that_writes_an_sqlite_file_is_waited_for() {
    let [_, fixture] = Fixture::both().await;
    let mut writer = fixture.sqlite().await;
    writer.execute("BEGIN IMMEDIATE; CREATE TABLE other (id)").await.expect("it writes");
    let (report, mut reports) = mpsc::unbounded_channel();
    let database = fixture.database();
    let report = &mut |line: &str| drop(report.send(line.to_owned()));
    let up = migrate::up_reporting(&database, report);
    let look_on = async {
        let line = reports.recv().await.expect("a line");
        assert!(line.contains("locked"), "{line}");
        writer.execute("COMMIT").await.expect("committed");
    };
    let (up, ()) = both_in_time(up, look_on).await;
    up.expect("migrated");
}
