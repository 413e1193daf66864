//! Servers that are killed, frozen, failed over or refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use producer_test_support::Redis;
use producer_worker::sink::Sink;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{Client, SOON, cache_sink, change, delivered, failure, key, stream_sink};

const BATCH: u64 = 25;
const LANES: u64 = 4;

/// Milliseconds for which the server is frozen before it is killed. One is longer than the sink waits.
const FROZEN: [u64; 8] = [0, 30, 11_000, 5, 60, 0, 100, 20];

/// Delivers an entity's versions, one batch after the other, as a lane does: again until it is delivered. Returns
/// the last version.
async fn lane(sink: Arc<dyn Sink>, id: String, is_over: Arc<AtomicBool>) -> u64 {
    let order = key(&id);
    let mut last = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut updates: Vec<_> = (last + 1..=last + BATCH).map(|v| change(&order, v, v)).collect();
        let deadline = Instant::now() + SOON;
        while !updates.is_empty() {
            assert!(Instant::now() < deadline, "{id} {last}");
            match sink.deliver(&updates).await {
                Ok(results) => {
                    let mut results = results.into_iter();
                    updates.retain(|_| results.next().is_none_or(|result| result.is_err()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        last += BATCH;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_entity_stays_in_order_across_kills_and_freezes() {
    let redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let sink = stream_sink(&redis.url(), "events", None);
    let is_over = Arc::new(AtomicBool::new(false));
    let begin =
        |lane_| tokio::spawn(lane(Arc::clone(&sink), format!("o-{lane_}"), Arc::clone(&is_over)));
    let lanes: Vec<_> = (0..LANES).map(begin).collect();
    let chaos = tokio::task::spawn_blocking(move || {
        for (index, frozen) in FROZEN.into_iter().enumerate() {
            std::thread::sleep(Duration::from_millis(100));
            redis.freeze();
            std::thread::sleep(Duration::from_millis(frozen));
            redis.thaw();
            if index % 2 == 1 {
                redis.kill();
                redis.restart();
            }
        }
        redis
    });
    let redis = chaos.await.expect("it ends");
    is_over.store(true, Ordering::Relaxed);
    let mut lasts = Vec::new();
    for lane in lanes {
        lasts.push(lane.await.expect("it ends"));
    }
    let all = Client::of(&redis.url()).await.versions("events").await;
    for (lane, last) in lasts.into_iter().enumerate() {
        let id = format!("o-{lane}");
        let (mut highest, mut batch) = (0, 0);
        for (_, version) in all.iter().filter(|(of, _)| *of == id) {
            assert!(*version <= highest + 1, "{id}: {version} behind {highest}");
            highest = highest.max(*version);
            // a batch may come twice, but never behind the next one
            let of = (version - 1) / BATCH;
            assert!(of >= batch, "{id}: {version} came late, behind {highest}");
            batch = of;
        }
        assert!(last > 0 && highest == last, "{id}: {highest} of {last}");
    }
}

/// Leads to a server, and holds back what its first connection sends while it is set to, also behind that
/// connection's end: as buffers on the way may.
struct Detour {
    port: u16,
    holds: watch::Sender<bool>,
    first: JoinHandle<()>,
}

impl Detour {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let (holds, held) = watch::channel(false);
        let (ended, end) = oneshot::channel();
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.expect("the first connection");
            tokio::spawn(async move {
                Self::carry(client, server, held).await;
                let _ = ended.send(());
            });
            while let Ok((client, _)) = listener.accept().await {
                let (_never, held) = watch::channel(false);
                tokio::spawn(Self::carry(client, server, held));
            }
        });
        Self { port, holds, first: tokio::spawn(async { end.await.expect("it ends") }) }
    }

    /// Until the server has closed the connection.
    async fn carry(client: TcpStream, server: u16, mut held: watch::Receiver<bool>) {
        let server = TcpStream::connect(("127.0.0.1", server)).await.expect("the server");
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let answers = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
                // the client may be gone
                let _ = to_client.write_all(&buffer[..count]).await;
            }
        });
        let mut back = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            back.extend_from_slice(&buffer[..count]);
            if !*held.borrow() {
                let _ = to_server.write_all(&back).await;
                back.clear();
            }
        }
        // the sender may be gone
        let _ = held.wait_for(|held| !held).await;
        let _ = to_server.write_all(&back).await;
        let _ = to_server.shutdown().await;
        answers.await.expect("it ends");
    }
}

