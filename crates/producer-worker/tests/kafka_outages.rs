//! Sink and source while their broker is frozen, killed and restarted.

mod kafka_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka_support::reading::*;
use kafka_support::*;
use producer_test_support::Kafka;
use producer_worker::config::SourceStart;
use producer_worker::sink::Sink;
use tokio::time::sleep;

/// Pause after a delivery that failed, and after one that did not.
const RETRY: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(5);
/// A call of the source that only waits takes a second.
const TICK: Duration = Duration::from_secs(2);

/// Delivers changes of an entity as the runner does: what is not delivered comes again, in order. Goes on until
/// `stop`, and returns the last version.
async fn deliver_until(stop: Arc<AtomicBool>, sink: Arc<dyn Sink>, id: String) -> u64 {
    const BATCH: u64 = 50;
    let mut updates: Vec<_> = Vec::new();
    let mut last = 0;
    let mut last_answer = String::new();
    let deadline = Instant::now() + PATIENCE * 3;
    loop {
        if updates.is_empty() {
            if stop.load(Ordering::Relaxed) {
                return last;
            }
            updates.extend((1..=BATCH).map(|next| change("Order", &id, last + next, 200)));
            last += BATCH;
        }
        let begun = Instant::now();
        assert!(begun < deadline, "{} of {id} are not delivered: {last_answer}", updates.len());
        let delivered = match sink.deliver(&updates).await {
            Ok(results) => {
                last_answer = format!("{:?}", results.iter().find(|result| result.is_err()));
                words(&results).iter().take_while(|word| **word == "delivered").count()
            }
            Err(failure) => {
                last_answer = failure.detail;
                0
            }
        };
        assert!(begun.elapsed() < sink.deadline(), "{:?}", begun.elapsed());
        updates.drain(..delivered);
        sleep(if delivered == 0 { RETRY } else { PAUSE }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_is_a_failure_in_time_and_nothing_is_lost() {
    let kafka = Kafka::start();
    kafka.create_topic("Order", 2, &[]).await;
    let sink = sink(&kafka, &Settings::default());
    let updates: Vec<_> = (1..=10).map(|version| change("Order", "0", version, 200)).collect();
    sink.deliver(&updates).await.expect("delivered");
    kafka.freeze();
    let begun = Instant::now();
    let updates: Vec<_> = (11..=60).map(|version| change("Order", "0", version, 200)).collect();
    let failure = sink.deliver(&updates).await.expect_err("nothing is acknowledged");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(failure.detail.starts_with("Kafka does not acknowledge in time"), "{failure}");
    kafka.thaw();
    let deadline = Instant::now() + PATIENCE;
    while let Err(failure) = sink.deliver(&updates).await {
        assert!(Instant::now() < deadline, "{failure}");
    }
    let records = records(&kafka, "Order").await;
    assert_in_order(&versions(&records, "Order/0"), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_completeness_survive_restarts() {
    let kafka = Kafka::start();
    kafka.create_topic("Order", 3, &[]).await;
    let sink = sink(&kafka, &Settings::default());
    let stop = Arc::new(AtomicBool::new(false));
    let deliveries: Vec<_> = (0..8)
        .map(|id| {
            let (stop, sink) = (Arc::clone(&stop), Arc::clone(&sink));
            tokio::spawn(deliver_until(stop, sink, id.to_string()))
        })
        .collect();
    for _ in 0..2 {
        sleep(Duration::from_millis(500)).await;
        kafka.kill();
        kafka.restart();
        sleep(Duration::from_secs(1)).await;
        kafka.freeze();
        sleep(Duration::from_millis(500)).await;
        kafka.thaw();
    }
    // longer than records wait for their acknowledgements
    kafka.freeze();
    sleep(Duration::from_secs(12)).await;
    kafka.thaw();
    stop.store(true, Ordering::Relaxed);
    let mut last = Vec::new();
    for delivery in deliveries {
        last.push(delivery.await.expect("no panic"));
    }
    let records = records(&kafka, "Order").await;
    for (id, last) in last.into_iter().enumerate() {
        assert!(last > 100, "{id} had {last}");
        assert_in_order(&versions(&records, &format!("Order/{id}")), last);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_waits_for_its_broker_and_goes_on() {
    let kafka = Kafka::start();
    kafka.create_topic("events", 1, &[]).await;
    send(&kafka, "events", 0, &texts("m", 5)).await;
    let mut source = source(&kafka.url(), "events", "events", SourceStart::Start, &[]);
    let messages = receive(&mut source, 5).await;
    kafka.freeze();
    source.acknowledge(&places(&messages)).await.expect("noted");
    let frozen = Instant::now();
    while frozen.elapsed() < Duration::from_secs(12) {
        let begun = Instant::now();
        let received = source.receive(10).await.unwrap_or_default();
        assert!(received.is_empty(), "{received:?}");
        assert!(begun.elapsed() < TICK, "{:?}", begun.elapsed());
        let begun = Instant::now();
        assert_eq!(source.lag().await.map(|lag| lag.messages), None, "the broker can't be asked");
        assert!(begun.elapsed() < TICK * 3, "{:?}", begun.elapsed());
    }
    kafka.thaw();
    send(&kafka, "events", 0, &texts("later", 1)).await;
    let later = receive(&mut source, 1).await;
    assert_eq!(text(&later[0]), "later-0");
    source.acknowledge(&places(&later)).await.expect("noted");
    Group::new(&kafka, "events", "events", 1).reaches(&[(0, 6)]).await;
    kafka.restart();
    send(&kafka, "events", 0, &texts("again", 1)).await;
    let again = receive(&mut source, 1).await;
    assert_eq!(text(&again[0]), "again-0");
    kafka.freeze();
    let begun = Instant::now();
    source.close().await;
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}
