//! Other sessions that lock rows, or lock them in another order.

use std::time::{Duration, Instant};

use producer_e2e::{Api, Database, Load, NEIGHBOUR_DEADLINE, Outcome, SentEvent, Service};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinHandle;

use crate::stop_and_check;

async fn start(database: &Database) -> (Service, Service, Load) {
    let (rest, grpc) = Service::start_both(&database.settings()).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(100).await;
    (rest, grpc, load)
}

const LOCKED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_row_locked_for_ten_seconds_delays_only_its_own_events() {
    let database = Database::postgres().await;
    let (rest, grpc, load) = start(&database).await;
    let api: Api = rest.rest().into();
    let held = |n: u32| SentEvent::new("Held", "one", json!({ format!("n{n}"): n }));
    assert!(matches!(api.send(&held(0)).await, Outcome::Done { .. }));

    let mut other = PgConnection::connect(database.url()).await.unwrap();
    let lock = "BEGIN; SELECT FROM entities WHERE entity_type = 'Held' FOR UPDATE";
    other.execute(lock).await.unwrap();
    let (start, mut refused, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while start.elapsed() < LOCKED {
        let asked = Instant::now();
        let outcome = api.send(&held(1)).await;
        assert_eq!(outcome, Outcome::Refused { retry_after: true });
        longest = longest.max(asked.elapsed());
        refused += 1;
    }
    assert!(longest < producer_e2e::ANSWER_DEADLINE, "{longest:?}");
    other.execute("ROLLBACK").await.unwrap();
    let versions = vec![2];
    assert_eq!(api.send(&held(1)).await, Outcome::Done { duplicate: false, versions });

    let what = format!(
        "a row locked for 10 s (its events: {refused} refused, {longest:.2?}), other events"
    );
    let history = stop_and_check(load, &rest.rest(), &what).await;
    history.assert_all_done();
    let waited = history.records().iter().map(|record| record.took).max().unwrap();
    assert!(waited < NEIGHBOUR_DEADLINE, "{waited:?}");
    drop(grpc);
}

/// A session that repeatedly updates two entities in the opposite order.
async fn update_in_opposite_order(url: String, isolation: &'static str, until: Instant) -> u32 {
    let mut session = PgConnection::connect(&url).await.unwrap();
    session.execute("SET deadlock_timeout = '20ms'").await.unwrap();
    let mut lost = 0;
    while Instant::now() < until {
        for statement in [
            isolation,
            "UPDATE entities SET size = size WHERE entity_id = 'car-3'",
            "SELECT pg_sleep(0.02)",
            "UPDATE entities SET size = size WHERE entity_id = 'car-1'",
        ] {
            if session.execute(statement).await.is_err() {
                lost += 1;
                break;
            }
        }
        session.execute("ROLLBACK").await.unwrap();
    }
    lost
}

#[tokio::test]
async fn deadlocks_and_serialization_failures_lose_nothing() {
    let database = Database::postgres().await;
    let (rest, grpc, load) = start(&database).await;
    let until = Instant::now() + Duration::from_secs(5);
    let sessions: Vec<JoinHandle<u32>> =
        ["BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"]
            .into_iter()
            .map(|isolation| {
                tokio::spawn(update_in_opposite_order(database.url().to_owned(), isolation, until))
            })
            .collect();
    let mut lost = 0;
    for session in sessions {
        lost += session.await.unwrap();
    }
    load.history().more_done(100).await;
    let what =
        format!("three sessions in the opposite order ({lost} of their transactions failed)");
    stop_and_check(load, &rest.rest(), &what).await;
    drop(grpc);
}
