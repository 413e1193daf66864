//! Two members of a group that come and go while messages are settled slowly.

mod kafka_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_support::PATIENCE;
use kafka_support::reading::*;
use producer_test_support::Kafka;
use producer_worker::config::SourceStart::Start;
use producer_worker::source::{Place, Source};
use tokio::time::sleep;

const TOPIC: &str = "rebalances";
const PARTITIONS: i32 = 4;
const MESSAGES: i64 = 600;
/// Batches that a member has at once.
const IN_HAND: usize = 6;

/// Every offset that any member has settled, noted before it is acknowledged.
type Settled = Arc<Mutex<BTreeSet<(i32, i64)>>>;

/// A runner that has several batches in hand and settles them late and in another order, until it is to
/// leave.
async fn run(mut source: Box<dyn Source>, settled: Settled, leave: Arc<AtomicBool>) {
    let mut in_hand: Vec<Vec<Place>> = Vec::new();
    while !leave.load(Ordering::Relaxed) {
        let received = source.receive(7).await.unwrap_or_default();
        let waits = received.is_empty();
        if !waits {
            in_hand.push(places(&received));
        }
        sleep(Duration::from_millis(5)).await;
        while in_hand.len() >= IN_HAND || (waits && !in_hand.is_empty()) {
            // the second one and then the first, so that commits wait for the first
            let second = in_hand.len() - 1;
            for at in [1.min(second), 0] {
                if at < in_hand.len() {
                    let batch = in_hand.remove(at);
                    settle(&mut source, &settled, batch).await;
                }
            }
        }
    }
    source.close().await;
}

async fn settle(source: &mut Box<dyn Source>, settled: &Settled, places: Vec<Place>) {
    settled.lock().expect("not poisoned").extend(places.iter().map(at));
    let _ = source.acknowledge(&places).await;
}

/// Panics where a commit goes back, or beyond what is settled.
fn check(before: &BTreeMap<i32, i64>, now: &BTreeMap<i32, i64>, settled: &Settled) {
    let settled = settled.lock().expect("not poisoned");
    for (partition, offset) in now {
        let earlier = before.get(partition).copied().unwrap_or(0);
        assert!(*offset >= earlier, "partition {partition} went back from {earlier} to {offset}");
        for below in earlier..*offset {
            let is_settled = settled.contains(&(*partition, below));
            assert!(is_settled, "{offset} of partition {partition} is beyond {below}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_settled_and_no_commit_goes_back_or_beyond() {
    let kafka = Kafka::shared();
    kafka.create_topic(TOPIC, PARTITIONS, &[]).await;
    let count = usize::try_from(MESSAGES).expect("small");
    for partition in 0..PARTITIONS {
        send(kafka, TOPIC, partition, &texts("m", count)).await;
    }
    let settled = Settled::default();
    let member = || {
        let leave = Arc::new(AtomicBool::new(false));
        let source = source(&kafka.url(), TOPIC, TOPIC, Start, &[]);
        let running = tokio::spawn(run(source, Arc::clone(&settled), Arc::clone(&leave)));
        (running, leave)
    };
    let group = Group::new(kafka, TOPIC, TOPIC, PARTITIONS);
    let mut members = vec![member()];
    let mut before = BTreeMap::new();
    let total = |committed: &BTreeMap<i32, i64>| committed.values().sum::<i64>();
    let deadline = Instant::now() + PATIENCE * 2;
    let mut changes = 1;
    while total(&before) < i64::from(PARTITIONS) * MESSAGES {
        assert!(Instant::now() < deadline, "{before:?}");
        let now = tokio::task::block_in_place(|| group.committed());
        check(&before, &now, &settled);
        before = now;
        // at every seventh of the way a member comes, or the older of two goes
        if total(&before) > changes * i64::from(PARTITIONS) * MESSAGES / 7 {
            changes += 1;
            if members.len() == 1 {
                members.push(member());
            } else {
                let (running, leave) = members.remove(0);
                leave.store(true, Ordering::Relaxed);
                running.await.expect("no panic");
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    for (running, leave) in members {
        leave.store(true, Ordering::Relaxed);
        running.await.expect("no panic");
    }
    let settled = settled.lock().expect("not poisoned");
    assert_eq!(settled.len(), usize::try_from(PARTITIONS).expect("small") * count);
    assert!(changes > 3, "members came and went {changes} times");
}