#[tokio::test]
async fn what_an_earlier_connection_sent_does_not_come_late() {
    let redis = Redis::start();
    let detour = Detour::to(redis.port()).await;
    let sink = stream_sink(&format!("redis://127.0.0.1:{}", detour.port), "events", None);
    let order = key("o-1");
    delivered(&*sink, &[change(&order, 1, 1)]).await;
    detour.holds.send_replace(true);
    let second = [change(&order, 2, 2)];
    let detail = failure(&*sink, &second).await;
    assert!(detail.ends_with("did not answer within 10 s"), "{detail}");
    delivered(&*sink, &second).await;
    delivered(&*sink, &[change(&order, 3, 3)]).await;
    detour.holds.send_replace(false);
    detour.first.await.expect("it ends");
    let versions = Client::of(&redis.url()).await.versions("events").await;
    assert_eq!(versions, [1, 2, 3].map(|version| ("o-1".to_owned(), version)));
}

#[tokio::test]
async fn a_frozen_server_is_a_failure_in_time_and_works_again() {
    let redis = Redis::start();
    for sink in [stream_sink(&redis.url(), "events", None), cache_sink(&redis.url(), None)] {
        let order = key("o-1");
        delivered(&*sink, &[change(&order, 1, 1)]).await;
        redis.freeze();
        let updates = [change(&order, 2, 2)];
        let begin = Instant::now();
        let failures = futures_util::future::join_all((0..20).map(|_| failure(&*sink, &updates)));
        for detail in failures.await {
            assert!(detail.ends_with("did not answer within 10 s"), "{detail}");
        }
        // and a new connection, which the kernel accepts
        let detail = failure(&*sink, &updates).await;
        assert!(detail.ends_with("did not answer within 10 s"), "{detail}");
        assert!(begin.elapsed() < Duration::from_secs(29), "{:?}", begin.elapsed());
        redis.thaw();
        delivered(&*sink, &updates).await;
    }
}

#[tokio::test]
async fn a_replica_is_a_failure_until_it_is_promoted() {
    let redis = Redis::start();
    let replica = redis.replica();
    let mut client = Client::of(&replica.url()).await;
    for sink in [stream_sink(&replica.url(), "events", None), cache_sink(&replica.url(), None)] {
        let _: () = client.run(&["REPLICAOF", "127.0.0.1", &redis.port().to_string()]).await;
        let is_up = |info: &String| info.contains("link_status:up");
        client.until(&["INFO", "replication"], is_up).await;
        assert!(sink.check().await.expect_err("a replica").detail.ends_with("read-only"));
        let updates = [change(&key("o-1"), 1, 1)];
        let detail = match sink.deliver(&updates).await {
            Err(failure) => failure.detail,
            Ok(results) => format!("{results:?}"),
        };
        assert!(detail.contains("READONLY"), "{detail}");
        let _: () = client.run(&["REPLICAOF", "NO", "ONE"]).await;
        delivered(&*sink, &updates).await;
    }
}

#[tokio::test]
async fn errors_never_show_the_password() {
    let redis = Redis::with(&["--requirepass", "right-pw"]);
    let updates = [change(&key("o-1"), 1, 1)];
    for password in ["wrong-pw", "right-pw"] {
        let url = format!("redis://:{password}@127.0.0.1:{}", redis.port());
        for sink in [stream_sink(&url, "events", None), cache_sink(&url, None)] {
            if password == "right-pw" {
                delivered(&*sink, &updates).await;
                redis.kill();
            }
            let details =
                [failure(&*sink, &updates).await, sink.check().await.expect_err("none").detail];
            for detail in details {
                assert!(detail.starts_with("Redis at 127.0.0.1:"), "{detail}");
                assert!(!detail.contains("-pw"), "{detail}");
            }
            if password == "right-pw" {
                redis.restart();
            }
        }
    }
    let nobody = stream_sink(&redis.url(), "events", None);
    let detail = failure(&*nobody, &updates).await;
    assert!(detail.contains("NOAUTH"), "{detail}");
}

#[tokio::test]
async fn scripts_that_were_flushed_are_loaded_again() {
    let redis = Redis::start();
    let sink = cache_sink(&redis.url(), None);
    let order = key("o-1");
    delivered(&*sink, &[change(&order, 1, 1)]).await;
    let mut client = Client::of(&redis.url()).await;
    let _: () = client.run(&["SCRIPT", "FLUSH"]).await;
    let updates = [change(&order, 2, 2)];
    let results = sink.deliver(&updates).await.expect("results");
    assert!(format!("{results:?}").contains("NOSCRIPT"), "{results:?}");
    delivered(&*sink, &updates).await;
}
