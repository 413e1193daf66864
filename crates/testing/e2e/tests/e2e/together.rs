//! Several processes on one database.

use futures_util::future::join_all;
use producer_e2e::{Api, Binary, Database, Load, Outcome, SentEvent, Service};
use serde_json::json;

use crate::macros::on_both_databases;
use crate::rebuild_is_clean;

on_both_databases!(
    both_apis_under_load_lose_nothing_and_none_starves,
    the_same_event_through_both_apis_takes_effect_once,
    writers_in_two_processes_on_one_entity_lose_no_update,
    one_event_forty_times_at_once_takes_effect_once,
);

/// Acknowledged events of each of two APIs that write at the same time.
const EACH: usize = 250;

async fn both_apis_under_load_lose_nothing_and_none_starves(database: &Database) {
    let (rest, grpc) = Service::start_both(&database.settings()).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    for sender in [0, 1] {
        load.history().more("events of each API", EACH, |record| record.sender == sender).await;
    }
    let history = load.stop().await;
    history.assert_all_done();
    history.check(&rest.rest()).await;
    rest.stop().await;
    grpc.stop().await;
    rebuild_is_clean(database).await;
}

async fn the_same_event_through_both_apis_takes_effect_once(database: &Database) {
    let (rest, grpc) = Service::start_both(&database.settings()).await;
    let apis: [Api; 2] = [rest.rest().into(), grpc.grpc().into()];
    for (first, second) in [(0, 1), (1, 0)] {
        let event = SentEvent::new("Car", &format!("car-{first}"), json!({"owner": {"name": "A"}}))
            .and("Loan", &format!("loan-{first}"), json!({"rate": 0.045}));
        let versions = vec![1, 1];
        let done = Outcome::Done { duplicate: false, versions: versions.clone() };
        assert_eq!(apis[first].send(&event).await, done);
        assert_eq!(apis[second].send(&event).await, Outcome::Done { duplicate: true, versions });
        assert_eq!(rest.rest().entity("Car", &format!("car-{first}")).await.0, 1);
    }
}

async fn writers_in_two_processes_on_one_entity_lose_no_update(database: &Database) {
    let one = Service::start(Binary::Rest, &database.settings()).await;
    let two = Service::start(Binary::Rest, &database.settings()).await;
    let load = Load::start(&[one.rest().into(), two.rest().into()], 16, 1);
    for sender in [0, 1] {
        load.history().more("events of each process", EACH, |record| record.sender == sender).await;
    }
    let history = load.stop().await;
    history.assert_all_done();
    history.check(&two.rest()).await;
}

async fn one_event_forty_times_at_once_takes_effect_once(database: &Database) {
    let one = Service::start(Binary::Rest, &database.settings()).await;
    let two = Service::start(Binary::Rest, &database.settings()).await;
    let grpc = Service::start(Binary::Grpc, &database.settings()).await;
    let apis: [Api; 3] = [one.rest().into(), two.rest().into(), grpc.grpc().into()];
    for round in 1..=5 {
        let event = SentEvent::new("Car", "car-1", json!({ format!("round{round}"): true })).and(
            "Car",
            &format!("car-of-round-{round}"),
            json!({}),
        );
        let sends = (0..40).map(|copy| apis[copy % 3].send(&event));
        let outcomes = join_all(sends).await;
        let done = |duplicate| Outcome::Done { duplicate, versions: vec![round, 1] };
        let first = outcomes.iter().filter(|outcome| **outcome == done(false)).count();
        let again = outcomes.iter().filter(|outcome| **outcome == done(true)).count();
        assert_eq!((first, again), (1, 39), "{outcomes:?}");
    }
    assert_eq!(one.rest().entity("Car", "car-1").await.0, 5);
}
