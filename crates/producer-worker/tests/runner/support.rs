//! A database with its feed and its queue, and a target in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use producer_core::feed::{Cursor, Feed, FeedSettings, Start, Token, Types};
use producer_core::ingest::Limits;
use producer_core::store::{DatabaseSettings, DatabaseUrl, Store, connect};
use producer_core::worker::{Connector, DeadLetter, DeadLetterQuery, Role};
use producer_core::{Clock, EntityKey, Ingest, decode};
use producer_maintenance::{Database, migrate};
use producer_test_support::{Postgres, SqliteFile, sqlite_file};
use producer_worker::config::{Form, Format, Mode, OnDead, Retry, SinkConfig, SinkKind, TimeUnit};
use producer_worker::metrics::WorkerMetrics;
use producer_worker::runner::lease::LeaseTimes;
use producer_worker::runner::parts::Parts;
use producer_worker::runner::sink;
use producer_worker::sink::{Failure, Kept, NotDelivered, Present, Sink};
use producer_worker::update::{Cause, Update};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(30);

/// A test of each of these functions on both databases.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::support::Db::postgres().await).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::support::Db::sqlite().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// A migrated database, with what writes it and what reads it.
pub(crate) struct Db {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ingest: Ingest,
    _owned: Owned,
}

enum Owned {
    Postgres(
        #[expect(dead_code, reason = "dropped at the end")]
        producer_test_support::Database<'static>,
    ),
    Sqlite(#[expect(dead_code, reason = "dropped at the end")] SqliteFile),
}

impl Db {
    pub(crate) async fn postgres() -> Self {
        let database = Postgres::shared().fresh_database().await;
        let url = database.url().to_owned();
        Self::open(&url, Owned::Postgres(database)).await
    }

    pub(crate) async fn sqlite() -> Self {
        let file = sqlite_file();
        Self::open(&file.url(), Owned::Sqlite(file)).await
    }

    async fn open(url: &str, owned: Owned) -> Self {
        let store = migrated(url).await;
        let limits = Limits {
            queue_events: 20_000,
            queue_bytes: 64 << 20,
            queue_age: Duration::from_secs(20),
            request_timeout: Duration::from_secs(20),
            log_progress_every: 0,
        };
        let ingest = Ingest::start(store.clone(), limits, &Handle::current());
        Self { store, ingest, _owned: owned }
    }

