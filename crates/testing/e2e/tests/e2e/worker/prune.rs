//! Pruning beside sinks.

use std::ops::RangeInclusive;

use producer_e2e::{
    Binary, Database, EntityKey, Outcome, RedisTarget, Rest, SentEvent, Service, StreamLog, Worker,
    eventually,
};
use serde_json::json;

use super::stream_sink;
use crate::macros::on_both_databases;

on_both_databases!(pruning_stops_at_a_slow_sink_unless_it_is_told_otherwise);

/// Versions of one entity, from `first`.
async fn send(client: &Rest, versions: RangeInclusive<u64>) -> Vec<SentEvent> {
    let mut sent = Vec::new();
    for version in versions {
        let event = SentEvent::new("Car", "car-1", json!({"n": version}));
        let done = Outcome::Done { duplicate: false, versions: vec![version] };
        assert_eq!(client.send(&event).await, done);
        sent.push(event);
    }
    sent
}

async fn is_kept(client: &Rest, event: &SentEvent) -> bool {
    client.get(&format!("/api/v1/events/{}", event.uuid)).await.0 == 200
}

async fn pruning_stops_at_a_slow_sink_unless_it_is_told_otherwise(database: &Database) {
    let redis = RedisTarget::start().await;
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let client = rest.rest();
    let config = stream_sink("events", &redis);
    let worker = Worker::start(&database.settings(), &config).await;
    let delivered = send(&client, 1..=5).await;
    let caught_up = async || client.connector("sinks/events").await["caughtUp"] == true;
    let mut log = StreamLog::new("events");
    let versions = |version| {
        let (entity_type, entity_id) = ("Car".to_owned(), "car-1".to_owned());
        [(EntityKey { entity_type, entity_id }, version)].into()
    };
    let has = async |log: &mut StreamLog, version| {
        eventually("the sink delivers", async || {
            log.read(&redis).await.unwrap();
            log.has(&versions(version)) && caught_up().await
        })
        .await;
    };
    has(&mut log, 5).await;
    worker.stop().await;
    let behind = send(&client, 6..=10).await;

    let pruned = async |arguments: &[&str]| {
        let prune = [&["prune", "--yes", "--older-than", "1ms"], arguments].concat();
        let output = rest.run(&prune).await;
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{text}");
        text
    };
    let warning = "sink events has delivered up to position";
    let text = pruned(&[]).await;
    assert!(text.contains(warning), "{text}");
    assert!(!is_kept(&client, &delivered[0]).await, "what was delivered is pruned: {text}");
    for event in &behind {
        assert!(is_kept(&client, event).await, "{text}");
    }
    let worker = Worker::start(&database.settings(), &config).await;
    has(&mut log, 10).await;
    assert_eq!(log.problems(&versions(10)), Vec::<String>::new());
    worker.stop().await;

    let behind = send(&client, 11..=15).await;
    let text = pruned(&["--past-sinks"]).await;
    assert!(!text.contains(warning), "{text}");
    assert!(!is_kept(&client, &behind[0]).await, "{text}");
    let worker = Worker::start(&database.settings(), &config).await;
    eventually("the sink pauses itself", async || {
        client.connector("sinks/events").await["state"] == "paused"
    })
    .await;
    let says_why = async || {
        let sink = client.connector("sinks/events").await;
        sink["lastError"]["detail"].as_str().is_some_and(|why| why.contains("/reset"))
    };
    eventually("it says what to do", says_why).await;
    worker.stop().await;
    rest.stop().await;
}
