//! Leases: one worker at a time, and none that goes on when its lease has ended.

use std::sync::Arc;
use std::time::Duration;

use producer_core::store::Store;
use producer_core::worker::{Report, Role};
use producer_test_support::Postgres;
use producer_worker::runner::lease::{self, Claim, LeaseTimes};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{Db, migrated, on_both};

const DURATION: Duration = Duration::from_secs(1);

on_both!(
    a_released_lease_is_taken_at_once_and_a_dropped_one_when_it_ends,
    what_is_asked_arrives_and_what_is_said_is_shown,
    a_shutdown_ends_the_waiting,
);

fn claim(store: &Arc<dyn Store>, worker: &str) -> Claim {
    Claim {
        store: store.clone(),
        role: Role::Source,
        name: "cars".into(),
        worker: worker.into(),
        times: LeaseTimes {
            duration: DURATION,
            renew_every: Duration::from_millis(50),
            take_every: Duration::from_millis(20),
            take_for: Duration::from_secs(10),
        },
    }
}

async fn register(store: &Arc<dyn Store>) {
    store.register(Role::Source, "cars", "redis-stream", None).await.expect("registered");
}

async fn a_released_lease_is_taken_at_once_and_a_dropped_one_when_it_ends(db: Db) {
    register(&db.store).await;
    let never = CancellationToken::new();
    let (one, two) = (claim(&db.store, "one"), claim(&db.store, "two"));
    let (first, held) = lease::take(&one, &never).await.expect("a lease");
    let impatient = LeaseTimes { take_for: 2 * DURATION, ..two.times };
    let impatient = Claim { times: impatient, ..two.clone() };
    assert!(lease::take(&impatient, &never).await.is_none(), "it is renewed");
    assert!(held.is_held());
    held.release().await;
    let began = Instant::now();
    let (second, held) = lease::take(&two, &never).await.expect("a lease");
    assert!(began.elapsed() < DURATION / 2, "{:?}", began.elapsed());
    assert!(second.epoch > first.epoch);
    let began = Instant::now();
    drop(held);
    let (third, held) = lease::take(&one, &never).await.expect("a lease");
    assert!(began.elapsed() > DURATION / 2, "{:?}", began.elapsed());
    assert!(third.epoch > second.epoch);
    held.release().await;
}

async fn what_is_asked_arrives_and_what_is_said_is_shown(db: Db) {
    register(&db.store).await;
    let never = CancellationToken::new();
    let (_, held) = lease::take(&claim(&db.store, "one"), &never).await.expect("a lease");
    let mut control = held.control();
    assert!(!control.borrow().paused);
    db.store.set_paused(Role::Source, "cars", true).await.expect("paused");
    let paused = timeout(DURATION, control.wait_for(|control| control.paused)).await;
    assert!(paused.is_ok_and(|paused| paused.is_ok()));
    held.report(Report { waiting: Some(7), ..Report::default() });
    let began = Instant::now();
    loop {
        let found = db.store.connectors(Role::Source, Some("cars")).await.expect("connectors");
        if found[0].report.waiting == Some(7) {
            assert_eq!(found[0].worker.as_deref(), Some("one"));
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{found:?}");
        sleep(Duration::from_millis(10)).await;
    }
    held.release().await;
}

async fn a_shutdown_ends_the_waiting(db: Db) {
    let shutdown = CancellationToken::new();
    let one = claim(&db.store, "one");
    let waits = lease::take(&one, &shutdown);
    let stops = async { shutdown.cancel() };
    // the connector is not known, so there is no lease
    let (taken, ()) = tokio::join!(waits, stops);
    assert!(taken.is_none());
}

/// A database that does not answer: the lease may be another worker's by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_cant_be_renewed_is_lost() {
    let server = Postgres::own();
    let database = server.fresh_database().await;
    let store = migrated(database.url()).await;
    register(&store).await;
    let never = CancellationToken::new();
    let (first, held) = lease::take(&claim(&store, "one"), &never).await.expect("a lease");
    server.freeze();
    let began = Instant::now();
    held.lost().cancelled().await;
    assert!(began.elapsed() < 2 * DURATION, "{:?}", began.elapsed());
    assert!(!held.is_held());
    server.thaw();
    let (second, again) = lease::take(&claim(&store, "two"), &never).await.expect("a lease");
    assert!(second.epoch > first.epoch);
    held.release().await;
    assert!(again.is_held());
    again.release().await;
}
