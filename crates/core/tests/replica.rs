//! Lists and the history of a replica: a streaming standby of PostgreSQL.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::time::Duration;

use producer_core::ProblemKind;
use producer_core::model::AsOf;
use producer_core::query::{CountKind, History, ListRequest, Lists, QueryError, ReadStore, Scans};
use producer_core::store::{DatabaseSettings, DatabaseUrl, connect, connect_replica};
use producer_maintenance::migrate;
use producer_test_support::Postgres;
use support::lists::{Asked, all_types, ids, of_type};
use support::types::{QUICK, Running, declare, until};
use support::{START, apply_through, car, clock, key};
use tokio::task::spawn_blocking;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_serves_lists_and_the_history_and_is_missed_by_nothing_else() {
    let primary = spawn_blocking(Postgres::own).await.unwrap();
    let settings = DatabaseSettings {
        url: Some(primary.url("postgres")),
        acquire_timeout: Duration::from_secs(1),
        ..DatabaseSettings::default()
    };
    let primary_url = DatabaseUrl::parse(settings.url.as_deref()).unwrap();
    migrate::up(&primary_url.into()).await.unwrap();
    let store = connect(&settings).await.unwrap();
    let mut writer = store.writer();
    apply_through(&mut *writer, &[car(1, "a", r#"{"n":2}"#), car(2, "b", r#"{"n":1}"#)]).await;
    declare(&store, r#""data.n""#).await;
    let builder = Running::start(&store, QUICK);
    let (primary, standby) = spawn_blocking(|| {
        let standby = primary.standby();
        (primary, standby)
    })
    .await
    .unwrap();
    apply_through(&mut *writer, &[car(3, "c", r#"{"n":0}"#), car(4, "a", r#"{"n":3}"#)]).await;

    let replica = connect_replica(&standby.url("postgres"), &settings).await.unwrap();
    let scans = Arc::new(Scans::new(4));
    let lists = Lists::new(replica.clone(), replica.clone(), Arc::clone(&scans), clock(START));
    let of_replica: Arc<dyn ReadStore> = replica.clone();
    let history = History::new(of_replica, scans);
    // it is behind by what it has not replayed
    until(async || ids(&lists, of_type("Car").ordered("data.n")).await == ["c", "b", "a"]).await;
    let found = ids(&lists, of_type("Car").filtered("data.n >= 1").ordered("id")).await;
    assert_eq!(found, ["a", "b"]);
    let counted = ListRequest { count: Some(CountKind::Estimated), size: 1, ..of_type("Car") };
    assert_eq!(lists.page(counted).await.unwrap().count.unwrap().value, 3);
    assert_eq!(all_types(&lists, 10).await.len(), 1);
    let first = history.entity(&key("Car", "a"), AsOf::Version(1)).await.unwrap();
    assert_eq!(support::without_spaces(&first.data), r#"{"n":2}"#);

    builder.stop().await;
    let url = standby.url("postgres");
    spawn_blocking(move || standby.stop()).await.unwrap();
    let missing = lists.page(of_type("Car")).await;
    let Err(QueryError::Read(error)) = missing else { panic!("{missing:?}") };
    assert_eq!(error.problem().kind, ProblemKind::Unavailable);
    let down = connect_replica(&url, &settings).await;
    assert!(down.is_ok(), "a replica that is down is no reason not to start");
    assert!(store.ping().await.is_ok());
    assert!(store.entity(&key("Car", "a")).await.unwrap().is_some());
    drop(primary);
}

#[tokio::test]
async fn only_postgres_has_a_replica() {
    let settings =
        DatabaseSettings { url: Some("sqlite://a.db".into()), ..DatabaseSettings::default() };
    let refused = connect_replica("postgres://u@127.0.0.1:1/d", &settings).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.starts_with("READ_DATABASE_URL: SQLite has no replica"), "{error}");
}
