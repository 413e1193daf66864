//! The Kafka sink while its broker is frozen, killed and restarted.

mod kafka_support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_support::*;
use producer_test_support::Kafka;
use producer_worker::sink::Sink;
use tokio::time::sleep;

/// Delivers as the runner does: what is not delivered comes again, in order.
async fn deliver_all(sink: Arc<dyn Sink>, id: String, versions: u64, batch: usize) {
    let mut updates: Vec<_> =
        (1..=versions).map(|version| change("Order", &id, version, 200)).collect();
    let deadline = Instant::now() + PATIENCE * 3;
    while !updates.is_empty() {
        assert!(Instant::now() < deadline, "{} of {id} are not delivered", updates.len());
        let begun = Instant::now();
        let next = &updates[..batch.min(updates.len())];
        let delivered = match sink.deliver(next).await {
            Ok(results) => words(&results).iter().take_while(|word| **word == "delivered").count(),
            Err(_) => 0,
        };
        assert!(begun.elapsed() < sink.deadline(), "{:?}", begun.elapsed());
        updates.drain(..delivered);
        if delivered == 0 {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn entities(sink: &Arc<dyn Sink>, count: u64, versions: u64) -> tokio::task::JoinSet<()> {
    let mut deliveries = tokio::task::JoinSet::new();
    for id in 0..count {
        deliveries.spawn(deliver_all(Arc::clone(sink), id.to_string(), versions, 50));
    }
    deliveries
}

async fn all(mut deliveries: tokio::task::JoinSet<()>) {
    while let Some(ended) = deliveries.join_next().await {
        ended.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_is_a_failure_in_time_and_nothing_is_lost() {
    let kafka = Kafka::start();
    kafka.create_topic("Order", 2, &[]).await;
    let sink = sink(&kafka, &Settings::default());
    all(entities(&sink, 2, 10).await).await;
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
    assert_in_order(&versions(&records, "Order/1"), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_completeness_survive_restarts() {
    let kafka = Kafka::start();
    kafka.create_topic("Order", 3, &[]).await;
    let sink = sink(&kafka, &Settings::default());
    let deliveries = entities(&sink, 8, 3_000).await;
    for _ in 0..2 {
        sleep(Duration::from_millis(300)).await;
        kafka.kill();
        kafka.restart();
        sleep(Duration::from_millis(300)).await;
        kafka.freeze();
        sleep(Duration::from_millis(500)).await;
        kafka.thaw();
    }
    all(deliveries).await;
    let records = records(&kafka, "Order").await;
    for id in 0..8 {
        assert_in_order(&versions(&records, &format!("Order/{id}")), 3_000);
    }
}
