//! A database to work on by hand.
#![expect(clippy::panic, reason = "helpers of tests fail the test, loudly")]

use std::time::Duration;

use producer_core::store::DatabaseUrl;
use producer_core::{Clock, Timestamp};
use producer_maintenance::{Database, MaintenanceError, Progress, adopt, migrate, prune, rebuild};
use producer_test_support::Postgres;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

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
        let uuid = self.uuid(uuid);
        let time = self.time(year);
        self.run(&format!(
            "INSERT INTO event_log (event_uuid, ordinal, kind, version, committed_at, created,
                 entity_type, entity_id, event_name, patch)
             VALUES ({uuid}, {ordinal}, {kind}, {version}, {time}, {version} = 1, 'Car', '{id}',
                 'Test', '{patch}')"
        ))
        .await;
    }

    /// A uuid as the log's column has it.
    pub(crate) fn uuid(&self, uuid: u128) -> String {
        format!("{}'{uuid:032x}'", self.sql("", "x"))
    }

    /// The first moment of a year, from 2024 on, as columns have it.
    pub(crate) fn time(&self, year: i64) -> String {
        let days = 19_723 + (year - 2024) * 365 + (year - 2021) / 4;
        let micros = days * 86_400_000_000;
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
        let (clock, mut lines) = (Clock::from_fn(|| NOW), Vec::new());
        let age = age_of(year);
        let summary = prune::prune(&self.database(), age, &clock, &mut listing(&mut lines)).await;
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

/// How long before [`NOW`] a year began.
fn age_of(year: i64) -> Duration {
    let days = (2030 - year) * 365 + (2030 - year) / 4;
    Duration::from_secs(days.unsigned_abs() * 86_400)
}

fn listing(lines: &mut Vec<String>) -> impl FnMut(Progress) + Send {
    |progress| {
        if let Progress::Line(line) = progress {
            lines.push(line);
        }
    }
}

fn rand_id(id: &str, version: u32) -> u128 {
    id.bytes().fold(u128::from(version), |sum, byte| sum * 257 + u128::from(byte))
}
