//! A source whose worker is killed while messages flow.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use producer_e2e::{
    Binary, DEADLINE, Database, RedisTarget, Rest, SLACK, SentEvent, Service, Worker, eventually,
    eventually_within,
};
use serde_json::{Value, json};

use crate::macros::on_both_databases;

on_both_databases!(every_message_takes_effect_once_over_a_killed_worker);

/// The messages of a dead worker are taken over so long after.
const TAKEN_OVER: Duration = Duration::from_secs(30);
const STREAM: &str = "orders";
const ENTITIES: usize = 10;
/// Messages before and after the worker is killed; some more are under way then.
const MESSAGES: usize = 400;

/// Messages that are no events, and what their dead letters have of the field.
const POISON: [(&[u8], &str); 3] = [
    (b"{\"eventHeader\":", "{\"eventHeader\":"),
    (b"\xff\x00", "/wA="),
    (b"{\"eventBody\":{\"entities\":[]}}", "{\"eventBody\":{\"entities\":[]}}"),
];

async fn every_message_takes_effect_once_over_a_killed_worker(database: &Database) {
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

    let mut sender = Sender { redis: &redis, sent: 0 };
    sender.send(MESSAGES).await;
    for (poison, _) in POISON {
        redis.send(STREAM, "data", poison).await;
    }
    sender.send(MESSAGES).await;
    eventually("the first worker is in the middle", async || applied(&client).await > 50).await;
    first.kill().await;
    let killed_at = Instant::now();
    let before = applied(&client).await;
    sender.send(MESSAGES).await;

    eventually_within(TAKEN_OVER + SLACK, "the second worker goes on", async || {
        applied(&client).await > before
    })
    .await;
    println!(
        "FIGURES a killed source: {before} applied, then on after {:.1?}",
        killed_at.elapsed()
    );
    let sent = sender.sent as u64;
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

struct Sender<'a> {
    redis: &'a RedisTarget,
    /// Messages with different content.
    sent: usize,
}

impl Sender<'_> {
    /// Sends so many messages. Every second one has a uuid, and is sent twice.
    async fn send(&mut self, messages: usize) {
        for _ in 0..messages {
            let id = format!("order-{}", self.sent % ENTITIES);
            let mut event = SentEvent::new("Order", &id, json!({"n": self.sent})).json();
            let twice = self.sent.is_multiple_of(2);
            if !twice && let Some(header) = event["eventHeader"].as_object_mut() {
                header.remove("uuid");
            }
            for _ in 0..if twice { 2 } else { 1 } {
                self.redis.send(STREAM, "data", event.to_string().as_bytes()).await;
            }
            self.sent += 1;
        }
    }
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
