//! A source whose worker is killed or frozen while messages flow.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use producer_e2e::{
    Binary, DEADLINE, Database, RedisTarget, Rest, SLACK, SentEvent, Service, Signal, Worker,
    eventually, eventually_within,
};
use serde_json::{Value, json};

use super::takeover::freeze;
use crate::macros::on_both_databases;

on_both_databases!(
    every_message_takes_effect_once_over_a_killed_worker,
    every_message_takes_effect_once_over_a_frozen_worker,
);

/// The messages of a dead worker are taken over so long after.
const TAKEN_OVER: Duration = Duration::from_secs(30);
const STREAM: &str = "orders";
const ENTITIES: usize = 10;
/// Messages before the worker is killed or frozen: it takes a while to apply them.
const BEFORE: usize = 3000;
const AFTER: usize = 200;

/// Messages that are no events, and what their dead letters have of the field.
const POISON: [(&[u8], &str); 3] = [
    (b"{\"eventHeader\":", "{\"eventHeader\":"),
    (b"\xff\x00", "/wA="),
    (b"{\"eventBody\":{\"entities\":[]}}", "{\"eventBody\":{\"entities\":[]}}"),
];

async fn every_message_takes_effect_once_over_a_killed_worker(database: &Database) {
    every_message_takes_effect_once(database, Signal::KILL).await;
}

/// It goes on with the messages that it has, which another worker has taken over.
async fn every_message_takes_effect_once_over_a_frozen_worker(database: &Database) {
    every_message_takes_effect_once(database, Signal::STOP).await;
}

async fn every_message_takes_effect_once(database: &Database, signal: Signal) {
    let redis = RedisTarget::start().await;
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let client = rest.rest();
    let config = format!(
        "[[source]]\nname = \"shop\"\nkind = \"redis-stream\"\nurl = \"{}\"\nstream = \"{STREAM}\"\n",
        redis.url()
    );
    let mut first = Worker::start(&database.settings(), &config).await;
    first.runs(&["shop"]).await;
    let second = Worker::start(&database.settings(), &config).await;

    let mut sent = messages(0..BEFORE);
    sent.extend(POISON.map(|(poison, _)| poison.to_vec()));
    redis.send(STREAM, "data", &sent).await;
    eventually("the first worker is in the middle", async || applied(&client).await > 50).await;
    match signal {
        Signal::STOP => freeze(&first, database).await,
        _ => first.kill().await,
    }
    let stopped_at = Instant::now();
    let before = applied(&client).await;
    let sent = (BEFORE + AFTER) as u64;
    assert!(before < BEFORE as u64, "stopped too late");
    redis.send(STREAM, "data", &messages(BEFORE..BEFORE + AFTER)).await;

    eventually_within(TAKEN_OVER + SLACK, "the second worker goes on", async || {
        applied(&client).await > before
    })
    .await;
    let took = stopped_at.elapsed();
    println!("FIGURES a source's worker, {signal:?}: {before} applied, then on after {took:.1?}");
    if signal == Signal::STOP {
        first.thaw();
        eventually("the first worker knows that it lost its lease", async || {
            !first.process.logged("another worker may run this connector now").is_empty()
        })
        .await;
    }
    let all = async || applied(&client).await >= sent;
    eventually_within(4 * DEADLINE, "every message takes effect", all).await;
    eventually("nothing is left to read", async || {
        let source = client.connector("sources/shop").await;
        source["lagChanges"] == 0 && source["caughtUp"] == true
    })
    .await;
    assert_eq!(applied(&client).await, sent, "each once");
    assert_eq!(client.connector("sources/shop").await["worker"], second.name());
    poison_is_kept(&client).await;
    second.stop().await;
    rest.stop().await;
}

/// How many messages took effect: each makes one version.
async fn applied(client: &Rest) -> u64 {
    let mut versions = 0;
    for entity in 0..ENTITIES {
        versions += client.entity("Order", &format!("order-{entity}")).await.0;
    }
    versions
}

/// One message for each of these numbers. Every second one has a uuid, and comes twice.
fn messages(numbers: Range<usize>) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for n in numbers {
        let id = format!("order-{}", n % ENTITIES);
        let mut event = SentEvent::new("Order", &id, json!({"n": n})).json();
        let comes_twice = n.is_multiple_of(2);
        if !comes_twice && let Some(header) = event["eventHeader"].as_object_mut() {
            header.remove("uuid");
        }
        let message = event.to_string().into_bytes();
        messages.extend(comes_twice.then(|| message.clone()));
        messages.push(message);
    }
    messages
}

async fn poison_is_kept(client: &Rest) {
    let (status, page) = client.get("/api/v1/dead-letters?source=shop").await;
    assert_eq!(status, 200, "{page}");
    let letters = page["deadLetters"].as_array().unwrap();
    assert_eq!(letters.len(), POISON.len(), "{page}");
    let mut found = HashMap::<String, String>::new();
    for letter in letters {
        let id = letter["id"].as_str().unwrap();
        let (status, letter) = client.get(&format!("/api/v1/dead-letters/{id}")).await;
        assert_eq!(status, 200, "{letter}");
        let message: Value = serde_json::from_str(letter["message"].as_str().unwrap()).unwrap();
        let data = message["data"].as_str().or(message["data"]["base64"].as_str());
        let error = letter["error"].as_str().unwrap();
        found.insert(data.unwrap().to_owned(), error.to_owned());
    }
    let kept: HashSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(kept, POISON.iter().map(|(_, kept)| *kept).collect(), "{found:?}");
    assert!(found.values().all(|error| !error.is_empty()), "{found:?}");
}
