//! Readiness: one probe of the database, however many ask.

#[path = "support/store.rs"]
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use producer_core::model::UnavailableKind;
use producer_core::query::ReadError;
use producer_server::readiness::{DatabaseState, Health};
use store::FakeStore;
use tokio::time::{advance, timeout};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

fn health(database: DatabaseState) -> Health {
    Health { draining: false, database: Some(database) }
}

fn fails(kind: UnavailableKind) -> Option<Result<(), ReadError>> {
    Some(Err(ReadError { kind, text: "on purpose".into() }))
}

/// Each watcher asks once a second, as gRPC's do.
#[tokio::test(start_paused = true)]
async fn a_thousand_watchers_cause_a_few_pings_a_second() {
    let store = FakeStore::new();
    let app = store.app(&[]);
    let watch = |n: u64| {
        let readiness = app.readiness.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(n)).await;
            for _ in 0..10 {
                assert_eq!(readiness.check().await, health(DatabaseState::Up));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    join_all((0..1000).map(|n| tokio::spawn(watch(n)))).await;
    let pings = store.pings.load(Ordering::Relaxed);
    assert!((10..=22).contains(&pings), "{pings} in 11 seconds");
}

#[tokio::test]
async fn everyone_waits_for_the_one_ping_in_flight_even_if_its_caller_is_gone() {
    let store = FakeStore::new();
    store.answer.send_replace(None);
    let app = store.app(&[]);
    let first = timeout(Duration::from_millis(50), app.readiness.check()).await;
    assert!(first.is_err(), "nobody answers yet");
    let others: Vec<_> = (0..100)
        .map(|_| {
            let readiness = app.readiness.clone();
            tokio::spawn(async move { readiness.check().await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.answer.send_replace(Some(Ok(())));
    for other in join_all(others).await {
        assert_eq!(other.unwrap(), health(DatabaseState::Up));
    }
    assert_eq!(store.pings.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_database_has_the_requests_time_limit() {
    let store = FakeStore::new();
    store.answer.send_replace(None);
    let app = store.app(&["--request-timeout", "3s"]);
    let before = tokio::time::Instant::now();
    assert_eq!(
        app.readiness.check().await,
        health(DatabaseState::Unavailable(UnavailableKind::Unreachable))
    );
    assert_eq!(before.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_error_has_its_state_and_a_pending_migration_too() {
    let store = FakeStore::new();
    let app = store.app(&[]);
    for (kind, state) in [
        (UnavailableKind::Unreachable, DatabaseState::Unavailable(UnavailableKind::Unreachable)),
        (
            UnavailableKind::Authentication,
            DatabaseState::Unavailable(UnavailableKind::Authentication),
        ),
        (UnavailableKind::Schema, DatabaseState::Unavailable(UnavailableKind::Schema)),
    ] {
        store.answer.send_replace(fails(kind));
        advance(Duration::from_secs(1)).await;
        let found = app.readiness.check().await;
        assert_eq!(found, health(state));
        assert!(found.problem().is_some());
    }
    store.answer.send_replace(Some(Ok(())));
    app.readiness.set_migrating(true);
    advance(Duration::from_secs(1)).await;
    assert_eq!(app.readiness.check().await, health(DatabaseState::Migrating));
    assert_eq!(DatabaseState::Migrating.as_str(), "schema");
    app.readiness.set_migrating(false);
    let ready = app.readiness.check().await;
    assert_eq!((ready, ready.problem()), (health(DatabaseState::Up), None));
}

/// Counts warnings.
struct Warnings(AtomicUsize);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Nobody asks for readiness; and the same with many who do.
#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_logged_once_a_minute() {
    for askers in [0, 10] {
        let warnings = Arc::new(Warnings(AtomicUsize::new(0)));
        let _guard = tracing::subscriber::set_default(Arc::clone(&warnings));
        let store = FakeStore::new();
        store.answer.send_replace(fails(UnavailableKind::Authentication));
        let app = store.app(&[]);
        let ask = || {
            let readiness = app.readiness.clone();
            async move {
                loop {
                    readiness.check().await;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
        let _asking: Vec<_> = (0..askers).map(|_| tokio::spawn(ask())).collect();
        let readiness = app.readiness.clone();
        let watch = tokio::spawn(async move { readiness.watch().await });
        tokio::time::sleep(Duration::from_secs(205)).await;
        assert_eq!(warnings.0.load(Ordering::Relaxed), 4, "at 0, 60, 120 and 180 s; {askers}");
        store.answer.send_replace(Some(Ok(())));
        tokio::time::sleep(Duration::from_secs(205)).await;
        assert_eq!(warnings.0.load(Ordering::Relaxed), 4, "it is ready again");
        app.shutdown.cancel();
        watch.await.expect("it ends with the service");
    }
}

#[tokio::test]
async fn draining_is_reported_at_once_while_the_database_hangs() {
    let store = FakeStore::new();
    store.answer.send_replace(None);
    let app = Arc::new(store.app(&[]));
    let asking = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.readiness.check().await }
    });
    while store.pings.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    app.shutdown.cancel();
    let found = timeout(Duration::from_secs(1), asking).await.unwrap().unwrap();
    assert_eq!(found, Health { draining: true, database: None });
    assert_eq!(found.problem(), Some("the service is draining"));
}
