//! The source `redis-stream`.

use std::time::Duration;

use producer_test_support::Redis;
use producer_worker::config::SourceStart;
use producer_worker::source::{Body, Message, Place, Source};
use tokio::time::{Instant, timeout};

use crate::support::{Client, SOON, stream_source};

const STREAM: &str = "orders:events";

async fn add(client: &mut Client, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let number = number.to_string();
        let _: String = client.run(&["XADD", STREAM, "*", "n", &number, "text", "a"]).await;
    }
}

fn number(message: &Message) -> u64 {
    let fields = match &message.body {
        Body::Fields(fields) => Some(fields),
        Body::Bytes(_) | Body::Gone => None,
    };
    let fields = fields.expect("fields");
    assert_eq!(fields[1], ("text".to_owned(), b"a".to_vec()));
    String::from_utf8(fields[0].1.clone()).expect("text").parse().expect("a number")
}

/// So many messages, however they come.
async fn received(source: &mut dyn Source, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    let deadline = Instant::now() + SOON;
    while messages.len() < count {
        assert!(Instant::now() < deadline, "{} of {count}", messages.len());
        // a server that is away
        messages.extend(source.receive(100).await.unwrap_or_default());
    }
    messages
}

fn numbers(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(number).collect()
}

fn places(messages: &[Message]) -> Vec<Place> {
    messages.iter().map(|message| message.place.clone()).collect()
}

async fn acknowledge(source: &mut dyn Source, messages: &[Message]) {
    source.acknowledge(&places(messages)).await.expect("acknowledged");
}

async fn pending(client: &mut Client) -> u64 {
    let (count, ..): (u64, redis::Value, redis::Value, redis::Value) =
        client.run(&["XPENDING", STREAM, "producer"]).await;
    count
}

#[tokio::test]
async fn a_group_is_made_and_begins_where_it_should() {
    for (from, expected) in [(SourceStart::Start, vec![1, 2, 3, 4]), (SourceStart::Now, vec![3, 4])]
    {
        let redis = Redis::start();
        let mut client = Client::of(&redis.url()).await;
        let mut source = stream_source(&redis.url(), from, "worker-1");
        source.check().await.expect("a stream may come later");
        add(&mut client, 1..=2).await;
        let mut messages = source.receive(100).await.expect("messages");
        add(&mut client, 3..=4).await;
        messages.extend(received(&mut *source, expected.len() - messages.len()).await);
        assert_eq!(numbers(&messages), expected);
        assert!(messages.iter().all(|message| message.deliveries == 1));
        assert!(messages.iter().all(|message| message.place.stream == STREAM));
        assert_eq!(pending(&mut client).await, expected.len() as u64);
        acknowledge(&mut *source, &messages[1..]).await;
        assert_eq!(pending(&mut client).await, 1);
        acknowledge(&mut *source, &messages).await;
        assert_eq!(pending(&mut client).await, 0);
        assert_eq!(source.receive(100).await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn no_more_messages_come_than_were_asked_for() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let mut source = stream_source(&redis.url(), SourceStart::Start, "worker-1");
    add(&mut client, 1..=25).await;
    let mut all = Vec::new();
    for most in [10, 3, 1].into_iter().cycle() {
        let messages = source.receive(most).await.expect("messages");
        assert!(messages.len() <= most);
        if messages.is_empty() {
            break;
        }
        all.extend(numbers(&messages));
    }
    assert!(all.into_iter().eq(1..=25));
}

#[tokio::test]
async fn what_a_worker_left_comes_first_and_at_once() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    add(&mut client, 1..=250).await;
    let mut first = stream_source(&redis.url(), SourceStart::Start, "worker-1");
    let messages = received(&mut *first, 250).await;
    acknowledge(&mut *first, &messages[100..110]).await;
    // as if it was killed
    drop(first);
    add(&mut client, 251..=260).await;
    let mut second = stream_source(&redis.url(), SourceStart::Start, "worker-2");
    let begin = Instant::now();
    let messages = received(&mut *second, 250).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(numbers(&messages).into_iter().eq((1..=100).chain(111..=260)));
    assert_eq!((messages[0].deliveries, messages[249].deliveries), (2, 1));
    acknowledge(&mut *second, &messages).await;
    assert_eq!(pending(&mut client).await, 0);
}

#[tokio::test]
async fn what_another_consumer_left_meanwhile_is_taken_over() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let mut source = stream_source(&redis.url(), SourceStart::Start, "worker-1");
    add(&mut client, 1..=1).await;
    let own = received(&mut *source, 1).await;
    add(&mut client, 2..=2).await;
    let group = ["XREADGROUP", "GROUP", "producer", "killed", "STREAMS", STREAM, ">"];
    let _: redis::Value = client.run(&group).await;
    let begin = Instant::now();
    // only what this one has not, although that is as old
    assert_eq!(numbers(&received(&mut *source, 1).await), [2]);
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    acknowledge(&mut *source, &own).await;
}

