//! Senders that leave while their events wait.

use super::*;

/// How many events were counted with this outcome.
fn counted(ingest: &Ingest, result: &str) -> u64 {
    let families = ingest.metrics();
    let events = families.iter().find(|family| family.name() == "producer_events_total").unwrap();
    let metric = events.get_metric().iter().find(|metric| metric.get_label()[0].value() == result);
    metric.unwrap().get_counter().get_value() as u64
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_sender_leaves_while_it_waits_is_not_stored() {
    let store = FakeStore::new();
    let ingest = store.start(Limits { queue_events: 2, ..limits() });
    let taken = submit(&ingest, event_on(&["a"]));
    settle().await;
    let waiting = submit(&ingest, event_on(&["a"]));
    settle().await;
    assert_eq!(kind(&ingest.submit(event_on(&["b"])).await), Some(ProblemKind::Overloaded));
    waiting.abort();
    settle().await;
    let behind = submit(&ingest, event_on(&["a"]));
    settle().await;
    store.open_gate();
    assert_eq!(version(&taken.await.unwrap()), 1);
    assert_eq!(version(&behind.await.unwrap()), 2, "it had the room of the one that left");
    assert_eq!(counted(&ingest, "cancelled"), 1);
    assert_eq!(store.with(|memory| memory.order.len()), 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_sender_leaves_while_it_is_parked_is_not_stored() {
    let store = FakeStore::new();
    store.with(|memory| memory.locked.insert(key("held")));
    store.open_gate();
    let ingest = store.start(limits());
    let parked = submit(&ingest, event_on(&["held"]));
    settle().await;
    let behind = submit(&ingest, event_on(&["held"]));
    settle().await;
    parked.abort();
    settle().await;
    store.with(|memory| memory.locked.clear());
    assert_eq!(version(&behind.await.unwrap()), 1);
    assert_eq!(counted(&ingest, "cancelled"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_atomic_array_whose_sender_leaves_is_not_stored() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let taken = submit(&ingest, event_on(&["a"]));
    settle().await;
    let array = tokio::spawn({
        let ingest = ingest.clone();
        async move { ingest.submit_atomic(vec![event_on(&["b"]), event_on(&["c"])]).await }
    });
    settle().await;
    array.abort();
    settle().await;
    store.open_gate();
    taken.await.unwrap().unwrap();
    ingest.drain();
    ingest.close_when_empty().await;
    assert_eq!(counted(&ingest, "cancelled"), 2);
    assert_eq!(store.with(|memory| memory.order.len()), 1);
}

#[tokio::test(start_paused = true)]
async fn the_waiting_events_of_a_call_that_is_dropped_are_not_stored() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let (mut sender, mut results) = ingest.open_call().unwrap();
    sender.send(Ok(event_on(&["a"]))).await;
    settle().await;
    for i in 0..50 {
        sender.send(Ok(event_on(&[&(i % 7).to_string()]))).await;
    }
    // the first of them is being waited for
    assert!(tokio::time::timeout(Duration::from_millis(1), results.next()).await.is_err());
    drop(results);
    assert_eq!(counted(&ingest, "cancelled"), 50);
    assert!(!sender.send(Ok(event_on(&["a"]))).await);
    drop(sender);
    store.open_gate();
    ingest.drain();
    ingest.close_when_empty().await;
    assert_eq!(store.with(|memory| memory.order.len()), 1, "what a writer had taken");
}

#[tokio::test(start_paused = true)]
async fn an_answered_event_is_not_counted_as_cancelled() {
    let store = FakeStore::new();
    store.open_gate();
    let ingest = store.start(limits());
    ingest.submit(event_on(&["a"])).await.unwrap();
    let items = (0..20).map(|i| Ok(event_on(&[&i.to_string()]))).collect();
    assert!(ingest.submit_items(items).await.unwrap().iter().all(Result::is_ok));
    assert_eq!((counted(&ingest, "created"), counted(&ingest, "cancelled")), (21, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_sender_leaves_while_a_writer_has_it_is_counted_by_its_outcome() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let taken = submit(&ingest, event_on(&["a"]));
    settle().await;
    taken.abort();
    settle().await;
    store.open_gate();
    ingest.drain();
    ingest.close_when_empty().await;
    assert_eq!((counted(&ingest, "created"), counted(&ingest, "cancelled")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_its_sender_has_given_up_is_counted_once() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let given_up = ingest.submit(event_on(&["a"])).await;
    assert_eq!(kind(&given_up), Some(ProblemKind::OutcomeUnknown));
    store.open_gate();
    ingest.drain();
    ingest.close_when_empty().await;
    assert_eq!((counted(&ingest, "unknown"), counted(&ingest, "created")), (1, 0));
}
