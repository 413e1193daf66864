//! Pruning under load, and pruning that is killed.

mod anew;

use producer_e2e::{
    Binary, DEADLINE, Database, Load, Outcome, Rest, SentEvent, Service, eventually,
};
use serde_json::json;
use tokio::process::Command;
use uuid::Uuid;

use crate::macros::on_both_databases;
use crate::rebuild_is_clean;

on_both_databases!(
    concurrent_pruning_under_load_loses_no_update,
    killed_pruning_leaves_a_consistent_log,
);

fn prune(database: &Database, folder: &tempfile::TempDir, older_than: &str) -> Command {
    let mut command = Binary::Rest.command(folder.path(), &database.settings());
    command.args(["prune", "--yes", "--older-than", older_than]);
    command
}

/// Runs `prune` and returns its output.
async fn pruned(database: &Database, older_than: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = prune(database, &folder, older_than).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(output.status.success(), "{} {text}", output.status);
    text
}

async fn concurrent_pruning_under_load_loses_no_update(database: &Database) {
    let (rest, grpc) = Service::start_both(&database.settings()).await;
    let load = Load::start(&[rest.rest().into(), grpc.grpc().into()], 8, 5);
    for _ in 0..4 {
        load.history().more_done(100).await;
        tokio::join!(pruned(database, "200ms"), pruned(database, "1ms"));
    }
    let history = load.stop().await;
    history.print_summary("pruned under load");
    history.check_states(&rest.rest()).await;
    pruned(database, "1ms").await;
    for record in history.records().iter().take(20) {
        let (status, _) = rest.rest().get(&format!("/api/v1/events/{}", record.event.uuid)).await;
        assert_eq!(status, 404, "{record:?}");
    }
    rest.stop().await;
    grpc.stop().await;
    rebuild_is_clean(database).await;
}

/// Entities, and events for each: enough that pruning takes a while.
const ENTITIES: usize = 120;
const EVENTS: usize = 60;

async fn killed_pruning_leaves_a_consistent_log(database: &Database) {
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let (first, last) = fill(&rest.rest()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut pruning = prune(database, &folder, "1ms").spawn().unwrap();
    let client = rest.rest();
    eventually("the first event is pruned", async || status(&client, &first).await == 404).await;
    pruning.kill().await.unwrap();
    assert_eq!(status(&client, &last).await, 200, "it was killed before its end");
    rebuild_is_clean(database).await;

    let text = pruned(database, "1ms").await;
    assert!(text.contains("log entries deleted"), "{text}");
    assert_eq!(status(&client, &last).await, 404);
    let again = pruned(database, "1d").await;
    assert!(again.starts_with("0 log entries deleted"), "{again}");
    // a pruned uuid is new again
    let versions = vec![EVENTS as u64 + 1];
    assert_eq!(client.send(&first).await, Outcome::Done { duplicate: false, versions });
    assert_eq!(status(&client, &first).await, 200);
    rest.stop().await;
    rebuild_is_clean(database).await;
}

async fn status(rest: &Rest, event: &SentEvent) -> u16 {
    rest.get(&format!("/api/v1/events/{}", event.uuid)).await.0
}

/// Fills the log; returns an event of the first and one of the last entity in the order of keys.
async fn fill(rest: &Rest) -> (SentEvent, SentEvent) {
    let events: Vec<_> = (0..EVENTS * ENTITIES)
        .map(|n| {
            let id = format!("car-{:03}", n % ENTITIES);
            SentEvent::new("Car", &id, json!({ Uuid::new_v4().to_string(): n }))
        })
        .collect();
    let lines: String = events.iter().map(|event| format!("{}\n", event.json())).collect();
    let url = rest.url("/api/v1/events/bulk?results=none");
    let send = rest.http.post(url).header("content-type", "application/x-ndjson");
    let answer = send.timeout(4 * DEADLINE).body(lines).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["success"], true, "{answer}");
    (events[0].clone(), events[ENTITIES - 1].clone())
}
