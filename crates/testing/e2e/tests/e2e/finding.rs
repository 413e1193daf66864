//! Indexes and search that are built while processes write that have not heard of them, and while processes
//! are killed.

mod building;
mod questions;
mod writers;

use std::path::Path;
use std::process::Stdio;
use std::slice;
use std::time::Duration;

use producer_e2e::{Api, Binary, DEADLINE, Database, Rest, Service, Signal, eventually};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use self::building::Building;
use self::writers::Writers;
use crate::macros::on_both_databases;
use crate::rebuild_is_clean;

on_both_databases!(
    what_is_written_while_indexes_are_built_is_found,
    a_service_goes_on_where_types_apply_was_killed,
    types_apply_goes_on_where_a_service_was_killed,
);

/// What all tests declare of cars.
const DEFINITION: &str = r#"{
    "indexes": ["data.price", ["data.dealer", "createdAt"], ["data.make", "data.price"],
        "data.owner.city", "updatedAt"],
    "search": {"paths": {"data.title": 4, "data.notes": 1}, "language": "english"}
}"#;

/// What a service logs that begins to build, and one that takes over.
const BEGUN: &str = "indexes are being built";
const TAKEN_OVER: &str = "building indexes is taken over";

/// Three services write, one of which declares. Whichever builds is killed in the middle, and another takes
/// over. A fourth one has written before and is idle until all is ready: it learns of the definition only
/// when its statement compares the generation.
async fn what_is_written_while_indexes_are_built_is_found(database: &Database) {
    let settings = database.settings();
    let mut services = Vec::new();
    for binary in [Binary::Rest, Binary::Rest, Binary::Grpc, Binary::Grpc] {
        services.push(Service::start(binary, &settings).await);
    }
    let seeded = writers::seed(&services[0].rest()).await;
    let apis: Vec<Api> = services.iter().map(api).collect();
    let (writing, idle) = apis.split_at(3);
    let mut writers = Writers::start(writing, seeded);
    writers.write_through(&idle[0]).await;
    writers.more_of_each(10).await;
    // now each process knows that nothing is declared

    let mut building = Building::watch(database).await;
    declare(&services[0].rest()).await;
    let builder = kill_the_builder(&mut services, &mut building).await;
    goes_on(&services).await;
    services[builder].restart().await;
    all_is_ready(&services[1].rest()).await;

    writers.what_is_answered_is_found(&idle[0], &services[1].rest()).await;
    for api in writing {
        writers.what_is_answered_is_found(api, &services[1].rest()).await;
    }
    writers.more_of_each(20).await;
    let written = writers.stop().await;
    questions::check(&services[0].rest(), &written).await;
    for service in services {
        service.stop().await;
    }
    rebuild_is_clean(database).await;
}

/// Kills the one that builds, in the middle, and waits until another one has taken over. Returns its place.
async fn kill_the_builder(services: &mut [Service], building: &mut Building) -> usize {
    loop {
        let lease = building.middle().await;
        let begun = |service: &Service| {
            let lines = [BEGUN, TAKEN_OVER].map(|message| service.logged(message)).concat();
            lines.iter().filter_map(|line| line["timestamp"].as_str().map(str::to_owned)).max()
        };
        let last = services.iter().enumerate().max_by_key(|(_, service)| begun(service));
        let builder = last.expect("there are services").0;
        kill(&mut services[builder]).await;
        if building.is_under(&lease).await {
            building.is_taken_over(&lease, Instant::now()).await;
            return builder;
        }
        // on a disk that stands still a lease may end by itself: then another one built
        services[builder].restart().await;
    }
}

/// One of them logs that it goes on from where another one was.
async fn goes_on(services: &[Service]) {
    eventually("it goes on from a place", async || {
        let mut lines = services.iter().flat_map(|service| service.logged(TAKEN_OVER));
        lines.any(|line| line["done"].as_u64() > Some(0))
    })
    .await;
}

async fn a_service_goes_on_where_types_apply_was_killed(database: &Database) {
    let service = Service::start(Binary::Rest, &database.settings()).await;
    writers::seed(&service.rest()).await;
    service.stop().await;
    let mut building = Building::watch(database).await;
    let folder = tempfile::tempdir().unwrap();
    let mut applied = types_apply(database, folder.path()).spawn().unwrap();
    let lease = building.middle().await;
    applied.kill().await.unwrap();
    let killed = Instant::now();
    assert!(building.is_under(&lease).await);
    let service = Service::start(Binary::Rest, &database.settings()).await;
    building.is_taken_over(&lease, killed).await;
    goes_on(slice::from_ref(&service)).await;
    all_is_ready(&service.rest()).await;
    service.stop().await;
    rebuild_is_clean(database).await;
}

async fn types_apply_goes_on_where_a_service_was_killed(database: &Database) {
    let mut service = Service::start(Binary::Rest, &database.settings()).await;
    writers::seed(&service.rest()).await;
    let mut building = Building::watch(database).await;
    declare(&service.rest()).await;
    let lease = building.middle().await;
    let folder = tempfile::tempdir().unwrap();
    let applied = types_apply(database, folder.path()).spawn().unwrap();
    kill(&mut service).await;
    assert!(building.is_under(&lease).await);
    building.is_taken_over(&lease, Instant::now()).await;
    let applied = tokio::time::timeout(DEADLINE, applied.wait_with_output()).await;
    let applied = applied.expect("it ends in time").unwrap();
    let printed = String::from_utf8(applied.stdout).unwrap();
    let errors = String::from_utf8_lossy(&applied.stderr);
    assert_eq!(printed, "Car: unchanged: 5 indexes and search\n", "{}: {errors}", applied.status);
    assert!(applied.status.success(), "{}: {errors}", applied.status);
    building.is_finished().await;
    rebuild_is_clean(database).await;
}

fn api(service: &Service) -> Api {
    match service.binary() {
        Binary::Rest => service.rest().into(),
        Binary::Grpc => service.grpc().into(),
        Binary::Worker => panic!("a worker takes no events"),
    }
}

async fn declare(rest: &Rest) {
    let request = rest.http.put(rest.url("/api/v1/types/Car"));
    let request = request.header("content-type", "application/json").body(DEFINITION);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 201, "{:?}", answer.text().await);
}

fn types_apply(database: &Database, folder: &Path) -> Command {
    let definition: Value = serde_json::from_str(DEFINITION).unwrap();
    std::fs::write(folder.join("types.json"), json!({ "Car": definition }).to_string()).unwrap();
    let mut command = Binary::Rest.command(folder, &database.settings());
    command.args(["types", "apply", "types.json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn kill(service: &mut Service) {
    service.signal(Signal::KILL);
    service.exit(DEADLINE).await;
}

/// Waits as long as building goes on.
async fn all_is_ready(rest: &Rest) {
    let (mut seen, mut went_on) = (Value::Null, Instant::now());
    loop {
        let (status, stored) = rest.get("/api/v1/types/Car").await;
        assert_eq!(status, 200, "{stored}");
        let parts = stored["parts"].as_array().unwrap();
        if parts.iter().all(|part| part["status"] == "ready") {
            return;
        }
        for progress in parts.iter().filter_map(|part| part["progress"].as_object()) {
            let total = progress.get("total").unwrap_or(&progress["done"]);
            assert!(progress["done"].as_u64() <= total.as_u64(), "{stored}");
        }
        if stored["parts"] != seen {
            (seen, went_on) = (stored["parts"].clone(), Instant::now());
        }
        assert!(went_on.elapsed() < DEADLINE, "no progress in {DEADLINE:?}: {seen}");
        sleep(Duration::from_millis(50)).await;
    }
}
