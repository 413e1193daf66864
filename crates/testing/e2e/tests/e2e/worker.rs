//! `producer-worker` beside the services: workers that are killed, frozen and stopped, targets that fail, and
//! what users see and steer.

mod isolation;
mod names;
mod prune;
mod secrets;
mod source;
mod steering;
mod takeover;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use producer_e2e::{EntityKey, History, Outcome, RedisTarget, Rest, StreamLog, eventually};
use sqlx::{Connection, PgConnection, SqliteConnection};

/// Failures are tried again sooner than by default.
const RETRY: &str =
    "retry = { initial = \"50ms\", max = \"1s\", breaker_failures = 3, breaker_pause = \"1s\" }";

/// Of a writer after each event, where a worker has to catch up with what was written.
const PAUSE: Duration = Duration::from_millis(20);

/// A sink that writes every change to the stream of its name.
fn stream_sink(name: &str, redis: &RedisTarget) -> String {
    format!(
        "[[sink]]\nname = \"{name}\"\nkind = \"redis-stream\"\nurl = \"{}\"\nstream = \"{name}\"\n\
         from = \"start\"\nformat = \"plain\"\n{RETRY}\n",
        redis.url()
    )
}

/// A sink that keeps every entity under its default key.
fn cache_sink(name: &str, redis: &RedisTarget) -> String {
    let url = redis.url();
    format!("[[sink]]\nname = \"{name}\"\nkind = \"redis-cache\"\nurl = \"{url}\"\n{RETRY}\n")
}

/// A sink that posts every change.
fn webhook_sink(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[sink]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}\"\nfrom = \"start\"\n\
         allow_private = true\n{RETRY}\n{more}\n"
    )
}

/// The last version of each entity that was acknowledged.
fn last_versions(history: &History) -> HashMap<EntityKey, u64> {
    let mut last = HashMap::<EntityKey, u64>::new();
    for record in history.records() {
        let Outcome::Done { versions, .. } = &record.outcome else { continue };
        for (update, version) in record.event.updates.iter().zip(versions) {
            let (entity_type, entity_id) = (update.entity_type.clone(), update.entity_id.clone());
            let last = last.entry(EntityKey { entity_type, entity_id }).or_default();
            *last = (*last).max(*version);
        }
    }
    last
}

/// Waits until the stream has all that was acknowledged, and expects each version in order.
async fn stream_has_all(log: &mut StreamLog, redis: &RedisTarget, history: &History) {
    let versions = last_versions(history);
    eventually("the stream has all", async || {
        log.read(redis).await.unwrap();
        log.has(&versions)
    })
    .await;
    assert_eq!(log.problems(&versions), Vec::<String>::new());
}

/// Waits until the cache has what `GET` of each entity answers, and no other entity.
async fn cache_equals_state(redis: &RedisTarget, rest: &Rest, history: &History) {
    let mut expected = BTreeMap::new();
    for EntityKey { entity_type, entity_id } in last_versions(history).into_keys() {
        let (status, state) =
            rest.get(&format!("/api/v1/entities/{entity_type}/{entity_id}")).await;
        assert_eq!(status, 200, "{state}");
        expected.insert(format!("entity:{entity_type}:{entity_id}"), state);
    }
    eventually("the cache is the state", async || {
        redis.cached().await.is_ok_and(|cached| cached == expected)
    })
    .await;
}

/// Waits until another worker than this one runs these sinks and sources (`sinks/NAME`).
async fn taken_over(rest: &Rest, paths: &[&str], from: &str) {
    for path in paths {
        eventually("another worker has it", async || {
            let connector = rest.connector(path).await;
            connector["worker"].as_str().is_some_and(|worker| worker != from)
        })
        .await;
    }
}

/// The position of a sink in the database.
async fn position(url: &str, sink: &str) -> i64 {
    const POSITION: &str = "SELECT position FROM connectors WHERE role = 0 AND name = $1";
    if url.starts_with("sqlite:") {
        let mut file = SqliteConnection::connect(url).await.unwrap();
        return sqlx::query_scalar(POSITION).bind(sink).fetch_one(&mut file).await.unwrap();
    }
    let mut session = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(POSITION).bind(sink).fetch_one(&mut session).await.unwrap()
}
