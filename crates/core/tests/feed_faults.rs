//! The change feed while its database fails.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use producer_core::ProblemKind;
use producer_core::feed::{Feed, Item, Reader, Start};
use producer_core::store::{DatabaseSettings, Store};
use producer_test_support::Postgres;
use support::feed::{LONG, feed, from, page};
use support::{START, apply_through, car, clock, open, settings};
use tokio::time::{Instant, sleep, timeout};

/// For tests that wait until a database is given up.
fn hurried(settings: &mut DatabaseSettings) {
    settings.acquire_timeout = Duration::from_millis(500);
    settings.statement_timeout = Duration::from_secs(1);
}

async fn migrated(url: &str) -> Arc<dyn Store> {
    let database = producer_maintenance::Database::from(
        producer_core::store::DatabaseUrl::parse(Some(url)).unwrap(),
    );
    producer_maintenance::migrate::up(&database).await.unwrap();
    open(&settings(url, hurried), clock(START)).await
}

/// The version of the next change.
async fn next_version(reader: &mut Reader) -> u64 {
    let deadline = Instant::now() + LONG;
    loop {
        let items = tokio::time::timeout_at(deadline, reader.next()).await.unwrap().unwrap();
        for item in items {
            match item {
                Item::Change(change) => return change.entry.version,
                Item::Bookmark { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Polls until a page can be read.
async fn page_again(feed: &Feed) {
    let deadline = Instant::now() + LONG;
    while let Err(problem) = feed.page(page(Start::Oldest)).await {
        assert_eq!(problem.kind, ProblemKind::Unavailable);
        assert!(Instant::now() < deadline, "{problem:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_go_on_when_the_database_is_back() {
    let server = Postgres::own();
    let database = server.fresh_database().await;
    let store = migrated(database.url()).await;
    let feed = feed(&store);
    let mut writer = store.writer();
    let mut reader = feed.watch(from(Start::Now)).await.unwrap();
    apply_through(&mut *writer, &[car(1, "a", "{}")]).await;
    assert_eq!(next_version(&mut reader).await, 1);

    server.kill();
    let Err(problem) = feed.page(page(Start::Oldest)).await else { panic!("it is gone") };
    assert_eq!(problem.kind, ProblemKind::Unavailable, "{problem:?}");
    assert!(feed.watch(from(Start::Now)).await.is_err());
    // nothing to tell, and no end
    assert!(timeout(Duration::from_secs(1), reader.next()).await.is_err());
    server.start();
    apply_through(&mut *writer, &[car(2, "a", "{}")]).await;
    assert_eq!(next_version(&mut reader).await, 2);
    page_again(&feed).await;

    server.freeze();
    let asked = Instant::now();
    let Err(problem) = feed.page(page(Start::Oldest)).await else { panic!("it is frozen") };
    assert_eq!(problem.kind, ProblemKind::Unavailable, "{problem:?}");
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    server.thaw();
    apply_through(&mut *writer, &[car(3, "a", "{}")]).await;
    assert_eq!(next_version(&mut reader).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_not_read() {
    let primary = Postgres::own();
    let database = primary.fresh_database().await;
    migrated(database.url()).await;
    let standby = primary.standby();
    let store = open(&settings(&standby.url(database.name()), hurried), clock(START)).await;
    let feed = feed(&store);
    let Err(problem) = feed.watch(from(Start::Now)).await else { panic!("it is a standby") };
    assert_eq!(problem.kind, ProblemKind::Unavailable);
    standby.promote();
    page_again(&feed).await;
}
