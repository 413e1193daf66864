//! The marker of the sink `redis-cache`: what Redis has lost is noticed.

use std::sync::Arc;

use producer_core::EntityKey;
use producer_core::feed::{Cursor, SnapshotCursor, Token, Types};
use producer_test_support::Redis;
use producer_worker::sink::{Kept, Sink};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{Client, EPOCH, SOON, cache_sink, change, delivered, key, snapshot};

const MARKER: &str = "producer:cache";

fn in_log(position: u64) -> Token {
    Token::in_log(EPOCH, position)
}

fn in_snapshot(position: u64, after: Option<EntityKey>) -> Token {
    let cursor = SnapshotCursor { position, types: Types::all(), filter: None, after };
    Token { epoch: EPOCH, cursor: Cursor::Snapshot(Arc::new(cursor)) }
}

async fn kept(sink: &dyn Sink, reached: &Token, stored: &Token) -> Kept {
    sink.checkpoint(reached, stored).await.expect("an answer")
}

/// Takes a snapshot of one entity as the runner does.
async fn take_snapshot(sink: &dyn Sink, position: u64) {
    let order = key("o-1");
    let start = in_snapshot(position, None);
    assert_eq!(kept(sink, &start, &start).await, Kept::Everything);
    delivered(sink, &[snapshot(&order, 1)]).await;
    let after = in_snapshot(position, Some(order));
    assert_eq!(kept(sink, &after, &start).await, Kept::Everything);
    assert_eq!(kept(sink, &in_log(position), &after).await, Kept::Everything);
}

#[tokio::test]
async fn the_first_run_begins_with_a_snapshot_and_goes_on() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), None);
    take_snapshot(&*sink, 10).await;
    let mut client = Client::of(&redis.url()).await;
    let fields: Vec<String> = client.run(&["HGETALL", MARKER]).await;
    assert_eq!(fields, ["token".to_owned(), in_log(10).to_string()]);
    assert_eq!(kept(&*sink, &in_log(10), &in_log(10)).await, Kept::Everything);
    assert_eq!(kept(&*sink, &in_log(15), &in_log(10)).await, Kept::Everything);
    // another worker takes over, before or after the position was stored
    for stored in [10, 15] {
        let next = cache_sink(&redis.url(), None);
        let stored = in_log(stored);
        assert_eq!(kept(&*next, &stored, &stored).await, Kept::Everything);
    }
    // one that has lost its lease does not put the marker back
    assert_eq!(kept(&*sink, &in_log(12), &in_log(10)).await, Kept::Everything);
    assert_eq!(kept(&*sink, &in_log(15), &in_log(15)).await, Kept::Everything);
}

#[tokio::test]
async fn a_loss_before_the_first_place_is_stored_is_noticed_once() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), None);
    let mut client = Client::of(&redis.url()).await;
    let start = in_snapshot(10, None);
    for reached in [start.clone(), in_log(11)] {
        assert_eq!(kept(&*sink, &start, &start).await, Kept::Everything);
        delivered(&*sink, &[snapshot(&key("o-1"), 1)]).await;
        let _: () = client.run(&["FLUSHALL"]).await;
        assert_eq!(kept(&*sink, &reached, &start).await, Kept::Lost);
    }
    // the snapshot that follows is not taken for lost
    take_snapshot(&*sink, 10).await;
}

#[tokio::test]
async fn a_marker_that_is_missing_behind_or_of_another_log_is_a_loss() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), None);
    assert_eq!(kept(&*sink, &in_log(10), &in_log(10)).await, Kept::Lost);
    take_snapshot(&*sink, 10).await;
    assert_eq!(kept(&*sink, &in_log(12), &in_log(11)).await, Kept::Lost);
    let other = Token::in_log(Uuid::nil(), 5);
    assert_eq!(kept(&*sink, &other, &other).await, Kept::Lost);
    // it stays as it was until the snapshot
    assert_eq!(kept(&*sink, &in_log(10), &in_log(10)).await, Kept::Everything);
    let mut client = Client::of(&redis.url()).await;
    let _: () = client.run(&["FLUSHALL"]).await;
    assert_eq!(kept(&*sink, &in_log(10), &in_log(10)).await, Kept::Lost);
    take_snapshot(&*sink, 20).await;
    let _: () = client.run(&["HSET", MARKER, "token", "no token"]).await;
    assert_eq!(kept(&*sink, &in_log(20), &in_log(20)).await, Kept::Lost);
    take_snapshot(&*sink, 21).await;
}

