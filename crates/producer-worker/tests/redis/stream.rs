//! The sink `redis-stream`.

use producer_test_support::Redis;
use producer_worker::sink::NotDelivered;
use producer_worker::update::{Cause, Update};

use crate::support::{
    Client, change, delivered, failure, key, logged, outcome, removal, state, stream_sink,
};

#[tokio::test]
async fn an_update_is_an_entry_with_the_fields_of_the_format() {
    let redis = Redis::start();
    let sink = stream_sink(&redis.url(), "{type}:events", None);
    sink.check().await.expect("it can be written to");
    let order = key("o-1");
    delivered(&*sink, &[change(&order, 1, 1), change(&order, 2, 2), removal(&order, 3, 3)]).await;
    let mut client = Client::of(&redis.url()).await;
    let entries = client.entries("Order:events").await;
    let first = [
        ("event_type", "order.created"),
        ("entity_type", "Order"),
        ("entity_id", "o-1"),
        ("version", "1"),
        ("data", r#"{"version": 1, "price": 1.10}"#),
        ("timestamp", "1705314605123"),
    ];
    assert_eq!(entries[0], first.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let versions = client.versions("Order:events").await;
    assert_eq!(versions, [1, 2, 3].map(|version| ("o-1".to_owned(), version)));
}

#[tokio::test]
async fn names_of_streams_are_encoded_and_old_entries_are_trimmed() {
    let redis = Redis::start();
    let sink = stream_sink(&redis.url(), "{type}:{id}", Some(100));
    let long = "\u{1F697}".repeat(255);
    for id in ["a:b/c%d\u{1}", &long] {
        let order = key(id);
        let updates: Vec<_> = (1..=1000).map(|version| change(&order, version, version)).collect();
        delivered(&*sink, &updates).await;
    }
    let mut client = Client::of(&redis.url()).await;
    let long = format!("Order:{long}");
    for stream in ["Order:a%3Ab/c%25d%01", &long] {
        let length: u64 = client.run(&["XLEN", stream]).await;
        assert!((100..=250).contains(&length), "{length}");
        assert_eq!(client.versions(stream).await.last().expect("one").1, 1000);
    }
}

#[tokio::test]
async fn without_memory_nothing_of_a_transaction_is_written() {
    let redis = Redis::with(&["--maxmemory-policy", "noeviction"]);
    let mut client = Client::of(&redis.url()).await;
    let sink = stream_sink(&redis.url(), "events", None);
    let order = key("o-1");
    delivered(&*sink, &[change(&order, 1, 1)]).await;
    let _: () = client.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let updates: Vec<_> = (2..=500).map(|version| change(&order, version, version)).collect();
    let detail = failure(&*sink, &updates).await;
    assert!(detail.contains("OOM command not allowed"), "{detail}");
    assert_eq!(client.run::<u64>(&["XLEN", "events"]).await, 1);
    let _: () = client.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    delivered(&*sink, &updates).await;
    let versions = client.versions("events").await;
    assert!(versions.iter().map(|(_, version)| *version).eq(1..=500));
}

#[tokio::test]
async fn memory_that_ends_in_the_middle_leaves_what_was_written_before() {
    let redis = Redis::with(&["--maxmemory", "12mb"]);
    let sink = stream_sink(&redis.url(), "events", None);
    let updates: Vec<_> = (1..=400)
        .map(|version| {
            let order = key(&format!("o-{}", version % 7));
            let mut entity = (*state(&order, version)).clone();
            entity.data = format!(r#"{{"text":"{}"}}"#, "x".repeat(100_000));
            let cause = Cause::Change(logged(&order, version, version, "OrderPaid"));
            Update { cause, state: Some(entity.into()) }
        })
        .collect();
    let results = sink.deliver(&updates).await.expect("a part");
    let count = results.iter().take_while(|result| result.is_ok()).count();
    assert!(count > 0 && count < updates.len());
    assert!(results[count..].iter().all(|result| outcome(result) == "failed"));
    let versions = Client::of(&redis.url()).await.versions("events").await;
    assert!(versions.into_iter().map(|(_, version)| version).eq(1..=count as u64));
}

#[tokio::test]
async fn behind_an_update_that_fails_none_of_its_entity_is_written() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let _: () = client.run(&["RPUSH", "Order:B", "not a stream"]).await;
    let sink = stream_sink(&redis.url(), "{type}:{eventName}", None);
    let (one, other) = (key("o-1"), key("o-2"));
    let named = |key, version, name| Update {
        cause: Cause::Change(logged(key, version, version, name)),
        state: Some(state(key, version)),
    };
    let updates = [
        named(&one, 1, "A"),
        named(&one, 2, "B"),
        named(&one, 3, "A"),
        named(&other, 1, "A"),
        named(&one, 4, "A"),
    ];
    let results = sink.deliver(&updates).await.expect("results");
    let outcomes: Vec<_> = results.iter().map(outcome).collect();
    assert_eq!(outcomes, ["delivered", "failed", "failed", "delivered", "failed"]);
    let Err(NotDelivered::Failed(why)) = &results[1] else { panic!("it failed") };
    assert!(why.detail.contains("WRONGTYPE"), "{why}");
    let written = client.versions("Order:A").await;
    assert_eq!(written, [("o-1".to_owned(), 1), ("o-2".to_owned(), 1)]);
}

#[tokio::test]
async fn what_redis_cannot_take_is_refused_and_holds_its_entity() {
    let redis = Redis::with(&["--proto-max-bulk-len", "1mb"]);
    let sink = stream_sink(&redis.url(), "events", None);
    let (one, other) = (key("o-1"), key("o-2"));
    let mut entity = (*state(&one, 2)).clone();
    entity.data = format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20));
    let cause = Cause::Change(logged(&one, 2, 2, "OrderPaid"));
    let large = Update { cause, state: Some(entity.into()) };
    let updates = [change(&one, 1, 1), large, change(&other, 1, 3), change(&one, 3, 4)];
    let results = sink.deliver(&updates).await.expect("results");
    let outcomes: Vec<_> = results.iter().map(outcome).collect();
    assert_eq!(outcomes, ["delivered", "refused", "delivered", "failed"]);
    let Err(NotDelivered::Refused { detail, message }) = &results[1] else { panic!("refused") };
    assert!(detail.contains("the field data has 1048587 bytes"), "{detail}");
    assert!(message.starts_with(b"{\"event_type\":\"order.updated\""));
}

#[tokio::test]
async fn a_key_that_is_no_stream_is_found_by_check() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let _: () = client.run(&["SET", "events", "1"]).await;
    let sink = stream_sink(&redis.url(), "events", None);
    let detail = sink.check().await.expect_err("no stream").detail;
    assert_eq!(detail, "the key events is a string, not a stream");
    let results = sink.deliver(&[change(&key("o-1"), 1, 1)]).await.expect("results");
    assert_eq!(outcome(&results[0]), "failed");
}
