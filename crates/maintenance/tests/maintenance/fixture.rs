//! A database to work on by hand.
#![expect(clippy::panic, reason = "helpers of tests fail the test, loudly")]

use std::sync::Arc;
use std::time::Duration;

use producer_core::store::postgres::PostgresStore;
use producer_core::store::sqlite::SqliteStore;
use producer_core::store::{DatabaseSettings, DatabaseUrl, Store};
use producer_core::{Clock, Event, Operation, Timestamp, decode};
use producer_maintenance::{Database, MaintenanceError, Progress, adopt, migrate, prune, rebuild};
use producer_test_support::Postgres;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use uuid::Uuid;

pub(crate) const MAX_ENTITY_BYTES: usize = 1 << 20;

/// 2030-01-01T00:00:00Z
const NOW: Timestamp = Timestamp::from_micros(1_893_456_000_000_000);

pub(crate) enum Fixture {
    Postgres(producer_test_support::Database<'static>),
    Sqlite(producer_test_support::SqliteFile),
}

impl Fixture {
    /// One of each kind, empty.
    pub(crate) async fn both() -> [Self; 2] {
        [
            Self::Postgres(Postgres::shared().fresh_database().await),
            Self::Sqlite(producer_test_support::sqlite_file()),
        ]
    }

    pub(crate) async fn both_migrated() -> [Self; 2] {
        let both = Self::both().await;
        for fixture in &both {
            migrate::up(&fixture.database()).await.expect("migrated");
        }
        both
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres(database) => database.url().to_owned(),
            Self::Sqlite(file) => file.url(),
        }
    }

    pub(crate) fn database(&self) -> Database {
        DatabaseUrl::parse(Some(&self.url())).expect("a URL").into()
    }

    /// Picks the dialect.
    pub(crate) fn sql<'s>(&self, postgres: &'s str, sqlite: &'s str) -> &'s str {
        if self.is_postgres() { postgres } else { sqlite }
    }

    pub(crate) async fn postgres(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("a connection")
    }

    pub(crate) async fn sqlite(&self) -> SqliteConnection {
        let url = format!("{}?mode=rwc", self.url());
        SqliteConnection::connect(&url).await.expect("a connection")
    }

    /// Runs statements by hand.
    pub(crate) async fn run(&self, sql: &str) {
        self.try_run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(crate) async fn try_run(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(_) => self.postgres().await.execute(sql).await.map(drop),
            Self::Sqlite(_) => self.sqlite().await.execute(sql).await.map(drop),
        }
    }

    /// One value as text.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let query = AssertSqlSafe(format!("SELECT CAST(({sql}) AS text)"));
        let value: Option<String> = match self {
            Self::Postgres(_) => {
                sqlx::query_scalar(query).fetch_one(&mut self.postgres().await).await
            }
            Self::Sqlite(_) => sqlx::query_scalar(query).fetch_one(&mut self.sqlite().await).await,
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
        value.unwrap_or_default()
    }

    /// An entity as stored: its version and its document.
    pub(crate) async fn entity(&self, id: &str) -> (String, serde_json::Value) {
        let of = |column| format!("SELECT {column} FROM entities WHERE entity_id = '{id}'");
        let (version, data) = (self.text(&of("version")).await, self.text(&of("data")).await);
        let data = if data.is_empty() { "null" } else { &data };
        (version, serde_json::from_str(data).expect("JSON"))
    }

    /// Writes a log entry by hand.
    pub(crate) async fn log(&self, id: &str, version: u32, kind: u8, patch: &str) {
        let ordinal = if kind < 2 { 0 } else { -1 };
        let uuid = rand_id(id, version);
        self.row(id, version, (uuid, ordinal, kind), 2024, patch).await;
    }

