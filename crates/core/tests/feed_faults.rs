//! The change feed while its database fails.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::feed::{
    Change, ChangesQuery, EntitiesQuery, Feed, FeedSettings, FeedStore, Item, LogBounds, LogHead,
    LogPage, OpenWriter, PageRequest, Reader, ReaderKind, Start, Types, WatchRequest,
};
use producer_core::model::{Entity, UnavailableKind};
use producer_core::query::ReadError;
use producer_core::store::{DatabaseSettings, Store};
use producer_core::{EntityKey, ProblemKind, Timestamp};
use producer_test_support::Postgres;
use sqlx::{Connection, Executor, PgConnection};
use support::{START, apply_through, car, clock, open, settings};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

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

fn feed(store: &Arc<dyn Store>) -> Feed {
    let settings = FeedSettings { max_readers: 10 };
    Feed::new(store.clone(), settings, Arc::default(), CancellationToken::new())
}

fn watch(start: Start) -> WatchRequest {
    let (kind, types) = (ReaderKind::Grpc, Types::all());
    WatchRequest { kind, start, until_now: false, types, include_data: false }
}

fn page(start: Start) -> PageRequest {
    let (types, wait) = (Types::all(), Duration::ZERO);
    PageRequest { start, types, include_data: false, size: 100, bytes: 1 << 20, wait }
}

/// The version of the next change, which comes alone.
async fn next_version(reader: &mut Reader) -> u64 {
    next_changes(reader).await[0].entry.version
}

/// The entities of the next changes.
async fn next_ids(reader: &mut Reader) -> Vec<String> {
    let changes = next_changes(reader).await;
    changes.iter().map(|change| change.key.entity_id().to_owned()).collect()
}

async fn next_changes(reader: &mut Reader) -> Vec<Arc<Change>> {
    let deadline = Instant::now() + LONG;
    loop {
        let items = tokio::time::timeout_at(deadline, reader.next()).await.unwrap().unwrap();
        let changes = items.into_iter().filter_map(|item| match item {
            Item::Change(change) => Some(change),
            Item::Bookmark { .. } => None,
            other => panic!("{other:?}"),
        });
        let changes: Vec<_> = changes.collect();
        if !changes.is_empty() {
            return changes;
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
    let mut reader = feed.watch(watch(Start::Now)).await.unwrap();
    apply_through(&mut *writer, &[car(1, "a", "{}")]).await;
    assert_eq!(next_version(&mut reader).await, 1);

    server.kill();
    let Err(problem) = feed.page(page(Start::Oldest)).await else { panic!("it is gone") };
    assert_eq!(problem.kind, ProblemKind::Unavailable, "{problem:?}");
    assert!(feed.watch(watch(Start::Now)).await.is_err());
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
    let Err(problem) = feed.watch(watch(Start::Now)).await else { panic!("it is a standby") };
    assert_eq!(problem.kind, ProblemKind::Unavailable);
    standby.promote();
    page_again(&feed).await;
}

/// A store whose log can be looked at only at times.
struct Gated {
    store: Arc<dyn Store>,
    gate: watch::Receiver<Gate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Looks fail.
    Fails,
    /// Looks wait until it is open, as in a process that is stopped for a while.
    Waits,
}

impl FeedStore for Gated {
    fn head(&self) -> BoxFuture<'_, Result<LogHead, ReadError>> {
        Box::pin(async {
            let (kind, text) = (UnavailableKind::Unreachable, "closed".to_owned());
            let mut gate = self.gate.clone();
            let gate = *gate.wait_for(|gate| *gate != Gate::Waits).await.unwrap();
            if gate == Gate::Fails {
                Err(ReadError { kind, text })
            } else {
                self.store.head().await
            }
        })
    }

    fn describe<'a>(&'a self, writer: &'a OpenWriter) -> BoxFuture<'a, Result<String, ReadError>> {
        self.store.describe(writer)
    }

    fn bounds(&self, up_to: u64) -> BoxFuture<'_, Result<LogBounds, ReadError>> {
        self.store.bounds(up_to)
    }

    fn position_before(
        &self,
        time: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        self.store.position_before(time)
    }

    fn changes<'a>(&'a self, query: ChangesQuery<'a>) -> BoxFuture<'a, Result<LogPage, ReadError>> {
        self.store.changes(query)
    }

    fn states<'a>(
        &'a self,
        keys: &'a [&'a EntityKey],
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Entity>>, ReadError>> {
        self.store.states(keys, bytes)
    }

    fn entities<'a>(
        &'a self,
        query: EntitiesQuery<'a>,
    ) -> BoxFuture<'a, Result<Vec<Entity>, ReadError>> {
        self.store.entities(query)
    }
}

