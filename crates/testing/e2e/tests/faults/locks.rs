//! Foreign sessions that hold rows, or want them in another order.

use std::time::{Duration, Instant};

use e2e::{Api, Database, Load, NEIGHBOUR_DEADLINE, Outcome, SentEvent, Service};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinHandle;

use crate::judge;

async fn scene(database: &Database) -> (Service, Service, Load) {
    let (rest, grpc) = Service::start_both(&database.settings()).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    load.history().more_done(100).await;
    (rest, grpc, load)
}

const HELD: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_row_held_for_ten_seconds_delays_only_its_own_events() {
    let database = Database::postgres().await;
    let (rest, grpc, load) = scene(&database).await;
    let api: Api = rest.rest().into();
    let held = |n: u32| SentEvent::new("Held", "one", json!({ format!("n{n}"): n }));
    assert!(matches!(api.send(&held(0)).await, Outcome::Done { .. }));

    let mut foreign = PgConnection::connect(database.url()).await.unwrap();
    let lock = "BEGIN; SELECT FROM entities WHERE entity_type = 'Held' FOR UPDATE";
    foreign.execute(lock).await.unwrap();
    let (start, mut refused, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while start.elapsed() < HELD {
        let asked = Instant::now();
        let outcome = api.send(&held(1)).await;
        assert_eq!(outcome, Outcome::Refused { retry_after: true });
        longest = longest.max(asked.elapsed());
        refused += 1;
    }
    assert!(longest < e2e::ANSWER_DEADLINE, "{longest:?}");
    foreign.execute("ROLLBACK").await.unwrap();
    let versions = vec![2];
    assert_eq!(api.send(&held(1)).await, Outcome::Done { duplicate: false, versions });

    let what =
        format!("neighbours of a row held for 10 s (its own: {refused} refused, {longest:.2?})");
    let history = judge(load, &rest.rest(), &what).await;
    history.assert_all_done();
    let waited = history.records().iter().map(|record| record.took).max().unwrap();
    assert!(waited < NEIGHBOUR_DEADLINE, "{waited:?}");
    drop(grpc);
}

/// A session that updates two entities in the order that is not ours, again and again.
async fn contrary(url: String, isolation: &'static str, until: Instant) -> u32 {
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
async fn deadlocks_and_serialization_failures_are_settled() {
    let database = Database::postgres().await;
    let (rest, grpc, load) = scene(&database).await;
    let until = Instant::now() + Duration::from_secs(5);
    let sessions: Vec<JoinHandle<u32>> =
        ["BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"]
            .into_iter()
            .map(|isolation| tokio::spawn(contrary(database.url().to_owned(), isolation, until)))
            .collect();
    let mut lost = 0;
    for session in sessions {
        lost += session.await.unwrap();
    }
    load.history().more_done(100).await;
    let what = format!("three foreign sessions in contrary order ({lost} of theirs failed)");
    judge(load, &rest.rest(), &what).await;
    drop(grpc);
}
