//! Sinks paused, reset, skipped, replayed and deleted through REST.

use std::time::{Duration, Instant};

use producer_e2e::{
    Answer, Binary, Database, Load, Outcome, RedisTarget, Rest, SLACK, SentEvent, Service,
    StreamLog, Webhook, Worker, eventually, eventually_within,
};
use serde_json::{Value, json};

use super::{PAUSE, stream_has_all, stream_sink, webhook_sink};
use crate::macros::on_both_databases;

on_both_databases!(
    a_sink_is_paused_resumed_and_reset,
    a_change_is_skipped_and_replayed_before_what_waits_behind_it,
    a_sink_in_use_is_not_deleted,
);

/// What is asked of a connector is done so long after.
const STEERED: Duration = Duration::from_secs(2);

async fn a_sink_is_paused_resumed_and_reset(database: &Database) {
    let redis = RedisTarget::start().await;
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let client = rest.rest();
    let worker = Worker::start(&database.settings(), &stream_sink("events", &redis)).await;
    let load = Load::with_pause(&[client.clone().into()], 2, 5, PAUSE);
    let entries = async || redis.entries("events", "0-0").await.unwrap().len();
    eventually("the sink delivers", async || entries().await > 20).await;

    let paused_at = Instant::now();
    let (status, sink) = client.steer("/api/v1/sinks/events/pause", None).await;
    assert_eq!((status, &sink["state"]), (200, &json!("paused")), "{sink}");
    // it delivers within less than a second otherwise: for two seconds of changes nothing comes
    let mut last = (entries().await, Instant::now());
    while last.1.elapsed() < STEERED {
        load.history().more_done(5).await;
        let now = entries().await;
        if now != last.0 {
            let took = paused_at.elapsed();
            assert!(took <= STEERED + SLACK, "still delivering after {took:?}");
            last = (now, Instant::now());
        }
    }

    let (status, sink) = client.steer("/api/v1/sinks/events/resume", None).await;
    assert_eq!(status, 200, "{sink}");
    let goes_on = async || entries().await > last.0;
    eventually_within(STEERED + SLACK, "the sink goes on", goes_on).await;
    let history = load.stop().await;
    let mut log = StreamLog::new("events");
    stream_has_all(&mut log, &redis, &history).await;
    assert_eq!(log.duplicates(), 0);

    let all = entries().await;
    let from = Some(json!({"from": "start"}));
    let (status, sink) = client.steer("/api/v1/sinks/events/reset", from).await;
    assert_eq!(status, 200, "{sink}");
    eventually("all comes again", async || entries().await == 2 * all).await;
    log.read(&redis).await.unwrap();
    assert_eq!(log.duplicates(), all);
    worker.stop().await;
    rest.stop().await;
}

async fn send(client: &Rest, id: &str, n: u64) {
    let outcome = client.send(&SentEvent::new("Car", id, json!({"n": n}))).await;
    assert_eq!(outcome, Outcome::Done { duplicate: false, versions: vec![n] });
}

/// `subject` and `sequence` of what a webhook has taken, without the zeros.
fn taken(hook: &Webhook) -> Vec<(String, u64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |body: &Value| (text(&body["subject"]), text(&body["sequence"]).parse().unwrap_or(0));
    hook.delivered().iter().map(|sent| of(&sent.body)).collect()
}

async fn a_change_is_skipped_and_replayed_before_what_waits_behind_it(database: &Database) {
    let hook = Webhook::start(Answer::Status(500, String::new())).await;
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let client = rest.rest();
    let worker = Worker::start(&database.settings(), &webhook_sink("hook", &hook.url(), "")).await;
    send(&client, "stuck", 1).await;
    let current = async || client.connector("sinks/hook").await["current"].clone();
    eventually("the sink can't get past it", async || current().await["tries"].as_u64() >= Some(2))
        .await;
    send(&client, "stuck", 2).await;
    send(&client, "other", 1).await;
    let stuck = current().await;
    assert_eq!((&stuck["entityType"], &stuck["entityId"]), (&json!("Car"), &json!("stuck")));

    let wrong = Some(json!({"token": format!("{}x", stuck["token"].as_str().unwrap())}));
    let (status, answer) = client.steer("/api/v1/sinks/hook/skip", wrong).await;
    assert_eq!(status, 412, "{answer}");
    let right = Some(json!({"token": stuck["token"]}));
    let (status, answer) = client.steer("/api/v1/sinks/hook/skip", right).await;
    assert_eq!(status, 200, "{answer}");
    let letters = async || {
        let (status, page) = client.get("/api/v1/dead-letters?sink=hook").await;
        assert_eq!(status, 200, "{page}");
        page["deadLetters"].as_array().unwrap().clone()
    };
    let in_state =
        async |state: &str| letters().await.into_iter().find(|letter| letter["state"] == state);
    eventually("it is dead, and the next one of its entity waits", async || {
        in_state("dead").await.is_some() && in_state("waiting").await.is_some()
    })
    .await;
    let before = hook.delivered().len();
    hook.set(Answer::Status(204, String::new()));
    let other = ("Car/other".to_owned(), 1);
    eventually("the other entity goes on", async || taken(&hook)[before..].contains(&other)).await;

    let path = |letter: &Value| format!("/api/v1/dead-letters/{}", letter["id"].as_str().unwrap());
    let (dead, waiting) = (in_state("dead").await.unwrap(), in_state("waiting").await.unwrap());
    assert_eq!((&dead["version"], &waiting["version"]), (&json!(1), &json!(2)));
    let (status, answer) = client.steer(&format!("{}/replay", path(&waiting)), None).await;
    assert_eq!(status, 409, "{answer}");
    let before = hook.delivered().len();
    let (status, answer) = client.steer(&format!("{}/replay", path(&dead)), None).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(1)), "{answer}");
    eventually("nothing is dead or waits", async || letters().await.is_empty()).await;
    let replayed = taken(&hook)[before..].to_vec();
    let stuck = |version| ("Car/stuck".to_owned(), version);
    assert_eq!(replayed, [stuck(1), stuck(2)]);
    worker.stop().await;
    rest.stop().await;
}

async fn a_sink_in_use_is_not_deleted(database: &Database) {
    let redis = RedisTarget::start().await;
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let client = rest.rest();
    let worker = Worker::start(&database.settings(), &stream_sink("events", &redis)).await;
    worker.runs(&["events"]).await;
    let (status, answer) = client.delete("/api/v1/sinks/events").await;
    assert_eq!(status, 409, "{answer}");
    assert!(answer["type"].as_str().is_some_and(|kind| kind.ends_with("in-use")), "{answer}");
    worker.stop().await;
    let (status, answer) = client.delete("/api/v1/sinks/events").await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(client.connector("sinks/events").await, Value::Null);
    rest.stop().await;
}
