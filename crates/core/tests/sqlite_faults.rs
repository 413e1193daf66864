//! What is SQLite's alone: its version, its write_lock, its files.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::time::{Duration, Instant};

use producer_core::ingest::{ApplyError, ApplyMode};
use producer_core::store::connect;
use producer_test_support::sqlite_file;
use sqlx::{Connection, Executor, SqliteConnection};
use support::{Db, START, applied, apply, car, clock, default, made, open, settings};

/// SQLite 3.7.0 to 3.51.2 may corrupt a database when its write-ahead log is reset.
#[tokio::test]
async fn sqlite_is_new_enough() {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    let version: String =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await.unwrap();
    let numbers: Vec<u32> = version.split('.').map(|number| number.parse().unwrap()).collect();
    assert!(numbers >= vec![3, 51, 3], "{version}");
}

#[tokio::test]
async fn what_is_acknowledged_is_durable() {
    let db = Db::sqlite(default).await;
    let mut file = SqliteConnection::connect(&db.url).await.unwrap();
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut file).await.unwrap();
    assert_eq!(mode, "wal");
    let options = producer_core::store::sqlite::options(std::path::Path::new(
        db.url.strip_prefix("sqlite://").unwrap(),
    ));
    let mut ours = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let full: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut ours).await.unwrap();
    assert_eq!(full, 2, "synchronous=FULL");
}

#[tokio::test]
async fn the_folder_is_made() {
    let folder = sqlite_file();
    let url = format!("sqlite://{}/a/b/producer.db", folder.path().parent().unwrap().display());
    let store = connect(&settings(&url, default)).await.unwrap();
    assert_eq!(
        store.ping().await.unwrap_err().kind,
        producer_core::model::UnavailableKind::Schema,
        "no table is there yet"
    );
}

/// Or two processes that know the file by two names would take their write_lock apart, and the log that
/// SQLite keeps beside the file itself would never be seen to grow.
#[tokio::test]
async fn a_link_to_the_file_has_nothing_beside_it() {
    let (db, linked) = (Db::sqlite(default).await, sqlite_file());
    std::os::unix::fs::symlink(db.url.strip_prefix("sqlite://").unwrap(), linked.path()).unwrap();
    let store = open(&settings(&linked.url(), default), clock(START)).await;
    apply(&mut *store.writer(), &[car(1, "a", "{}")]).await;
    assert!(db.entity("Car", "a").await.is_some());
    let beside = std::fs::read_dir(linked.path().parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "the link alone");
}

#[tokio::test]
async fn a_file_that_is_no_database_ends_the_start_with_one_line() {
    let file = sqlite_file();
    std::fs::write(file.path(), "this is a text, and a long one at that ".repeat(50)).unwrap();
    let Err(error) = connect(&settings(&file.url(), default)).await else {
        panic!("it was opened")
    };
    assert!(error.0.starts_with("DATABASE_URL: ") && !error.0.contains('\n'), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_migrated_is_unavailable() {
    let file = sqlite_file();
    let store = open(&settings(&file.url(), default), clock(START)).await;
    let answer = store.writer().apply(&[car(1, "a", "{}")], ApplyMode::Normal).await;
    assert!(matches!(answer, Err(ApplyError::Unavailable { .. })), "{answer:?}");
}

/// A tool that keeps the file locked costs a 503, nothing else.
#[tokio::test]
async fn a_file_that_others_keep_locked_is_unavailable_and_then_usable() {
    let db = Db::sqlite(default).await;
    let mut writer = db.store.writer();
    let mut foreign = SqliteConnection::connect(&db.url).await.unwrap();
    foreign.execute("BEGIN IMMEDIATE").await.unwrap();
    let answer = writer.apply(&[car(1, "a", "{}")], ApplyMode::Normal).await;
    assert!(matches!(answer, Err(ApplyError::Unavailable { .. })), "{answer:?}");
    foreign.execute("ROLLBACK").await.unwrap();
    assert_eq!(apply(&mut *writer, &[car(1, "a", "{}")]).await, [applied(vec![1])]);
}

#[tokio::test]
async fn an_apply_dropped_half_way_holds_no_turn() {
    let db = Db::sqlite(default).await;
    let mut writer = db.store.writer();
    for step in 0..20_u32 {
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
        apply(&mut *writer, &batch).await;
        assert_eq!(db.entity("Car", "a").await.unwrap().version, u64::from(step) + 1);
    }
}

/// Two that commit back to back get their share each: no commit waits for more than a few of the
/// other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_one_file_take_turns() {
    const EACH: u128 = 150;
    let db = Db::sqlite(default).await;
    let mut tasks = Vec::new();
    for who in 0..2_u128 {
        let store = db.again(START).await;
        tasks.push(tokio::spawn(async move {
            let mut writer = store.writer();
            let mut versions = Vec::new();
            for n in 0..EACH {
                let batch = [car(who * 10_000 + n, "a", r#"{"x":1}"#)];
                let verdicts = apply(&mut *writer, &batch).await;
                versions.extend(made(&verdicts[0]));
            }
            versions
        }));
    }
    let first = tasks.remove(0).await.unwrap();
    let second = tasks.remove(0).await.unwrap();
    let begin = first[0].max(second[0]);
    let end = first.last().min(second.last()).copied().unwrap();
    let runs = |versions: &[u64]| {
        let both = versions.iter().filter(|v| (begin..=end).contains(v)).copied();
        let both: Vec<_> = both.collect();
        both.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(1)
    };
    assert!(runs(&first) <= 20 && runs(&second) <= 20, "{first:?} {second:?}");
    assert_eq!(db.entity("Car", "a").await.unwrap().version, 300);
}

#[tokio::test]
async fn closing_empties_the_log_file() {
    let db = Db::sqlite(default).await;
    let mut writer = db.store.writer();
    apply(&mut *writer, &[car(1, "a", "{}")]).await;
    drop(writer);
    db.store.close().await;
    let wal = format!("{}-wal", db.url.strip_prefix("sqlite://").unwrap());
    assert_eq!(std::fs::metadata(wal).map_or(0, |wal| wal.len()), 0);
}

#[tokio::test]
async fn the_log_file_stays_bounded_under_load() {
    let db = Db::sqlite(default).await;
    let mut writer = db.store.writer();
    let wal = format!("{}-wal", db.url.strip_prefix("sqlite://").unwrap());
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(200_000));
    let started = Instant::now();
    // the checkpoint runs beside: go on until SQLite has begun the log anew
    let mut longest = 0;
    for n in 0.. {
        apply(&mut *writer, &[car(n, "a", &large)]).await;
        let length = std::fs::metadata(&wal).unwrap().len();
        if length < longest {
            break;
        }
        longest = length;
        assert!(started.elapsed() < Duration::from_secs(60), "the log has {length} bytes");
    }
    assert!(longest > 4 << 20, "{longest}");
}