/// Inserts rows into the log, as events of entities of their own.
async fn insert(session: &mut PgConnection, ids: &[&str]) {
    let insert = "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created, entity_type, \
                  entity_id, event_name, patch) \
                  SELECT gen_random_uuid(), 0, 1, now(), true, 'Car', id, 'Made', '{}' FROM unnest($1) id";
    sqlx::query(insert).bind(ids).execute(session).await.unwrap();
}

/// The server writes down which positions are drawn only when a transaction commits: after a crash it may
/// draw the same again, for transactions that the feed has not seen. `gate` is what the feed meets until
/// then; `after` are committed first after the crash, while the position before is not.
async fn draw_again_after_a_crash(gate: Gate, after: &[&str]) {
    const SETTINGS: &[&str] = &["fsync=off", "wal_writer_delay=10s", "autovacuum=off"];
    let server = Postgres::with_settings(SETTINGS).unwrap();
    let url = server.url("postgres");
    let store = migrated(&url).await;
    let gates = watch::Sender::new(Gate::Open);
    let gated = Gated { store: Arc::clone(&store), gate: gates.subscribe() };
    let settings = FeedSettings { max_readers: 10 };
    let feed = Feed::new(Arc::new(gated), settings, Arc::default(), CancellationToken::new());
    apply_through(&mut *store.writer(), &[car(1, "first", "{}")]).await;
    let connect = async || PgConnection::connect(&url).await.unwrap();
    let mut lost = connect().await;
    lost.execute("CHECKPOINT").await.unwrap();
    let mut reader = feed.watch(watch(Start::Oldest)).await.unwrap();
    assert_eq!(next_ids(&mut reader).await, ["first"]);
    lost.execute("BEGIN").await.unwrap();
    insert(&mut lost, &["lost 1", "lost 2", "lost 3", "lost 4"]).await;
    // the feed has seen the positions, and waits for the session
    assert!(timeout(Duration::from_millis(500), next_ids(&mut reader)).await.is_err());
    gates.send_replace(gate);
    server.kill();
    server.start();

    let (mut slow, mut fast) = (connect().await, connect().await);
    slow.execute("BEGIN").await.unwrap();
    insert(&mut slow, &["slow"]).await;
    insert(&mut fast, after).await;
    let drawn = "SELECT max(position) FROM event_log";
    let drawn: i64 = sqlx::query_scalar(drawn).fetch_one(&mut fast).await.unwrap();
    assert_eq!(drawn, 2 + after.len() as i64, "drawn again");
    // long enough for the looks to fail
    sleep(Duration::from_secs(2)).await;
    gates.send_replace(Gate::Open);
    let early = timeout(Duration::from_secs(3), next_ids(&mut reader)).await;
    assert!(early.is_err(), "{early:?}");
    slow.execute("COMMIT").await.unwrap();
    let mut ids = Vec::new();
    while ids.len() <= after.len() {
        ids.extend(next_ids(&mut reader).await);
    }
    assert_eq!(ids, [&["slow"], after].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_drawn_again_after_a_crash_is_waited_for_again() {
    draw_again_after_a_crash(Gate::Fails, &["1", "2", "3", "4", "5"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequence_that_went_back_is_waited_for_again() {
    draw_again_after_a_crash(Gate::Waits, &["1", "2"]).await;
}
