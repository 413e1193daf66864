//! What the store's suites share: a database with its store, and events in a few words.
#![allow(dead_code, unused_macros, reason = "each suite uses a part")]

/// A test of each of these functions on both databases, and on PostgreSQL behind PgBouncer.
macro_rules! on_all {
    ($($case:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::support::Db::postgres(crate::support::unhurried).await).await;
            })*
        }
        mod pgbouncer {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::support::Db::pgbouncer(crate::support::unhurried).await).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::support::Db::sqlite(crate::support::default).await).await;
            })*
        }
    };
}

pub(crate) mod feed;
pub(crate) mod lists;
pub(crate) mod search;
pub(crate) mod types;
pub(crate) mod worker;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use producer_core::ingest::{ApplyError, ApplyMode, Limits, Verdict, Writer};
use producer_core::model::{Entity, NewVersion};
use producer_core::store::postgres::PostgresStore;
use producer_core::store::sqlite::SqliteStore;
use producer_core::store::{DatabaseSettings, DatabaseUrl, Pooler, Store};
use producer_core::{Clock, EntityKey, Event, Timestamp, decode};
use producer_maintenance::{Database, migrate};
use producer_test_support::{PgBouncer, Postgres, SqliteFile, sqlite_file};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use uuid::Uuid;

/// 2026-01-01T00:00:00Z
pub(crate) const START: i64 = 1_767_225_600_000_000;

/// A migrated database and its store.
pub(crate) struct Db {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) url: String,
    pub(crate) settings: DatabaseSettings,
    /// Who searches instead of the database.
    pub(crate) beside: Option<Box<dyn search::Beside>>,
    owned: Owned,
}

enum Owned {
    Postgres(producer_test_support::Database<'static>),
    Sqlite(SqliteFile),
}

/// Changes settings that are as by default.
pub(crate) type Change = fn(&mut DatabaseSettings);

/// Changes nothing.
pub(crate) fn default(_settings: &mut DatabaseSettings) {}

/// For tests that time is not what is tested in.
pub(crate) fn unhurried(settings: &mut DatabaseSettings) {
    settings.statement_timeout = Duration::from_secs(30);
    settings.lock_timeout = Duration::from_secs(10);
    settings.acquire_timeout = Duration::from_secs(30);
}

pub(crate) fn settings(url: &str, change: Change) -> DatabaseSettings {
    let mut settings =
        DatabaseSettings { url: Some(url.to_owned()), ..DatabaseSettings::default() };
    change(&mut settings);
    settings
}

/// A copy of an SQLite file, which is removed with the value, and its URL.
pub(crate) async fn sqlite_copy(db: &Db) -> (SqliteFile, String) {
    let copy = sqlite_file();
    let into = AssertSqlSafe(format!("VACUUM INTO '{}'", copy.path().display()));
    SqliteConnection::connect(&db.url).await.unwrap().execute(into).await.unwrap();
    let url = copy.url();
    (copy, url)
}

/// The limits of the services.
pub(crate) fn limits() -> Limits {
    Limits {
        queue_events: 20_000,
        queue_bytes: 64 << 20,
        queue_age: Duration::from_secs(2),
        request_timeout: Duration::from_secs(3),
        log_progress_every: 0,
    }
}

impl Db {
    pub(crate) async fn postgres(change: Change) -> Self {
        let database = Postgres::shared().fresh_database().await;
        let url = database.url().to_owned();
        Self::new(url, Owned::Postgres(database), change).await
    }

    /// Through PgBouncer, whose two sessions a database's connections share.
    pub(crate) async fn pgbouncer(change: Change) -> Self {
        static SHARED: OnceLock<PgBouncer> = OnceLock::new();
        let bouncer = SHARED.get_or_init(|| PgBouncer::before(Postgres::shared(), &[]));
        Self::through(bouncer, change).await
    }

    /// Through a PgBouncer of the test's own before the shared server.
    pub(crate) async fn through(bouncer: &PgBouncer, change: Change) -> Self {
        let database = Postgres::shared().fresh_database().await;
        let url = bouncer.url(database.name());
        let mut settings = settings(&url, change);
        settings.pooler = Pooler::Transaction;
        Self::migrated(settings, Owned::Postgres(database)).await
    }

    pub(crate) async fn sqlite(change: Change) -> Self {
        let file = sqlite_file();
        Self::new(file.url(), Owned::Sqlite(file), change).await
    }

    async fn new(url: String, owned: Owned, change: Change) -> Self {
        Self::migrated(settings(&url, change), owned).await
    }

    async fn migrated(settings: DatabaseSettings, owned: Owned) -> Self {
        let url = settings.url.clone().unwrap_or_default();
        let database = Database::from(DatabaseUrl::parse(Some(&url)).unwrap());
        migrate::up(&database.through(settings.pooler)).await.unwrap();
        let store = open(&settings, clock(START)).await;
        Self { store, url, settings, beside: None, owned }
    }

    /// For maintenance.
    pub(crate) fn database(&self) -> Database {
        DatabaseUrl::parse(Some(self.direct_url())).unwrap().into()
    }

