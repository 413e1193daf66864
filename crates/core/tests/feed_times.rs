//! Marks, by which a reader can begin at a time.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::time::Duration;

use producer_core::feed::{Item, Start};
use producer_core::store::Store;
use producer_core::{Clock, Timestamp};
use producer_maintenance::prune;
use sqlx::{Connection, Executor, PgConnection};
use support::feed::{LONG, TestClock, feed, read, refusal};
use support::{Db, START, apply, car, unhurried};
use tokio::time::{Instant, sleep};

on_all!(
    the_log_is_marked_every_few_seconds,
    marks_never_fall_however_clocks_jump,
    a_time_misses_nothing_and_brings_little_from_before,
    a_time_below_what_is_kept_is_gone,
);

/// Position and seconds since [`START`] of each mark, by position.
async fn marks(db: &Db) -> Vec<(i64, i64)> {
    let time = match db.direct_url().starts_with("sqlite:") {
        true => "marked_at",
        false => "(extract(epoch FROM marked_at) * 1000000)::bigint",
    };
    let rows = db
        .texts(&format!(
            "SELECT CAST(position AS text) || ' ' || CAST({time} AS text)
             FROM event_log_times ORDER BY position"
        ))
        .await;
    let row = |row: &String| {
        let (position, micros) = row.split_once(' ').unwrap();
        (position.parse().unwrap(), (micros.parse::<i64>().unwrap() - START) / 1_000_000)
    };
    rows.iter().map(row).collect()
}

