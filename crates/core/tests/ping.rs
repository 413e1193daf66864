//! What a ping says of a database that can't be served from.

use producer_core::model::UnavailableKind::{self, Authentication, Schema, Unreachable};
use producer_core::query::ReadError;
use producer_core::store::{DatabaseSettings, DatabaseUrl, SCHEMA_VERSION, connect};
use producer_maintenance::{Database, migrate};
use producer_test_support::{Postgres, sqlite_file};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

async fn ping(url: &str) -> Result<(), ReadError> {
    let settings = DatabaseSettings { url: Some(url.to_owned()), ..DatabaseSettings::default() };
    let store = connect(&settings).await.expect("a store");
    let answer = store.ping().await;
    store.close().await;
    answer
}

async fn kind(url: &str) -> Option<UnavailableKind> {
    ping(url).await.err().map(|error| error.kind)
}

async fn up(url: &str) {
    let database = Database::from(DatabaseUrl::parse(Some(url)).expect("a URL"));
    migrate::up(&database).await.expect("migrated");
}

async fn run(url: &str, statements: &str) {
    let statements = AssertSqlSafe(statements.to_owned());
    let executed = match url.starts_with("sqlite") {
        true => SqliteConnection::connect(url)
            .await
            .expect("a connection")
            .execute(statements)
            .await
            .map(drop),
        false => PgConnection::connect(url)
            .await
            .expect("a connection")
            .execute(statements)
            .await
            .map(drop),
    };
    executed.expect("done");
}

#[tokio::test]
async fn each_cause_has_its_kind_and_one_line_about_it() {
    let server = Postgres::shared();
    let database = server.fresh_database().await;
    let stranger = database.url().replacen("//postgres", "//stranger", 1);
    let nobody = "postgres://postgres@127.0.0.1:1/postgres".to_owned();
    for (url, kind, words) in [
        (database.url().to_owned(), Schema, "\"entities\" does not exist"),
        (server.url("no_such_database"), Authentication, "\"no_such_database\" does not exist"),
        (stranger, Authentication, "stranger"),
        (nobody, Unreachable, "Connection refused"),
        (sqlite_file().url(), Schema, "no such table"),
    ] {
        let error = ping(&url).await.expect_err(words);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.text.contains(words), "{error}");
        for no_word in ["at line", "returned from database", "\n"] {
            assert!(!error.text.contains(no_word), "{error}");
        }
    }
}

#[tokio::test]
async fn the_step_that_this_release_needs_must_be_applied() {
    let database = Postgres::shared().fresh_database().await;
    let file = sqlite_file();
    for url in [database.url(), &file.url()] {
        up(url).await;
        assert_eq!(ping(url).await, Ok(()));
        let newer = SCHEMA_VERSION + 1;
        run(url, &format!("UPDATE _producer_migrations SET version = {newer}")).await;
        assert_eq!(kind(url).await, Some(Schema), "a step is pending");
        run(url, &format!("UPDATE _producer_migrations SET version = {SCHEMA_VERSION}")).await;
        assert_eq!(ping(url).await, Ok(()));
        run(url, "DROP TABLE _producer_migrations").await;
        assert_eq!(ping(url).await, Ok(()), "the tables are there: it works, and the log says why");
    }
}

/// The owner migrates, the service's role has no rights on the record.
#[tokio::test]
async fn a_role_that_cannot_read_the_record_is_ready_and_one_that_cannot_read_tables_is_not() {
    let server = Postgres::own();
    let database = server.fresh_database().await;
    up(database.url()).await;
    run(
        database.url(),
        "CREATE ROLE service LOGIN;
         GRANT SELECT, INSERT, UPDATE ON entities, event_log TO service",
    )
    .await;
    let url = database.url().replacen("//postgres", "//service", 1);
    assert_eq!(ping(&url).await, Ok(()));
}
