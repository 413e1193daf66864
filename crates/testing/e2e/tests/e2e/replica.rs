//! `READ_DATABASE_URL`: reads over many rows go to a replica, and nothing else misses it.

use std::sync::Arc;

use producer_e2e::{Binary, Outcome, SentEvent, Service, eventually};
use producer_test_support::Postgres;
use serde_json::json;
use tokio::task::spawn_blocking;

const CAR: &str = "/api/v1/entities/Car/car-1";
const HISTORY: &str = "/api/v1/entities/Car/car-1/history";

#[tokio::test]
async fn what_is_read_from_a_replica_alone_fails_while_that_is_down() {
    let (primary, replica) = spawn_blocking(|| {
        let primary = Postgres::own();
        let replica = Arc::new(primary.standby());
        (primary, replica)
    })
    .await
    .unwrap();
    let (url, replica_url) = (primary.url("postgres"), replica.url("postgres"));
    let settings = [("DATABASE_URL", &*url), ("READ_DATABASE_URL", &*replica_url)];
    let service = Service::start(Binary::Rest, &settings).await;
    let rest = service.rest();
    let outcome = rest.send(&SentEvent::new("Car", "car-1", json!({"km": 1}))).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    eventually("the update in the replica", async || rest.get(HISTORY).await.0 == 200).await;

    // from now on commits would wait for the replica
    let stopped = Arc::clone(&replica);
    spawn_blocking(move || stopped.stop()).await.unwrap();
    let (status, problem) = rest.get(HISTORY).await;
    assert_eq!((status, &problem["retryable"]), (503, &true.into()), "{problem}");
    for path in [CAR, "/readyz", "/api/v1/events/health"] {
        assert_eq!(rest.get(path).await.0, 200, "{path}");
    }
    let started = Arc::clone(&replica);
    spawn_blocking(move || started.start()).await.unwrap();
    eventually("the replica again", async || rest.get(HISTORY).await.0 == 200).await;
    service.stop().await;
    drop(primary);
}
