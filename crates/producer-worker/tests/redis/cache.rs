//! The sink `redis-cache`: what it keeps.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::EntityKey;
use producer_core::query::{ReadError, write_entity};
use producer_test_support::Redis;
use producer_worker::sink::{Present, Sink};
use producer_worker::update::{Cause, Update};

use crate::support::{
    Client, EPOCH, cache_sink, change, delivered, key, logged, outcome, removal, snapshot, state,
};

const ORDER: &str = "entity:Order:o-1";
const GUARD: &str = "entity:Order:o-1:version";

/// The version that a key has.
async fn cached(client: &mut Client, key: &str) -> Option<u64> {
    let text: Option<String> = client.run(&["GET", key]).await;
    let value: serde_json::Value = serde_json::from_str(&text?).expect("JSON");
    value["version"].as_u64()
}

#[tokio::test]
async fn a_key_has_what_get_answers() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), None);
    sink.check().await.expect("it can be written to");
    let order = key("o-1");
    delivered(&*sink, &[change(&order, 1, 1)]).await;
    let mut expected = String::new();
    write_entity(&mut expected, &state(&order, 1), None);
    let mut client = Client::of(&redis.url()).await;
    assert_eq!(client.run::<String>(&["GET", ORDER]).await, expected);
    assert_eq!(client.run::<i64>(&["TTL", ORDER]).await, -1);
    assert_eq!(client.run::<Vec<String>>(&["KEYS", "*"]).await, [ORDER]);
    delivered(&*sink, &[removal(&order, 2, 2)]).await;
    assert_eq!(client.run::<Vec<String>>(&["KEYS", "*"]).await, [GUARD]);
    let seconds: i64 = client.run(&["TTL", GUARD]).await;
    assert!((3500..=3600).contains(&seconds), "{seconds}");
    let expected = format!("deleted 2 2 {EPOCH}");
    assert_eq!(client.run::<String>(&["GET", GUARD]).await, expected);
}

#[tokio::test]
async fn what_does_not_match_any_more_goes() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), None);
    let order = key("o-1");
    let left = Cause::Left(logged(&order, 2, 2, "OrderPaid"));
    let left = Update { cause: left, state: Some(state(&order, 3)) };
    delivered(&*sink, &[change(&order, 1, 1), left]).await;
    let mut client = Client::of(&redis.url()).await;
    assert_eq!(cached(&mut client, ORDER).await, None);
}

#[tokio::test]
async fn older_versions_change_nothing() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), None);
    let mut client = Client::of(&redis.url()).await;
    let order = key("o-1");
    let digits = [change(&order, 9, 9), change(&order, 10, 10), change(&order, 9, 9)];
    delivered(&*sink, &digits).await;
    assert_eq!(cached(&mut client, ORDER).await, Some(10));
    delivered(&*sink, &[removal(&order, 8, 8)]).await;
    assert_eq!(cached(&mut client, ORDER).await, Some(10));
    let updates = [removal(&order, 11, 11), change(&order, 10, 10), removal(&order, 9, 9)];
    delivered(&*sink, &updates).await;
    assert_eq!(cached(&mut client, ORDER).await, None);
    // deleted and pruned, an entity begins with version 1 again
    delivered(&*sink, &[change(&order, 1, 20)]).await;
    assert_eq!(cached(&mut client, ORDER).await, Some(1));
    // versions of more bits than a double has
    let last = u64::MAX;
    delivered(&*sink, &[change(&order, last, 21), change(&order, last - 1, 22)]).await;
    assert_eq!(cached(&mut client, ORDER).await, Some(last));
}

/// All versions of some entities, of which every seventh is a delete.
fn histories() -> Vec<Vec<Update>> {
    let history = |entity: u64| {
        let order = key(&format!("o-{entity}"));
        let update = |version: u64| match version % 7 {
            0 => removal(&order, version, version * 10 + entity),
            _ => change(&order, version, version * 10 + entity),
        };
        (1..=60 + entity).map(update).collect()
    };
    (0..5).map(history).collect()
}