#[tokio::test]
async fn messages_that_were_trimmed_are_gone_until_they_are_acknowledged() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    add(&mut client, 1..=3).await;
    let mut first = stream_source(&redis.url(), SourceStart::Start, "worker-1");
    received(&mut *first, 3).await;
    drop(first);
    let _: u64 = client.run(&["XTRIM", STREAM, "MAXLEN", "1"]).await;
    for worker in ["worker-2", "worker-3"] {
        let mut source = stream_source(&redis.url(), SourceStart::Start, worker);
        let messages = received(&mut *source, 3).await;
        let gone: Vec<_> = messages.iter().map(|message| message.body == Body::Gone).collect();
        assert_eq!(gone, [true, true, false]);
        assert_eq!(number(&messages[2]), 3);
        if worker == "worker-3" {
            acknowledge(&mut *source, &messages).await;
        }
    }
    assert_eq!(pending(&mut client).await, 0);
}

#[tokio::test]
async fn a_receive_that_is_dropped_loses_nothing() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let mut source = stream_source(&redis.url(), SourceStart::Start, "worker-1");
    let begin = Instant::now();
    let mut all = Vec::new();
    for round in 0..200_u64 {
        add(&mut client, round * 3 + 1..=round * 3 + 3).await;
        let patience = Duration::from_micros(round * 37 % 3000);
        if let Ok(messages) = timeout(patience, source.receive(2)).await {
            all.extend(messages.expect("messages"));
        }
        if round % 10 == 0 {
            acknowledge(&mut *source, &all).await;
        }
    }
    let rest = 600 - all.len();
    all.extend(received(&mut *source, rest).await);
    assert!(begin.elapsed() < Duration::from_secs(14), "{:?}", begin.elapsed());
    assert!(numbers(&all).into_iter().eq(1..=600));
    acknowledge(&mut *source, &all).await;
    assert_eq!(pending(&mut client).await, 0);
}

#[tokio::test]
async fn a_group_that_is_deleted_goes_on_where_it_was() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let mut source = stream_source(&redis.url(), SourceStart::Now, "worker-1");
    assert_eq!(source.receive(100).await, Ok(Vec::new()));
    add(&mut client, 1..=5).await;
    let messages = received(&mut *source, 5).await;
    acknowledge(&mut *source, &messages[..2]).await;
    let _: u64 = client.run(&["XGROUP", "DESTROY", STREAM, "producer"]).await;
    add(&mut client, 6..=7).await;
    let more = received(&mut *source, 2).await;
    assert_eq!(numbers(&more), [6, 7]);
    // what is not settled would come to another worker
    assert_eq!(pending(&mut client).await, 5);
    acknowledge(&mut *source, &messages).await;
    acknowledge(&mut *source, &more).await;
    assert_eq!(pending(&mut client).await, 0);
    let _: u64 = client.run(&["DEL", STREAM]).await;
    assert_eq!(source.receive(100).await, Ok(Vec::new()));
    add(&mut client, 8..=9).await;
    assert_eq!(numbers(&received(&mut *source, 2).await), [8, 9]);
    // a stream whose ids begin anew
    let _: u64 = client.run(&["DEL", STREAM]).await;
    let _: String = client.run(&["XADD", STREAM, "1-1", "n", "10", "text", "a"]).await;
    assert_eq!(numbers(&received(&mut *source, 1).await), [10]);
}