    /// The rows of a query with one column of texts.
    pub(crate) async fn texts(&self, query: &str) -> Vec<String> {
        let query = AssertSqlSafe(query.to_owned());
        match &self.owned {
            Owned::Postgres(database) => {
                let mut connection = PgConnection::connect(database.url()).await.unwrap();
                sqlx::query_scalar(query).fetch_all(&mut connection).await.unwrap()
            }
            Owned::Sqlite(file) => {
                let mut connection = SqliteConnection::connect(&file.url()).await.unwrap();
                sqlx::query_scalar(query).fetch_all(&mut connection).await.unwrap()
            }
        }
    }

    /// A URL that leads to PostgreSQL itself.
    pub(crate) fn direct_url(&self) -> &str {
        match &self.owned {
            Owned::Postgres(database) => database.url(),
            Owned::Sqlite(_) => &self.url,
        }
    }

    /// Another store on the same database, as another process has it.
    pub(crate) async fn again(&self, now: i64) -> Arc<dyn Store> {
        open(&self.settings, clock(now)).await
    }

    pub(crate) async fn apply(&self, batch: &[Event]) -> Vec<Verdict> {
        apply(&mut *self.store.writer(), batch).await
    }

    pub(crate) async fn entity(&self, entity_type: &str, id: &str) -> Option<Entity> {
        self.store.entity(&key(entity_type, id)).await.unwrap()
    }

    /// The state of a car.
    pub(crate) async fn car(&self, id: &str) -> Option<String> {
        self.entity("Car", id).await.map(|entity| without_spaces(&entity.data))
    }
}

pub(crate) async fn open(settings: &DatabaseSettings, clock: Clock) -> Arc<dyn Store> {
    match DatabaseUrl::parse(settings.url.as_deref()).unwrap() {
        DatabaseUrl::Postgres(base) => Arc::new(PostgresStore::new(*base, settings, clock)),
        DatabaseUrl::Sqlite(file) => {
            Arc::new(SqliteStore::open(&file, settings, clock).await.unwrap())
        }
    }
}

pub(crate) fn clock(now: i64) -> Clock {
    Clock::from_fn(move || Timestamp::from_micros(now))
}

pub(crate) async fn apply(writer: &mut dyn Writer, batch: &[Event]) -> Vec<Verdict> {
    writer.apply(batch, ApplyMode::Normal).await.unwrap()
}

/// Applies until the database takes it, as the queue does.
pub(crate) async fn apply_through(writer: &mut dyn Writer, batch: &[Event]) -> Vec<Verdict> {
    loop {
        match writer.apply(batch, ApplyMode::Normal).await {
            Ok(verdicts) => return verdicts,
            Err(ApplyError::Refused(text)) => panic!("refused: {text}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// The verdict on an event that made these versions of entities that were never deleted.
pub(crate) fn applied(versions: impl AsRef<[u64]>) -> Verdict {
    Verdict::Applied(versions.as_ref().iter().copied().map(new_version).collect())
}

/// A version of an entity that was never deleted.
pub(crate) fn new_version(version: u64) -> NewVersion {
    NewVersion { version, created: version == 1 }
}

/// The versions that an event made.
pub(crate) fn made(verdict: &Verdict) -> Vec<u64> {
    let Verdict::Applied(versions) = verdict else { panic!("{verdict:?}") };
    versions.iter().map(|new| new.version).collect()
}

/// The versions that a duplicate was answered.
pub(crate) fn duplicate(verdict: &Verdict) -> Vec<u64> {
    let Verdict::Duplicate { versions, .. } = verdict else { panic!("{verdict:?}") };
    versions.iter().map(|new| new.version).collect()
}

pub(crate) fn key(entity_type: &str, id: &str) -> EntityKey {
    EntityKey::new(entity_type, id).unwrap()
}

pub(crate) fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | n)
}

/// An event over entities given as (type, id, patch).
pub(crate) fn event(n: u128, updates: &[(&str, &str, &str)]) -> Event {
    let entities: Vec<String> = updates
        .iter()
        .map(|(entity_type, id, patch)| {
            let (entity_type, id) = (quoted(entity_type), quoted(id));
            format!(r#"{{"entityType":{entity_type},"entityId":{id},"updatedAttributes":{patch}}}"#)
        })
        .collect();
    let body = format!(
        r#"{{"eventHeader":{{"uuid":"{}","eventName":"Tested","eventType":"Test",
            "createdDate":"2024-01-15T10:30:00Z"}},"eventBody":{{"entities":[{}]}}}}"#,
        uuid(n),
        entities.join(",")
    );
    decode::event(body.as_bytes(), &clock(START)).unwrap()
}

/// An event over items of `eventBody.entities`.
pub(crate) fn event_of(n: u128, items: &[serde_json::Value]) -> Event {
    let body = serde_json::json!({
        "eventHeader": {"uuid": uuid(n).to_string(), "eventName": "Tested"},
        "eventBody": {"entities": items},
    });
    decode::event(body.to_string().as_bytes(), &clock(START)).unwrap()
}

/// An event over one car.
pub(crate) fn car(n: u128, id: &str, patch: &str) -> Event {
    event(n, &[("Car", id, patch)])
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// One notation for both databases: jsonb sets spaces. Only for documents without spaces of theirs.
pub(crate) fn without_spaces(json: &str) -> String {
    json.replace(' ', "")
}

/// Numbers below a bound that look random and are the same for a seed.
pub(crate) fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut random = seed * 7919 + 17;
    move |below| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    }
}