/// Reads the keys again and again, until it is over: no version is behind one that was seen.
async fn watch(url: String, is_over: Arc<AtomicBool>) -> HashMap<u64, u64> {
    let mut client = Client::of(&url).await;
    let mut seen: HashMap<u64, u64> = HashMap::new();
    loop {
        let last_round = is_over.load(Ordering::Relaxed);
        for entity in 0..5 {
            let now = cached(&mut client, &format!("entity:Order:o-{entity}")).await;
            let highest = seen.entry(entity).or_default();
            assert!(now.is_none_or(|now| now >= *highest), "o-{entity}: {now:?} after {highest}");
            *highest = now.unwrap_or(*highest);
        }
        if last_round {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_never_go_back_whoever_writes() {
    for ttl in [None, Some(Duration::from_millis(5)), Some(Duration::from_secs(7200))] {
        let redis = Redis::start();
        let is_over = Arc::new(AtomicBool::new(false));
        let watching = tokio::spawn(watch(redis.url(), Arc::clone(&is_over)));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let sink = cache_sink(&redis.url(), ttl);
                tokio::spawn(async move {
                    let mut random = fastrand::Rng::with_seed(writer);
                    let mut updates: Vec<_> = histories().into_iter().flatten().collect();
                    updates.extend(updates.clone());
                    random.shuffle(&mut updates);
                    for some in updates.chunks(13) {
                        delivered(&*sink, some).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("it ends");
        }
        is_over.store(true, Ordering::Relaxed);
        watching.await.expect("no version went back");
        if ttl.is_none_or(|ttl| ttl > Duration::from_secs(1)) {
            let mut client = Client::of(&redis.url()).await;
            for (entity, history) in histories().iter().enumerate() {
                let last = history.last().expect("one");
                let expected = (!last.is_removal()).then(|| last.version());
                let key = format!("entity:Order:o-{entity}");
                assert_eq!(cached(&mut client, &key).await, expected, "{key}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_ended_is_not_written_by_an_older_version() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), Some(Duration::from_millis(20)));
    let mut client = Client::of(&redis.url()).await;
    let order = key("o-1");
    delivered(&*sink, &[change(&order, 5, 5)]).await;
    client.until(&["EXISTS", ORDER], |there: &u64| *there == 0).await;
    delivered(&*sink, &[change(&order, 4, 4)]).await;
    assert_eq!(cached(&mut client, ORDER).await, None);
    assert_eq!(client.run::<String>(&["GET", GUARD]).await, format!("written 5 5 {EPOCH}"));
    let sink = cache_sink(&redis.url(), Some(Duration::from_secs(7200)));
    // the same version again, such as a retry
    delivered(&*sink, &[change(&order, 5, 5)]).await;
    assert_eq!(cached(&mut client, ORDER).await, Some(5));
    let seconds: i64 = client.run(&["TTL", ORDER]).await;
    assert!((7000..=7200).contains(&seconds), "{seconds}");
    assert_eq!(client.run::<u64>(&["EXISTS", GUARD]).await, 0);
}

#[tokio::test]
async fn a_snapshot_replaces_what_another_history_left() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let (order, gone) = (key("o-1"), key("o-2"));
    let before = cache_sink(&redis.url(), None);
    delivered(&*before, &[change(&order, 9, 9), removal(&gone, 9, 10)]).await;
    // restored to an earlier state
    let sink = cache_sink(&redis.url(), None);
    delivered(&*sink, &[snapshot(&order, 5), snapshot(&gone, 4)]).await;
    assert_eq!(cached(&mut client, ORDER).await, Some(5));
    assert_eq!(cached(&mut client, "entity:Order:o-2").await, Some(4));
    // a snapshot of a worker that is not the last one replaces nothing newer
    delivered(&*before, &[snapshot(&order, 6)]).await;
    delivered(&*sink, &[snapshot(&order, 5)]).await;
    assert_eq!(cached(&mut client, ORDER).await, Some(6));
}

#[tokio::test]
async fn any_id_has_a_key_of_its_own() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), None);
    let long = "\u{1F697}".repeat(255);
    let ids = ["a:b", "a%3Ab", "a/b", "a%b", "\u{1}\n\u{9f}\"\\", "o-1:version", "o-1", &long];
    let updates: Vec<_> = ids.iter().map(|id| change(&key(id), 1, 1)).collect();
    delivered(&*sink, &updates).await;
    let mut client = Client::of(&redis.url()).await;
    assert_eq!(client.run::<usize>(&["DBSIZE"]).await, ids.len());
    let long = format!("entity:Order:{long}");
    for key in ["entity:Order:a%3Ab", "entity:Order:a%253Ab", "entity:Order:a/b", &long] {
        assert_eq!(cached(&mut client, key).await, Some(1), "{key}");
    }
    let again: Vec<_> = ids.iter().map(|id| change(&key(id), 2, 2)).collect();
    delivered(&*sink, &again).await;
    delivered(&*sink, &updates).await;
    assert_eq!(cached(&mut client, "entity:Order:%01%0A%C2%9F\"\\").await, Some(2));
    let removals: Vec<_> = ids.iter().map(|id| removal(&key(id), 3, 3)).collect();
    delivered(&*sink, &removals).await;
    let keys: Vec<String> = client.run(&["KEYS", "*"]).await;
    assert!(keys.iter().all(|key| key.ends_with(":version")), "{keys:?}");
}

#[tokio::test]
async fn without_memory_a_write_fails_and_a_removal_works() {
    let redis = Redis::with(&["--maxmemory-policy", "noeviction"]);
    let sink = cache_sink(&redis.url(), None);
    let mut client = Client::of(&redis.url()).await;
    let (one, other) = (key("o-1"), key("o-2"));
    delivered(&*sink, &[change(&one, 1, 1)]).await;
    let _: () = client.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let updates = [change(&other, 1, 2), removal(&one, 2, 3)];
    let results = sink.deliver(&updates).await.expect("results");
    let outcomes: Vec<_> = results.iter().map(outcome).collect();
    assert_eq!(outcomes, ["failed", "delivered"]);
    assert!(format!("{results:?}").contains("OOM"), "{results:?}");
    assert_eq!(client.run::<Vec<String>>(&["KEYS", "*"]).await, [GUARD]);
}

#[tokio::test]
async fn a_key_of_somebody_else_is_no_value() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), None);
    let mut client = Client::of(&redis.url()).await;
    let _: () = client.run(&["RPUSH", ORDER, "theirs"]).await;
    let updates = [change(&key("o-1"), 1, 1), change(&key("o-2"), 1, 2)];
    let results = sink.deliver(&updates).await.expect("results");
    let outcomes: Vec<_> = results.iter().map(outcome).collect();
    assert_eq!(outcomes, ["failed", "delivered"]);
    assert!(format!("{results:?}").contains("WRONGTYPE"), "{results:?}");
}

/// What a database has.
struct Database(HashMap<EntityKey, u64>);

impl Present for Database {
    fn versions<'a>(
        &'a self,
        keys: &'a [EntityKey],
    ) -> BoxFuture<'a, Result<Vec<Option<u64>>, ReadError>> {
        let versions = keys.iter().map(|key| self.0.get(key).copied()).collect();
        Box::pin(std::future::ready(Ok(versions)))
    }
}