    /// Merges `{"n": n}` into a car.
    pub(crate) async fn merge(&self, id: &str, n: usize) {
        self.event("Set", &format!(r#""entityId":"{id}","updatedAttributes":{{"n":{n}}}"#)).await;
    }

    pub(crate) async fn delete(&self, id: &str) {
        self.event("Removed", &format!(r#""entityId":"{id}","operation":"delete""#)).await;
    }

    async fn event(&self, name: &str, update: &str) {
        let text = format!(
            r#"{{"eventHeader":{{"eventName":"{name}"}},"eventBody":{{"entities":[{{"entityType":"Car",{update}}}]}}}}"#
        );
        let event = decode::event(text.as_bytes(), &Clock::system()).expect(&text);
        self.ingest.submit(event).await.expect("stored");
    }

    /// What a worker of this name works with.
    pub(crate) fn parts(&self, worker: &str) -> Parts {
        parts(&self.store, &self.ingest, worker)
    }

    /// Runs a sink.
    pub(crate) fn run(&self, config: &SinkConfig, target: &Target) -> Running {
        self.run_as("worker", config, target)
    }

    pub(crate) fn run_as(&self, worker: &str, config: &SinkConfig, target: &Target) -> Running {
        self.run_with(self.parts(worker), config, target)
    }

    pub(crate) fn run_with(&self, parts: Parts, config: &SinkConfig, target: &Target) -> Running {
        let shutdown = CancellationToken::new();
        let sink: Arc<dyn Sink> = match config.mode {
            Mode::Latest => Arc::new(target.clone()),
            Mode::Log => Arc::new(Stateless(target.clone())),
        };
        let config = Arc::new(config.clone());
        let run = sink::run(config, sink, parts, shutdown.clone());
        Running::new(shutdown, run)
    }

    pub(crate) async fn sink(&self, name: &str) -> Option<Connector> {
        let found = self.store.connectors(Role::Sink, Some(name)).await.expect("connectors");
        found.into_iter().next()
    }

    /// Waits until a sink is as it should be.
    pub(crate) async fn sink_becomes(
        &self,
        name: &str,
        is_so: impl Fn(&Connector) -> bool,
    ) -> Connector {
        let began = Instant::now();
        loop {
            let found = self.sink(name).await;
            match found {
                Some(found) if is_so(&found) => return found,
                found => assert!(began.elapsed() < DEADLINE, "the sink stays {found:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Dead letters, oldest first.
    pub(crate) async fn letters(&self) -> Vec<DeadLetter> {
        let query = DeadLetterQuery { connector: None, before: None, rows: 1000 };
        let mut letters = self.store.dead_letters(query).await.expect("dead letters");
        letters.reverse();
        letters
    }

    pub(crate) async fn letters_become(
        &self,
        is_so: impl Fn(&[DeadLetter]) -> bool,
    ) -> Vec<DeadLetter> {
        let began = Instant::now();
        loop {
            let letters = self.letters().await;
            if is_so(&letters) {
                return letters;
            }
            assert!(began.elapsed() < DEADLINE, "the dead letters stay {letters:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A migrated database.
pub(crate) async fn migrated(url: &str) -> Arc<dyn Store> {
    let parsed = DatabaseUrl::parse(Some(url)).expect("a URL");
    migrate::up(&Database::from(parsed)).await.expect("migrated");
    let settings = DatabaseSettings { url: Some(url.to_owned()), ..DatabaseSettings::default() };
    connect(&settings).await.expect("a store")
}

/// What a worker of this name works with on a database, with short leases.
pub(crate) fn parts(store: &Arc<dyn Store>, ingest: &Ingest, worker: &str) -> Parts {
    let settings = FeedSettings { max_readers: 100 };
    Parts {
        store: Arc::clone(store),
        feed: Feed::new(store.clone(), settings, ingest.commits(), CancellationToken::new()),
        ingest: ingest.clone(),
        clock: Clock::system(),
        worker: worker.into(),
        metrics: WorkerMetrics::default(),
        lease_times: LeaseTimes {
            duration: Duration::from_secs(2),
            renew_every: Duration::from_millis(100),
            take_every: Duration::from_millis(100),
            take_for: Duration::from_secs(1),
        },
        max_body_bytes: 1 << 20,
    }
}

/// A connector that runs.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Runs a connector, which ends when `shutdown` is cancelled.
    pub(crate) fn new(
        shutdown: CancellationToken,
        run: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { shutdown, task: tokio::spawn(run) }
    }

    /// Stops in order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic");
    }

    /// Stops like a process that is killed.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}

/// A sink of all cars from the start, with short pauses.
pub(crate) fn config(name: &str, mode: Mode) -> SinkConfig {
    SinkConfig {
        name: name.to_owned(),
        kind: SinkKind::Stdout,
        types: Types::all(),
        filter: None,
        from: if mode == Mode::Latest { Start::Snapshot } else { Start::Oldest },
        mode,
        format: Format {
            form: Form::CloudEvents,
            event_type: None,
            timestamp_unit: TimeUnit::Milliseconds,
            cloudevents_source: "/producer".to_owned(),
        },
        batch: 50,
        lanes: 4,
        rate: None,
        retry: Retry {
            initial: Duration::from_millis(5),
            max: Duration::from_millis(50),
            breaker_pause: Duration::from_millis(50),
            ..Retry::default()
        },
        on_dead: if mode == Mode::Latest { OnDead::Continue } else { OnDead::Hold },
    }
}

/// What the target does with an update.
type Behaviour = dyn Fn(&Update) -> Result<(), NotDelivered> + Send + Sync;

/// A target in memory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Target(Arc<Inner>);

struct Inner {
    behaviour: Mutex<Arc<Behaviour>>,
    delivered: Mutex<Vec<Seen>>,
    kept: Mutex<BTreeMap<String, (u64, Option<String>)>>,
    marker: Mutex<Option<(String, u64)>>,
    hangs: Mutex<bool>,
    sweeps: Mutex<usize>,
}

/// An update that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) kind: &'static str,
}

impl Target {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            behaviour: Mutex::new(Arc::new(|_| Ok(()))),
            delivered: Mutex::default(),
            kept: Mutex::default(),
            marker: Mutex::default(),
            hangs: Mutex::default(),
            sweeps: Mutex::default(),
        }))
    }

    pub(crate) fn behave(
        &self,
        behaviour: impl Fn(&Update) -> Result<(), NotDelivered> + Send + Sync + 'static,
    ) {
        *self.0.behaviour.lock().expect("lock") = Arc::new(behaviour);
    }

    pub(crate) fn hang(&self, hangs: bool) {
        *self.0.hangs.lock().expect("lock") = hangs;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.delivered.lock().expect("lock").clone()
    }

    /// The versions that were delivered of an entity.
    pub(crate) fn versions(&self, id: &str) -> Vec<u64> {
        self.seen().into_iter().filter(|seen| seen.id == id).map(|seen| seen.version).collect()
    }

    /// What a cache has: each id with its document.
    pub(crate) fn kept(&self) -> BTreeMap<String, String> {
        let kept = self.0.kept.lock().expect("lock");
        let kept = kept.iter().filter_map(|(id, (_, data))| Some((id.clone(), data.clone()?)));
        kept.collect()
    }

    /// Loses everything, as a cache that is flushed.
    pub(crate) fn flush(&self) {
        self.0.kept.lock().expect("lock").clear();
        *self.0.marker.lock().expect("lock") = None;
    }

    /// Puts something there that the database does not have.
    pub(crate) fn put_stray(&self, id: &str) {
        self.0.kept.lock().expect("lock").insert(id.to_owned(), (1, Some("{}".to_owned())));
    }

    pub(crate) fn sweeps(&self) -> usize {
        *self.0.sweeps.lock().expect("lock")
    }

    /// Waits until what was delivered is as it should be.
    pub(crate) async fn becomes(&self, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            let seen = self.seen();
            let last = &seen[seen.len().saturating_sub(20)..];
            assert!(began.elapsed() < DEADLINE, "{} delivered, the last {last:?}", seen.len());
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn deliver_one(&self, update: &Update) -> Result<(), NotDelivered> {
        let behaviour = self.0.behaviour.lock().expect("lock").clone();
        behaviour(update)?;
        let id = update.key().entity_id().to_owned();
        let kind = match &update.cause {
            Cause::Change(_) => "change",
            Cause::Left(_) => "left",
            Cause::Snapshot(_) => "snapshot",
        };
        let version = update.version();
        self.0.delivered.lock().expect("lock").push(Seen { id: id.clone(), version, kind });
        let mut kept = self.0.kept.lock().expect("lock");
        let entry = kept.entry(id).or_default();
        let (version, state) = match (&update.state, update.is_removal()) {
            (Some(entity), false) => (entity.version, Some(entity.data.clone())),
            _ => (update.version(), None),
        };
        if entry.0 <= version {
            *entry = (version, state);
        }
        Ok(())
    }
}

impl Sink for Target {
    fn deliver<'a>(
        &'a self,
        updates: &'a [Update],
    ) -> BoxFuture<'a, Result<Vec<Result<(), NotDelivered>>, Failure>> {
        async move {
            if *self.0.hangs.lock().expect("lock") {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            let mut stopped: Vec<EntityKey> = Vec::new();
            let mut outcomes = Vec::new();
            for update in updates {
                if stopped.contains(update.key()) {
                    outcomes.push(Err(Failure::new("behind a failure").into()));
                    continue;
                }
                let outcome = self.deliver_one(update);
                if outcome.is_err() {
                    stopped.push(update.key().clone());
                }
                outcomes.push(outcome);
            }
            Ok(outcomes)
        }
        .boxed()
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn checkpoint<'a>(
        &'a self,
        reached: &'a Token,
        stored: &'a Token,
    ) -> BoxFuture<'a, Result<Kept, Failure>> {
        async move {
            let mut marker = self.0.marker.lock().expect("lock");
            let begins =
                matches!(&stored.cursor, Cursor::Snapshot(cursor) if cursor.after.is_none());
            let (epoch, position) = (stored.epoch.to_string(), stored.position());
            let is_kept =
                begins || marker.as_ref().is_some_and(|(e, p)| *e == epoch && *p >= position);
            if !is_kept {
                return Ok(Kept::Lost);
            }
            *marker = Some((reached.epoch.to_string(), reached.position()));
            Ok(Kept::Everything)
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, present: &'a dyn Present) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let keys: Vec<EntityKey> =
                self.kept().into_keys().map(|id| EntityKey::new_unchecked("Car", id)).collect();
            let versions = present.versions(&keys).await;
            let versions = versions.map_err(|error| Failure::new(error.text))?;
            let mut kept = self.0.kept.lock().expect("lock");
            for (key, version) in keys.iter().zip(versions) {
                if version.is_none() {
                    kept.remove(key.entity_id());
                }
            }
            *self.0.sweeps.lock().expect("lock") += 1;
            Ok(())
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }
}

/// A target that keeps no state: it has no marker.
#[derive(Clone)]
struct Stateless(Target);

impl Sink for Stateless {
    fn deliver<'a>(
        &'a self,
        updates: &'a [Update],
    ) -> BoxFuture<'a, Result<Vec<Result<(), NotDelivered>>, Failure>> {
        self.0.deliver(updates)
    }

    fn deadline(&self) -> Duration {
        self.0.deadline()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failure>> {
        self.0.check()
    }
}

pub(crate) fn refused(detail: &str) -> NotDelivered {
    NotDelivered::Refused { detail: detail.to_owned(), message: b"{}".to_vec() }
}

pub(crate) fn failed(detail: &str) -> NotDelivered {
    Failure::new(detail).into()
}