/// Waits for the marks: on PostgreSQL they are written after a batch was answered.
async fn marks_are(db: &Db, are: impl Fn(&[(i64, i64)]) -> bool) -> Vec<(i64, i64)> {
    let deadline = Instant::now() + LONG;
    loop {
        let marks = marks(db).await;
        if are(&marks) {
            return marks;
        }
        assert!(Instant::now() < deadline, "{marks:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// A writer of its own, as another process has it.
async fn write(store: &Arc<dyn Store>, n: u128) {
    apply(&mut *store.writer(), &[car(n, "a", "{}")]).await;
}

async fn the_log_is_marked_every_few_seconds(db: Db) {
    let clock = TestClock::new();
    let store = support::open(&db.settings, clock.clock(0)).await;
    let is_sqlite = db.direct_url().starts_with("sqlite:");
    // SQLite's writer marks what is there before its batch, PostgreSQL's what is there after it
    let expected: [&[(i64, i64)]; 5] = match is_sqlite {
        true => [&[], &[], &[], &[(3, 6)], &[(3, 6), (4, 20)]],
        false => [&[(1, 0)], &[(1, 0)], &[(1, 0)], &[(1, 0), (4, 6)], &[(1, 0), (4, 6), (5, 20)]],
    };
    let mut writer = store.writer();
    for ((n, seconds), expected) in (1..).zip([0, 1, 4, 6, 20]).zip(expected) {
        clock.set(seconds);
        apply(&mut *writer, &[car(n, "a", "{}")]).await;
        marks_are(&db, |marks| marks == expected).await;
    }
}

async fn marks_never_fall_however_clocks_jump(db: Db) {
    let clock = TestClock::new();
    let store = support::open(&db.settings, clock.clock(0)).await;
    let mut writer = store.writer();
    for (n, seconds) in (1..).zip([0, 6, -3600, -3594, 12, 3600, 20, 26, 32, 3610, 3620]) {
        clock.set(seconds);
        apply(&mut *writer, &[car(n, "a", "{}")]).await;
        // each of these is later than the last one, or before it
        let marked = i64::try_from(n).unwrap() - i64::from(db.direct_url().starts_with("sqlite:"));
        let all = marks_are(&db, |marks| marks.last().map_or(0, |mark| mark.0) == marked).await;
        assert!(all.iter().map(|mark| mark.1).is_sorted(), "{all:?}");
    }
    let last = marks(&db).await.last().map(|mark| mark.1);
    assert_eq!(last, Some(3620));
}

/// Two processes, of which one has a clock that is behind.
async fn a_time_misses_nothing_and_brings_little_from_before(db: Db) {
    let clock = TestClock::new();
    let mut writers = Vec::new();
    for behind in [0, -8] {
        let store = support::open(&db.settings, clock.clock(behind)).await;
        writers.push((store.writer(), store));
    }
    let mut written = Vec::new();
    for n in 0..90_u8 {
        let seconds = i64::from(n);
        clock.set(seconds);
        let (writer, _) = &mut writers[usize::from(n % 3 == 0)];
        apply(&mut **writer, &[car(n.into(), "a", "{}")]).await;
        written.push(seconds);
    }
    marks_are(&db, |marks| marks.len() > 10).await;
    let feed = feed(&db.store);
    for time in [-100, 0, 1, 9, 10, 11, 25, 40, 60, 80, 89, 90, 99, 100, 200] {
        let start = Timestamp::from_micros(START + time * 1_000_000);
        let items = read(&feed, Start::Time(start)).await;
        let mut came = Vec::new();
        for item in &items {
            let Item::Change(change) = item else { continue };
            let before = (start.micros() - change.entry.committed.micros()) / 1_000_000;
            assert!(before <= 10, "committed {before} s before {time}");
            came.push(change.position);
        }
        assert!(came.is_sorted(), "{came:?}");
        for (position, seconds) in (1..).zip(&written).filter(|(_, seconds)| **seconds >= time) {
            assert!(came.contains(&position), "committed at {seconds}, from {time}");
        }
        // the place that it has is one that a reader may go on from
        let token = items.last().and_then(Item::token).cloned().unwrap();
        assert_eq!(read(&feed, Start::Token(token)).await.len(), 1);
    }
}

async fn a_time_below_what_is_kept_is_gone(db: Db) {
    let clock = TestClock::new();
    let store = support::open(&db.settings, clock.clock(0)).await;
    let mut writer = store.writer();
    for n in 0..40_u8 {
        clock.set(i64::from(n) * 10);
        apply(&mut *writer, &[car(n.into(), "a", "{}")]).await;
    }
    let before = marks_are(&db, |marks| marks.last().is_some_and(|mark| mark.0 >= 39)).await;
    // what is older than 200 s
    let at = Clock::from_fn(|| Timestamp::from_micros(START + 400_000_000));
    prune::prune(&db.database(), Duration::from_secs(200), &at, &mut |_| {}).await.unwrap();
    let after = marks(&db).await;
    assert!(after.len() < before.len() - 5, "{after:?}");
    assert!(before.ends_with(&after[1..]), "{after:?}");

    let feed = feed(&db.store);
    let time = |seconds: i64| Start::Time(Timestamp::from_micros(START + seconds * 1_000_000));
    for seconds in [-1, 100, 199] {
        let refused = refusal(&feed, time(seconds)).await;
        assert!(refused.starts_with("gone: the changes from that time on"), "{refused}");
    }
    let came = read(&feed, time(300)).await;
    assert_eq!(support::feed::changes(&came).first().map(|change| change.1), Some(30));
}

/// A position of an open transaction may still be committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_waits_for_what_is_open() {
    let db = Db::postgres(unhurried).await;
    let clock = TestClock::new();
    let store = support::open(&db.settings, clock.clock(0)).await;
    let mut writer = store.writer();
    let mut open = PgConnection::connect(db.direct_url()).await.unwrap();
    open.execute("BEGIN").await.unwrap();
    open.execute(INSERT_BY_HAND).await.unwrap();
    for n in 1..8 {
        clock.set(n * 2);
        apply(&mut *writer, &[car(n.unsigned_abs().into(), "a", "{}")]).await;
        assert_eq!(marks(&db).await, []);
    }
    open.execute("COMMIT").await.unwrap();
    // the next look finds that what was open at the first one has ended
    clock.set(16);
    apply(&mut *writer, &[car(8, "a", "{}")]).await;
    let all = marks_are(&db, |marks| !marks.is_empty()).await;
    assert_eq!(all, [(2, 16)]);
    clock.set(22);
    apply(&mut *writer, &[car(9, "a", "{}")]).await;
    let all = marks_are(&db, |marks| marks.len() > 1).await;
    assert_eq!(all, [(2, 16), (10, 22)]);
}

const INSERT_BY_HAND: &str =
    "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created,
    entity_type, entity_id, event_name, patch)
VALUES (gen_random_uuid(), 0, 1, now(), true, 'Car', 'open', 'Tested', '{}')";

/// A position that no row has may be drawn again after a crash, so that no token may hold it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_has_the_position_of_a_row() {
    let db = Db::postgres(unhurried).await;
    let clock = TestClock::new();
    let store = support::open(&db.settings, clock.clock(0)).await;
    write(&store, 1).await;
    marks_are(&db, |marks| marks == [(1, 0)]).await;
    let mut other = PgConnection::connect(db.direct_url()).await.unwrap();
    clock.set(10);
    write(&store, 2).await;
    marks_are(&db, |marks| marks.last() == Some(&(2, 10))).await;
    other.execute("BEGIN").await.unwrap();
    other.execute(INSERT_BY_HAND).await.unwrap();
    other.execute("ROLLBACK").await.unwrap();
    clock.set(20);
    // a duplicate, after which the last position that was drawn is none of a row
    write(&store, 2).await;
    clock.set(30);
    write(&store, 2).await;
    let all = marks(&db).await;
    assert_eq!(all, [(1, 0), (2, 10)]);
    // behind it the log is empty, and a reader can go on from there
    let feed = feed(&db.store);
    let items = read(&feed, Start::Time(Timestamp::from_micros(START + 100_000_000))).await;
    let token = items.last().and_then(Item::token).cloned().unwrap();
    assert_eq!(read(&feed, Start::Token(token)).await.len(), 1);
}