#[tokio::test]
async fn a_sweep_removes_what_is_gone_and_leaves_what_is_not_ours() {
    let redis = Redis::start();
    let sink: Arc<dyn Sink> = cache_sink(&redis.url(), None);
    let mut client = Client::of(&redis.url()).await;
    let stays = key("stays: \"[*?]\\\u{1}");
    let mut updates: Vec<_> = (0..1500).map(|n| change(&key(&format!("gone:{n}")), 1, n)).collect();
    updates.push(change(&stays, 7, 2000));
    delivered(&*sink, &updates).await;
    let invoice = r#"{"entityType":"Invoice","entityId":"1","version":1,"data":{}}"#;
    let other_place = r#"{"entityType":"Order","entityId":"1","version":1,"data":{}}"#;
    for words in [
        ["SET", "entity:Order:plain", "text"],
        ["SET", "entity:Order:json", "{\"version\":1}"],
        ["SET", "entity:Invoice:1", invoice],
        ["SET", "entity:copies:Order:1", other_place],
        ["RPUSH", "entity:Order:list", "1"],
        ["SET", "other", other_place],
    ] {
        let _: redis::Value = client.run(&words).await;
    }
    sink.sweep(&Database([(stays, 8)].into())).await.expect("a sweep");
    let mut keys: Vec<String> = client.run(&["KEYS", "*"]).await;
    keys.sort();
    let expected = [
        "entity:Invoice:1",
        "entity:Order:json",
        "entity:Order:list",
        "entity:Order:plain",
        "entity:Order:stays%3A \"[*?]\\%01",
        "entity:copies:Order:1",
        "other",
    ];
    assert_eq!(keys, expected);
}