#[tokio::test]
async fn a_server_that_is_frozen_or_killed_loses_nothing() {
    let redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = Client::of(&redis.url()).await;
    let mut source = stream_source(&redis.url(), SourceStart::Start, "worker-1");
    add(&mut client, 1..=10).await;
    let mut all = received(&mut *source, 10).await;
    redis.freeze();
    let begin = Instant::now();
    let detail = loop {
        if let Err(failure) = source.receive(100).await {
            break failure.detail;
        }
    };
    assert!(detail.contains("did not answer"), "{detail}");
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    assert!(source.acknowledge(&places(&all)).await.is_err());
    redis.thaw();
    add(&mut client, 11..=20).await;
    all.extend(received(&mut *source, 10).await);
    acknowledge(&mut *source, &all[..15]).await;
    redis.kill();
    let detail = loop {
        if let Err(failure) = source.receive(100).await {
            break failure.detail;
        }
    };
    assert!(detail.contains("can't be reached"), "{detail}");
    redis.restart();
    let mut client = Client::of(&redis.url()).await;
    add(&mut client, 21..=30).await;
    all.extend(received(&mut *source, 10).await);
    assert!(numbers(&all).into_iter().eq(1..=30));
    acknowledge(&mut *source, &all).await;
    assert_eq!(pending(&mut client).await, 0);
}

#[tokio::test]
async fn what_waits_is_known() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let mut source = stream_source(&redis.url(), SourceStart::Start, "worker-1");
    assert_eq!(source.lag().await, None);
    assert_eq!(source.receive(1).await, Ok(Vec::new()));
    let lag = source.lag().await.expect("a lag");
    assert_eq!((lag.messages, lag.age), (0, None));
    let (seconds, _): (u64, u64) = client.run(&["TIME"]).await;
    let old = format!("{}-0", (seconds - 100) * 1000);
    let _: String = client.run(&["XADD", STREAM, &old, "n", "1", "text", "a"]).await;
    add(&mut client, 2..=4).await;
    let is_old = |age: Option<Duration>| age.is_some_and(|age| (99..=160).contains(&age.as_secs()));
    let lag = source.lag().await.expect("a lag");
    assert!(lag.messages == 4 && is_old(lag.age), "{lag:?}");
    let messages = received(&mut *source, 4).await;
    let lag = source.lag().await.expect("a lag");
    assert!(lag.messages == 4 && is_old(lag.age), "{lag:?}");
    acknowledge(&mut *source, &messages[..1]).await;
    let lag = source.lag().await.expect("a lag");
    assert!(lag.messages == 3 && !is_old(lag.age), "{lag:?}");
    acknowledge(&mut *source, &messages).await;
    let lag = source.lag().await.expect("a lag");
    assert_eq!((lag.messages, lag.age), (0, None));
}

#[tokio::test]
async fn a_consumer_leaves_at_once_unless_something_is_pending() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let mut source = stream_source(&redis.url(), SourceStart::Start, "worker-1");
    add(&mut client, 1..=2).await;
    let messages = received(&mut *source, 2).await;
    acknowledge(&mut *source, &messages[..1]).await;
    let consumers = ["XINFO", "CONSUMERS", STREAM, "producer"];
    for left in [1, 0] {
        // it waits for messages
        assert!(timeout(Duration::from_millis(50), source.receive(1)).await.is_err());
        let begin = Instant::now();
        source.close().await;
        assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
        assert_eq!(client.run::<Vec<redis::Value>>(&consumers).await.len(), left);
        acknowledge(&mut *source, &messages).await;
    }
}

#[tokio::test]
async fn a_key_that_is_no_stream_is_found_by_check() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let _: () = client.run(&["SET", STREAM, "1"]).await;
    let mut source = stream_source(&redis.url(), SourceStart::Start, "worker-1");
    let detail = source.check().await.expect_err("no stream").detail;
    assert_eq!(detail, "the key orders:events is a string, not a stream");
    let detail = source.receive(1).await.expect_err("no stream").detail;
    assert!(detail.contains("WRONGTYPE"), "{detail}");
}