    /// Writes a row of the log of which more than one event or day is to be.
    pub(crate) async fn row(
        &self,
        id: &str,
        version: u32,
        (uuid, ordinal, kind): (u128, i32, u8),
        year: i64,
        patch: &str,
    ) {
        let (uuid, time) = (self.uuid(uuid), self.time(year));
        self.run(&format!(
            "INSERT INTO event_log (event_uuid, ordinal, kind, version, committed_at, created,
                 entity_type, entity_id, event_name, patch)
             VALUES ({uuid}, {ordinal}, {kind}, {version}, {time}, {version} = 1, 'Car', '{id}',
                 'Test', '{patch}')"
        ))
        .await;
    }

    /// Writes the log of one entity, from version 1 on: in each year, whether the update made the
    /// entity, what it did, and its patch.
    pub(crate) async fn history(&self, id: &str, updates: &[(i64, bool, Operation, &str)]) {
        for (version, &(year, created, operation, patch)) in (1..).zip(updates) {
            let (uuid, time) = (self.uuid(rand_id(id, version)), self.time(year));
            let operation = operation.code();
            self.run(&format!(
                "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created,
                     operation, entity_type, entity_id, event_name, patch)
                 VALUES ({uuid}, 0, {version}, {time}, {created}, {operation}, 'Car', '{id}',
                     'Test', '{patch}')"
            ))
            .await;
        }
    }

    /// Ends the log with a young row of an entity of another type, which [`Fixture::rows`] leaves out: pruning
    /// keeps the row with the highest position.
    pub(crate) async fn end_log(&self) {
        let (uuid, time) = (self.uuid(0xe0d), self.time(2029));
        self.run(&format!(
            "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created,
                 entity_type, entity_id, event_name, patch)
             VALUES ({uuid}, 0, 1, {time}, true, 'Last', 'last', 'Test', '{{}}');
             INSERT INTO entities
                 (entity_type, entity_id, version, size, data, created_at, updated_at)
             VALUES ('Last', 'last', 1, 2, '{{}}', {time}, {time})"
        ))
        .await;
    }

    /// Makes adopted rows so old as if they had been adopted at the beginning of a year.
    pub(crate) async fn age_adopted(&self, year: i64) {
        let time = self.time(year);
        self.run(&format!("UPDATE event_log SET saved_at = {time} WHERE kind = 1")).await;
    }

    /// The rows of a query with one column, as text.
    pub(crate) async fn lines(&self, query: &str) -> Vec<String> {
        let query = AssertSqlSafe(query.to_owned());
        match self {
            Self::Postgres(_) => {
                sqlx::query_scalar(query).fetch_all(&mut self.postgres().await).await
            }
            Self::Sqlite(_) => sqlx::query_scalar(query).fetch_all(&mut self.sqlite().await).await,
        }
        .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Every stored row: id, version, whether it is deleted, its document, and the seconds in which it
    /// was created and updated.
    pub(crate) async fn rows(&self) -> Vec<String> {
        let seconds = |column| match self {
            Self::Postgres(_) => format!("extract(epoch FROM {column})::bigint"),
            Self::Sqlite(_) => format!("({column} / 1000000)"),
        };
        let (created, updated) = (seconds("created_at"), seconds("updated_at"));
        self.lines(&format!(
            "SELECT entity_id || ' ' || version || CASE WHEN deleted THEN ' deleted ' ELSE ' ' END
                 || replace(CAST(data AS text), ' ', '') || ' ' || {created} || ' ' || {updated}
             FROM entities WHERE entity_type <> 'Last' ORDER BY entity_id"
        ))
        .await
    }

    /// The services' store on this database, with a clock of the test's. It waits long for locks, so that
    /// a test decides who comes first.
    pub(crate) async fn open(&self, clock: Clock) -> Arc<dyn Store> {
        let settings = DatabaseSettings {
            url: Some(self.url()),
            lock_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(30),
            ..DatabaseSettings::default()
        };
        match DatabaseUrl::parse(settings.url.as_deref()).expect("a URL") {
            DatabaseUrl::Postgres(base) => Arc::new(PostgresStore::new(*base, &settings, clock)),
            DatabaseUrl::Sqlite(file) => {
                Arc::new(SqliteStore::open(&file, &settings, clock).await.expect("a store"))
            }
        }
    }

    /// A uuid as the log's column has it.
    pub(crate) fn uuid(&self, uuid: u128) -> String {
        format!("{}'{uuid:032x}'", self.sql("", "x"))
    }

    /// The first moment of a year, from 2024 on, as columns have it.
    pub(crate) fn time(&self, year: i64) -> String {
        let micros = second(year) * 1_000_000;
        if self.is_postgres() { format!("'{year}-01-01Z'") } else { micros.to_string() }
    }

    /// Writes an entity by hand.
    pub(crate) async fn store(&self, id: &str, version: u32, data: &str) {
        self.store_at(id, version, data, (2024, 2024)).await;
    }

    /// Writes an entity that was created and updated in these years.
    pub(crate) async fn store_at(&self, id: &str, version: u32, data: &str, years: (i64, i64)) {
        let (created, updated) = (self.time(years.0), self.time(years.1));
        let size = data.len();
        self.run(&format!(
            "INSERT INTO entities
                 (entity_type, entity_id, version, size, data, created_at, updated_at)
             VALUES ('Car', '{id}', {version}, {size}, '{data}', {created}, {updated})"
        ))
        .await;
    }

    pub(crate) async fn adopt(&self) -> (adopt::Summary, Vec<String>) {
        self.try_adopt().await.expect("adopted")
    }

    pub(crate) async fn try_adopt(
        &self,
    ) -> Result<(adopt::Summary, Vec<String>), MaintenanceError> {
        let (clock, mut lines) = (Clock::from_fn(|| NOW), Vec::new());
        let mut progress = listing(&mut lines);
        let summary = adopt::adopt(&self.database(), MAX_ENTITY_BYTES, &clock, &mut progress).await;
        drop(progress);
        Ok((summary?, lines))
    }

    /// Prunes what is older than the first day of `year`.
    pub(crate) async fn prune(&self, year: i64) -> (prune::Summary, Vec<String>) {
        self.prune_scope(age_of(year).into()).await
    }

    /// The same, also what sinks still need.
    pub(crate) async fn prune_past_sinks(&self, year: i64) -> (prune::Summary, Vec<String>) {
        self.prune_scope(prune::Scope { older_than: age_of(year), past_sinks: true }).await
    }

    async fn prune_scope(&self, scope: prune::Scope) -> (prune::Summary, Vec<String>) {
        let (clock, mut lines) = (Clock::from_fn(|| NOW), Vec::new());
        let summary = prune::prune(&self.database(), scope, &clock, &mut listing(&mut lines)).await;
        (summary.expect("pruned"), lines)
    }

    /// Counts what [`Fixture::prune`] would delete.
    pub(crate) async fn survey(&self, year: i64) -> (prune::Summary, Vec<String>) {
        let (clock, mut lines) = (Clock::from_fn(|| NOW), Vec::new());
        let age = age_of(year);
        let summary = prune::survey(&self.database(), age, &clock, &mut listing(&mut lines)).await;
        (summary.expect("counted"), lines)
    }

    pub(crate) async fn try_rebuild(&self) -> Result<rebuild::Summary, MaintenanceError> {
        rebuild::rebuild(&self.database(), false, &mut |_| {}).await
    }

    pub(crate) async fn rebuild(&self, write: bool) -> (rebuild::Summary, Vec<String>) {
        let mut lines = Vec::new();
        let summary = rebuild::rebuild(&self.database(), write, &mut listing(&mut lines)).await;
        (summary.expect("compared"), lines)
    }
}

/// An event with a new uuid; `entities` are the items of its body.
pub(crate) fn event(entities: Value) -> Event {
    let event = json!({
        "eventHeader": {"uuid": Uuid::new_v4().to_string(), "eventName": "Tested"},
        "eventBody": {"entities": entities},
    });
    decode::event(event.to_string().as_bytes(), &Clock::system()).expect("an event")
}

/// The second since 1970 in which a year began, from 2024 on.
pub(crate) fn second(year: i64) -> i64 {
    let days = 19_723 + (year - 2024) * 365 + (year - 2021) / 4;
    days * 86_400
}

/// How long before [`NOW`] a year began.
fn age_of(year: i64) -> Duration {
    Duration::from_secs((second(2030) - second(year)).unsigned_abs())
}

fn listing(lines: &mut Vec<String>) -> impl FnMut(Progress) + Send {
    |progress| {
        if let Progress::Line(line) | Progress::Warning(line) = progress {
            lines.push(line);
        }
    }
}

fn rand_id(id: &str, version: u32) -> u128 {
    id.bytes().fold(u128::from(version), |sum, byte| sum * 257 + u128::from(byte))
}
