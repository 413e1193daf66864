//! Sinks that fail in every way beside one that does not.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use producer_e2e::{
    Answer, Binary, DEADLINE, Database, EntityKey, Outcome, RedisTarget, SLACK, SentEvent, Service,
    StreamLog, Webhook, Worker, eventually, eventually_within,
};
use serde_json::json;
use tokio::time::sleep;

use super::{cache_sink, stream_sink, webhook_sink};
use crate::macros::on_both_databases;

on_both_databases!(a_good_sink_is_not_late_while_others_fail);

/// A change that was committed has arrived so long after.
const LATE: Duration = Duration::from_secs(2);
/// For so long a target is away.
const AWAY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

async fn a_good_sink_is_not_late_while_others_fail(database: &Database) {
    let (good, away) = (RedisTarget::start().await, RedisTarget::start().await);
    let hanging = Webhook::start(Answer::Hang).await;
    let refusing = Webhook::start(Answer::Status(400, "I take nothing".into())).await;
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let client = rest.rest();
    let config = [
        stream_sink("good", &good),
        cache_sink("good-cache", &good),
        webhook_sink("hanging", &hanging.url(), "timeout = \"2s\""),
        webhook_sink("refusing", &refusing.url(), ""),
        stream_sink("away", &away),
        cache_sink("away-cache", &away),
    ]
    .concat();
    let worker = Worker::start(&database.settings(), &config).await;
    let names = ["good", "good-cache", "hanging", "refusing", "away", "away-cache"];
    worker.runs(&names).await;

    away.kill().await;
    let arrivals = Arrivals::watch(&good);
    let mut committed = HashMap::new();
    let start = Instant::now();
    while start.elapsed() < AWAY {
        let id = format!("car-{}", committed.len());
        let event = SentEvent::new("Car", &id, json!({"n": committed.len()}));
        let outcome = client.send(&event).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        committed.insert(id, Instant::now());
        sleep(PAUSE).await;
    }
    let all = committed.len();
    for name in ["hanging", "away", "away-cache"] {
        let sink = client.connector(&format!("sinks/{name}")).await;
        assert_eq!(sink["state"], "retrying", "{sink}");
        assert!(sink["lastError"]["detail"].is_string(), "{sink}");
    }
    eventually_within(LATE + SLACK, "the last change arrives", async || arrivals.count() == all)
        .await;
    let lags = arrivals.stop().await;
    let late: Vec<_> = committed
        .iter()
        .map(|(id, at)| (id, lags[id].saturating_duration_since(*at)))
        .filter(|(_, lag)| *lag > LATE + SLACK)
        .collect();
    assert!(late.is_empty(), "late: {late:?}");
    let slowest = committed.iter().map(|(id, at)| lags[id].saturating_duration_since(*at)).max();
    println!("FIGURES isolation: {all} changes, slowest after {slowest:.1?}");
    eventually("the good cache has all", async || good.cached().await.unwrap().len() == all).await;

    // each entity has one change, so each is a dead letter
    eventually("all that was refused is dead", async || {
        client.connector("sinks/refusing").await["deadLetters"] == all
    })
    .await;
    away.restart().await;
    hanging.set(Answer::Status(204, String::new()));
    let key = |id: &String| (EntityKey { entity_type: "Car".into(), entity_id: id.clone() }, 1);
    let versions: HashMap<_, _> = committed.keys().map(key).collect();
    let mut log = StreamLog::new("away");
    eventually_within(2 * DEADLINE, "all others catch up", async || {
        log.read(&away).await.unwrap();
        let has_all = log.has(&versions) && away.cached().await.unwrap().len() == all;
        let hooks = hanging.delivered().into_iter().map(|sent| sent.body["subject"].clone());
        let hooks: HashSet<_> =
            hooks.map(|subject| subject.as_str().unwrap_or_default().to_owned()).collect();
        has_all && hooks.len() == all && client.connector("sinks/hanging").await["caughtUp"] == true
    })
    .await;
    worker.stop().await;
    rest.stop().await;
}

/// When each entity arrives in the stream `good` first.
struct Arrivals {
    at: Arc<Mutex<HashMap<String, Instant>>>,
    watching: tokio::task::JoinHandle<()>,
}

impl Arrivals {
    fn watch(redis: &RedisTarget) -> Self {
        let at = Arc::new(Mutex::new(HashMap::new()));
        let (arrived, redis) = (Arc::clone(&at), redis.clone());
        let watching = tokio::spawn(async move {
            let mut last = "0-0".to_owned();
            loop {
                for entry in redis.entries("good", &last).await.unwrap() {
                    last = entry.id;
                    let now = Instant::now();
                    arrived.lock().unwrap().entry(entry.key.entity_id).or_insert(now);
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self { at, watching }
    }

    fn count(&self) -> usize {
        self.at.lock().unwrap().len()
    }

    async fn stop(self) -> HashMap<String, Instant> {
        self.watching.abort();
        let _ = self.watching.await;
        std::mem::take(&mut *self.at.lock().unwrap())
    }
}