#[tokio::test]
async fn a_loss_within_a_snapshot_is_noticed() {
    let redis = Redis::start();
    let mut client = Client::of(&redis.url()).await;
    let (one, other) = (key("o-1"), key("o-2"));
    let (start, after) = (in_snapshot(10, None), in_snapshot(10, Some(one.clone())));
    let end = in_log(10);
    for names_places in [true, false] {
        let sink = cache_sink(&redis.url(), None);
        if names_places {
            assert_eq!(kept(&*sink, &start, &start).await, Kept::Everything);
        }
        delivered(&*sink, &[snapshot(&one, 1)]).await;
        if names_places {
            assert_eq!(kept(&*sink, &after, &start).await, Kept::Everything);
        }
        let _: () = client.run(&["FLUSHALL"]).await;
        delivered(&*sink, &[snapshot(&other, 1)]).await;
        assert_eq!(kept(&*sink, &end, &after).await, Kept::Lost);
        take_snapshot(&*sink, 11).await;
    }
    // another worker goes on within it
    let first = cache_sink(&redis.url(), None);
    assert_eq!(kept(&*first, &start, &start).await, Kept::Everything);
    delivered(&*first, &[snapshot(&one, 1)]).await;
    assert_eq!(kept(&*first, &after, &start).await, Kept::Everything);
    let second = cache_sink(&redis.url(), None);
    assert_eq!(kept(&*second, &after, &after).await, Kept::Everything);
    let beyond = in_snapshot(10, Some(other));
    let third = cache_sink(&redis.url(), None);
    assert_eq!(kept(&*third, &beyond, &beyond).await, Kept::Lost);
    let _: () = client.run(&["FLUSHALL"]).await;
    assert_eq!(kept(&*second, &after, &after).await, Kept::Lost);
}

/// An address whose server may change, which ends its connections.
struct Address {
    port: u16,
    leads_to: watch::Sender<u16>,
}

impl Address {
    async fn of(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("a port").port();
        let (leads_to, receiver) = watch::channel(port);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut receiver = receiver.clone();
                tokio::spawn(async move {
                    let port = *receiver.borrow_and_update();
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = receiver.changed() => {}
                    }
                });
            }
        });
        Self { port: own, leads_to }
    }
}

#[tokio::test]
async fn a_failover_to_a_replica_that_was_behind_is_a_loss() {
    let redis = Redis::start();
    let replica = redis.replica();
    let address = Address::of(redis.port()).await;
    let sink = cache_sink(&format!("redis://127.0.0.1:{}", address.port), None);
    take_snapshot(&*sink, 10).await;
    let order = key("o-1");
    delivered(&*sink, &[change(&order, 2, 11)]).await;
    assert_eq!(kept(&*sink, &in_log(11), &in_log(10)).await, Kept::Everything);
    let mut client = Client::of(&replica.url()).await;
    let token = in_log(11).to_string();
    client
        .until(&["HGET", MARKER, "token"], |found: &Option<String>| found.as_ref() == Some(&token))
        .await;
    // from here on it is behind
    let _: () = client.run(&["REPLICAOF", "NO", "ONE"]).await;
    delivered(&*sink, &[change(&order, 3, 12)]).await;
    assert_eq!(kept(&*sink, &in_log(12), &in_log(11)).await, Kept::Everything);
    redis.kill();
    address.leads_to.send_replace(replica.port());
    let stored = in_log(12);
    let answer = timeout(SOON, async {
        loop {
            // the connection breaks once
            if let Ok(answer) = sink.checkpoint(&stored, &stored).await {
                break answer;
            }
        }
    });
    assert_eq!(answer.await.expect("an answer"), Kept::Lost);
    // what the replica has is all up to here
    assert_eq!(kept(&*sink, &in_log(11), &in_log(11)).await, Kept::Everything);
}
