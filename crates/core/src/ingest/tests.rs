//! The ingest over a store in memory that fails and delays on purpose. Time is paused: deadlines
//! pass as soon as nothing else can happen.

mod cancelling;
mod fake_store;
mod panics;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use self::fake_store::{Behavior, FakeStore};
use super::{ApplyError, Ingest, Limits};
use crate::json::Patch;
use crate::model::{
    EntityKey, EntityUpdate, Event, Operation, Outcome, Precondition, Problem, ProblemKind,
    UnavailableKind,
};

pub(super) fn limits() -> Limits {
    Limits {
        queue_events: 4000,
        queue_bytes: 64 << 20,
        queue_age: Duration::from_secs(2),
        request_timeout: Duration::from_secs(3),
        log_progress_every: 10,
    }
}

fn unavailable_as(kind: UnavailableKind) -> ApplyError {
    ApplyError::Unavailable { kind, reason: "on purpose".into() }
}

pub(super) fn unreachable() -> ApplyError {
    unavailable_as(UnavailableKind::Unreachable)
}

fn key(id: &str) -> EntityKey {
    EntityKey::new_unchecked("Car", id)
}

pub(super) fn event_on(ids: &[&str]) -> Event {
    let patch = Patch::parse("{}").expect("a patch");
    let update = |id: &&str| EntityUpdate {
        key: key(id),
        operation: Operation::Merge,
        precondition: Precondition::None,
        condition: None,
        patch: patch.clone(),
    };
    Event {
        uuid: Uuid::new_v4(),
        name: "CarServiced".into(),
        event_type: None,
        created: None,
        saved: None,
        source: None,
        actor: None,
        updates: ids.iter().map(update).collect(),
    }
}

fn submit(ingest: &Ingest, event: Event) -> tokio::task::JoinHandle<Outcome> {
    let ingest = ingest.clone();
    tokio::spawn(async move { ingest.submit(event).await })
}

/// Lets every task run until all of them wait.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn kind(outcome: &Outcome) -> Option<ProblemKind> {
    outcome.as_ref().err().map(|problem| problem.kind)
}

fn version(outcome: &Outcome) -> u64 {
    outcome.as_ref().unwrap().entities[0].version
}

#[tokio::test(start_paused = true)]
async fn what_waits_shares_two_commits() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let first = submit(&ingest, event_on(&["0"]));
    settle().await;
    let rest: Vec<_> = (1..=100).map(|i| submit(&ingest, event_on(&[&i.to_string()]))).collect();
    settle().await;
    store.open_gate();
    assert_eq!(version(&first.await.unwrap()), 1);
    for outcome in rest {
        assert_eq!(version(&outcome.await.unwrap()), 1);
    }
    assert_eq!(store.with(|memory| memory.batches.clone()), [1, 50, 50]);
}

#[tokio::test(start_paused = true)]
async fn one_entity_keeps_its_order_over_two_writers() {
    let mut store = FakeStore::new();
    store.writers = 2;
    let ingest = store.start(limits());
    let (mut sender, mut results) = ingest.open_call().unwrap();
    let events: Vec<Event> = (0..900).map(|i| event_on(&[&(i % 7).to_string()])).collect();
    let mut expected: HashMap<EntityKey, Vec<Uuid>> = HashMap::new();
    for event in &events {
        expected.entry(event.updates[0].key.clone()).or_default().push(event.uuid);
    }
    for event in events.clone() {
        assert!(sender.send(Ok(event)).await);
    }
    drop(sender);
    store.open_gate();
    while let Some(outcome) = results.next().await {
        outcome.unwrap();
    }
    let of = |uuid: &Uuid| events.iter().find(|event| event.uuid == *uuid).unwrap();
    let mut applied: HashMap<EntityKey, Vec<Uuid>> = HashMap::new();
    for uuid in store.with(|memory| memory.order.clone()) {
        applied.entry(of(&uuid).updates[0].key.clone()).or_default().push(uuid);
    }
    assert_eq!(applied, expected);
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_fails_alone() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let events: Vec<Event> = (0..20).map(|i| event_on(&[&i.to_string()])).collect();
    store.with(|memory| memory.refused.insert(events[13].uuid));
    let refused = events[13].uuid;
    let outcomes: Vec<_> = events.into_iter().map(|event| submit(&ingest, event)).collect();
    settle().await;
    store.open_gate();
    for (i, outcome) in outcomes.into_iter().enumerate() {
        let outcome = outcome.await.unwrap();
        if i == 13 {
            let problem = outcome.unwrap_err();
            assert_eq!((problem.kind, problem.event_id), (ProblemKind::Internal, Some(refused)));
        } else {
            assert_eq!(version(&outcome), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_commit_whose_answer_was_lost_is_resolved() {
    let store = FakeStore::new();
    store.behave([Behavior::CommitThenLose, Behavior::Lose, Behavior::Lose]);
    store.open_gate();
    let ingest = store.start(limits());
    let receipt = ingest.submit(event_on(&["a"])).await.unwrap();
    assert!(!receipt.duplicate, "its own first attempt doesn't make it a duplicate");
    assert_eq!(receipt.entities[0].version, 1);
    assert_eq!(store.with(|memory| memory.order.len()), 1);
}

/// Of each event of one batch, whether it was answered as a duplicate.
async fn duplicates(ingest: &Ingest, store: &FakeStore, events: Vec<Event>) -> Vec<bool> {
    // the first batch waits at the gate, so that all of these make the next one
    let first = submit(ingest, event_on(&["first"]));
    settle().await;
    let mut outcomes = Vec::new();
    for event in events {
        outcomes.push(submit(ingest, event));
        settle().await;
    }
    store.open_gate();
    first.await.unwrap().unwrap();
    let mut duplicates = Vec::new();
    for outcome in outcomes {
        duplicates.push(outcome.await.unwrap().unwrap().duplicate);
    }
    duplicates
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_a_lost_answer_stays_a_duplicate() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let old = event_on(&["a"]);
    store.with(|memory| memory.apply_one(&old));
    store.behave([Behavior::Apply, Behavior::CommitThenLose, Behavior::Lose]);
    let (new, twice) = (event_on(&["a"]), event_on(&["b"]));
    let batch = vec![old, new, twice.clone(), twice];
    assert_eq!(duplicates(&ingest, &store, batch).await, [true, false, false, true]);
    assert_eq!(store.with(|memory| memory.batches.clone()), [1, 4, 4], "in one batch");
}

#[tokio::test(start_paused = true)]
async fn what_another_process_stored_is_not_of_the_lost_attempt() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    store.behave([Behavior::Apply, Behavior::LoseToAnother]);
    let batch = vec![event_on(&["a"]), event_on(&["b"])];
    assert_eq!(duplicates(&ingest, &store, batch).await, [true, true]);
}

#[tokio::test(start_paused = true)]
async fn an_atomic_array_whose_answer_was_lost_knows_its_duplicates() {
    let store = FakeStore::new();
    store.open_gate();
    let ingest = store.start(limits());
    let old = event_on(&["a"]);
    ingest.submit(old.clone()).await.unwrap();
    store.behave([Behavior::CommitThenLose]);
    let outcomes = ingest.submit_atomic(vec![old, event_on(&["b"])]).await.unwrap();
    let duplicates: Vec<_> = outcomes.into_iter().map(|o| o.unwrap().duplicate).collect();
    assert_eq!(duplicates, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn sent_again_after_a_504_it_is_a_duplicate() {
    let store = FakeStore::new();
    store.behave([Behavior::CommitThenLose].into_iter().chain((0..1000).map(|_| Behavior::Lose)));
    store.open_gate();
    let ingest = store.start(limits());
    let event = event_on(&["a"]);
    let unknown = ingest.submit(event.clone()).await;
    assert_eq!(kind(&unknown), Some(ProblemKind::OutcomeUnknown));
    store.with(|memory| memory.behaviors.clear());
    assert!(ingest.submit(event).await.unwrap().duplicate);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_stays_unknown_is_answered_as_unknown() {
    let store = FakeStore::new();
    store.behave((0..1000).map(|_| Behavior::Lose));
    store.open_gate();
    let ingest = store.start(limits());
    let event = event_on(&["a"]);
    let (uuid, sent) = (event.uuid, Instant::now());
    let problem = ingest.submit(event).await.unwrap_err();
    assert_eq!((problem.kind, problem.event_id), (ProblemKind::OutcomeUnknown, Some(uuid)));
    assert!(sent.elapsed() <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn with_a_frozen_store_senders_are_answered_in_time_and_the_commit_goes_on() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let taken = submit(&ingest, event_on(&["a"]));
    settle().await;
    let queued = event_on(&["b"]);
    let queued_uuid = queued.uuid;
    let queued = submit(&ingest, queued);
    let sent = Instant::now();
    assert_eq!(kind(&queued.await.unwrap()), Some(ProblemKind::Overloaded));
    assert!(sent.elapsed() <= Duration::from_millis(2100));
    assert_eq!(kind(&taken.await.unwrap()), Some(ProblemKind::OutcomeUnknown));
    assert!(sent.elapsed() <= Duration::from_secs(3));
    store.open_gate();
    ingest.drain();
    ingest.close_when_empty().await;
    let order = store.with(|memory| memory.order.clone());
    assert_eq!(order.len(), 1, "the commit under way went on");
    assert!(!order.contains(&queued_uuid), "what was refused is not stored");
}

#[tokio::test(start_paused = true)]
async fn a_store_out_of_reach_refuses_and_comes_back() {
    let store = FakeStore::new();
    store.behave([Behavior::Fail(unreachable())]);
    store.open_gate();
    let ingest = store.start(limits());
    let event = event_on(&["a"]);
    assert_eq!(kind(&ingest.submit(event.clone()).await), Some(ProblemKind::Unavailable));
    assert_eq!(version(&ingest.submit(event).await), 1);
}

/// A sender learns what is missing, and nothing that the database said.
#[tokio::test(start_paused = true)]
async fn the_kind_of_unavailability_reaches_the_sender() {
    for kind in
        [UnavailableKind::Unreachable, UnavailableKind::Authentication, UnavailableKind::Schema]
    {
        let store = FakeStore::new();
        store.open_gate();
        let ingest = store.start(limits());
        for atomic in [false, true] {
            store.behave([Behavior::Fail(unavailable_as(kind))]);
            let problem = match atomic {
                false => ingest.submit(event_on(&["a"])).await.expect_err("it is refused"),
                true => {
                    ingest.submit_atomic(vec![event_on(&["a"])]).await.expect_err("it is refused")
                }
            };
            assert_eq!(problem.kind, ProblemKind::Unavailable);
            assert!(problem.detail.starts_with(kind.detail()), "{problem}");
            assert!(!problem.detail.contains("on purpose"), "{problem}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_recovers() {
    let store = FakeStore::new();
    let ingest = store.start(Limits { queue_events: 8, ..limits() });
    let waiting: Vec<_> = (0..8).map(|i| submit(&ingest, event_on(&[&i.to_string()]))).collect();
    settle().await;
    let sent = Instant::now();
    assert_eq!(kind(&ingest.submit(event_on(&["x"])).await), Some(ProblemKind::Overloaded));
    assert_eq!(sent.elapsed(), Duration::ZERO);
    assert!(ingest.open_call().is_err());
    store.open_gate();
    for outcome in waiting {
        outcome.await.unwrap().unwrap();
    }
    ingest.submit(event_on(&["x"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_leaves_cancels_nothing_that_a_writer_has_taken() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let gone = submit(&ingest, event_on(&["a"]));
    settle().await;
    gone.abort();
    store.open_gate();
    ingest.drain();
    ingest.close_when_empty().await;
    assert_eq!(store.with(|memory| memory.order.len()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_locked_entity_is_parked_and_what_is_behind_it_waits() {
    let store = FakeStore::new();
    store.with(|memory| memory.locked.insert(key("held")));
    store.open_gate();
    let ingest = store.start(limits());
    let first = event_on(&["held", "other"]);
    let second = event_on(&["other"]);
    let order = [first.uuid, second.uuid];
    let first = submit(&ingest, first);
    settle().await;
    let second = submit(&ingest, second);
    let sent = Instant::now();
    ingest.submit(event_on(&["neighbour"])).await.unwrap();
    assert!(sent.elapsed() < Duration::from_millis(50), "neighbours go on");
    store.with(|memory| memory.locked.clear());
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(store.with(|memory| memory.order[1..].to_vec()), order);
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_beside_a_batch_on_the_same_entity_is_not_overtaken() {
    let store = FakeStore::new();
    store.with(|memory| memory.locked.insert(key("held")));
    store.open_gate();
    let ingest = store.start(limits());
    // from now on the entity is known to be held
    assert_eq!(kind(&ingest.submit(event_on(&["held"])).await), Some(ProblemKind::Overloaded));
    store.gate.forget_permits(usize::MAX);
    let mut senders = vec![submit(&ingest, event_on(&["neighbour"]))];
    settle().await;
    let events = [event_on(&["one"]), event_on(&["one", "held"]), event_on(&["one"])];
    let order = events.each_ref().map(|event| event.uuid);
    for (at, event) in events.into_iter().enumerate() {
        if at == 2 {
            store.gate.add_permits(1); // the first two are one batch, or one and parked
            settle().await;
        }
        senders.push(submit(&ingest, event));
        settle().await;
    }
    store.gate.add_permits(1);
    settle().await;
    store.with(|memory| memory.locked.clear());
    store.open_gate();
    for sender in senders {
        sender.await.unwrap().unwrap();
    }
    assert_eq!(store.with(|memory| memory.order[1..].to_vec()), order);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_stays_ends_in_a_refusal_and_nothing_is_stored() {
    let store = FakeStore::new();
    store.with(|memory| memory.locked.insert(key("held")));
    store.open_gate();
    let ingest = store.start(limits());
    let sent = Instant::now();
    assert_eq!(kind(&ingest.submit(event_on(&["held"])).await), Some(ProblemKind::Overloaded));
    assert!(sent.elapsed() <= Duration::from_millis(2100));
    store.with(|memory| memory.locked.clear());
    assert_eq!(version(&ingest.submit(event_on(&["held"])).await), 1, "it was not stored");
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_a_call_applies_nothing_more_on_that_entity() {
    let store = FakeStore::new();
    store.with(|memory| memory.locked.insert(key("held")));
    store.open_gate();
    let ingest = store.start(limits());
    let (mut sender, mut results) = ingest.open_call().unwrap();
    for ids in [["held"], ["free"], ["held"]] {
        sender.send(Ok(event_on(&ids))).await;
    }
    let first = results.next().await.unwrap();
    assert_eq!(kind(&first), Some(ProblemKind::Overloaded));
    store.with(|memory| memory.locked.clear());
    sender.broken().await;
    sender.send(Ok(event_on(&["held"]))).await;
    drop(sender);
    assert_eq!(kind(&results.next().await.unwrap()), None);
    for _ in 0..2 {
        let status = kind(&results.next().await.unwrap()).map(ProblemKind::http_status);
        assert_eq!(status, Some(503));
    }
    assert!(results.next().await.is_none());
    assert!(store.with(|memory| !memory.versions.contains_key(&key("held"))));
}

#[tokio::test(start_paused = true)]
async fn a_call_has_a_bounded_part_of_the_queue_and_waits_for_room() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let (mut sender, mut results) = ingest.open_call().unwrap();
    let sent = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&sent);
    tokio::spawn(async move {
        for i in 0..3000 {
            sender.send(Ok(event_on(&[&i.to_string()]))).await;
            *counter.lock().unwrap() += 1;
        }
    });
    settle().await;
    assert_eq!(*sent.lock().unwrap(), 1000);
    store.open_gate();
    let mut count = 0;
    while let Some(outcome) = results.next().await {
        outcome.unwrap();
        count += 1;
    }
    assert_eq!(count, 3000);
}

#[tokio::test(start_paused = true)]
async fn a_call_on_a_frozen_store_ends_without_progress() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let (mut sender, mut results) = ingest.open_call().unwrap();
    sender.send(Ok(event_on(&["a"]))).await;
    settle().await;
    sender.send(Ok(event_on(&["b"]))).await;
    let sent = Instant::now();
    assert_eq!(kind(&results.next().await.unwrap()), Some(ProblemKind::OutcomeUnknown));
    assert!(sent.elapsed() <= Duration::from_secs(3));
    store.open_gate();
    assert_eq!(kind(&results.next().await.unwrap()), Some(ProblemKind::Unavailable));
    assert_eq!(store.with(|memory| memory.order.len()), 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_attempt_may_have_stored_is_never_refused_as_not_stored() {
    let store = FakeStore::new();
    store.with(|memory| memory.locked.insert(key("held")));
    let unavailable = || Behavior::Fail(unreachable());
    store.behave([Behavior::Lose, Behavior::Apply, unavailable()]);
    store.open_gate();
    let ingest = store.start(limits());
    let problem = ingest.submit(event_on(&["held"])).await.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::OutcomeUnknown);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_waited_for_once_and_not_once_per_event() {
    let store = FakeStore::new();
    store.with(|memory| memory.locked.insert(key("held")));
    store.open_gate();
    let ingest = store.start(limits());
    for _ in 0..3 {
        assert_eq!(kind(&ingest.submit(event_on(&["held"])).await), Some(ProblemKind::Overloaded));
    }
    assert_eq!(store.with(|memory| memory.waiting_batches), 1);
    store.with(|memory| memory.locked.clear());
    ingest.submit(event_on(&["held"])).await.unwrap();
    ingest.submit(event_on(&["held"])).await.unwrap();
    assert_eq!(store.with(|memory| memory.waiting_batches), 2, "free again, it is as any other");
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_a_stalled_call_is_given_up_together() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let (mut sender, mut results) = ingest.open_call().unwrap();
    for i in 0..100 {
        sender.send(Ok(event_on(&[&i.to_string()]))).await;
        settle().await;
    }
    drop(sender);
    let sent = Instant::now();
    let mut statuses = Vec::new();
    while let Some(outcome) = results.next().await {
        statuses.push(kind(&outcome).map(ProblemKind::http_status));
    }
    assert_eq!(statuses.len(), 100);
    assert!(statuses.iter().all(|status| matches!(status, Some(503 | 504))), "{statuses:?}");
    assert!(sent.elapsed() <= Duration::from_secs(4), "{:?}", sent.elapsed());
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_what_is_new_and_answers_what_is_in() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let inside = submit(&ingest, event_on(&["a"]));
    settle().await;
    ingest.drain();
    let refused: Problem = ingest.submit(event_on(&["b"])).await.unwrap_err();
    assert_eq!(refused.kind, ProblemKind::Unavailable);
    assert!(ingest.open_call().is_err());
    store.open_gate();
    ingest.close_when_empty().await;
    inside.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_atomic_array_waits_for_its_locks_alone() {
    let store = FakeStore::new();
    store.with(|memory| memory.locked.insert(key("held")));
    store.open_gate();
    let ingest = store.start(limits());
    let all = vec![event_on(&["a"]), event_on(&["held"])];
    let whole = tokio::spawn({
        let ingest = ingest.clone();
        async move { ingest.submit_atomic(all).await }
    });
    settle().await;
    ingest.submit(event_on(&["neighbour"])).await.unwrap();
    assert_eq!(store.with(|memory| memory.order.len()), 1, "nothing of the array yet");
    store.with(|memory| memory.locked.clear());
    assert_eq!(whole.await.unwrap().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_items_come_back_in_their_order_the_bad_ones_in_between() {
    let store = FakeStore::new();
    store.open_gate();
    let ingest = store.start(limits());
    let bad = || Problem::new(ProblemKind::Validation, "bad");
    let items = (0..2500)
        .map(|i| if i % 3 == 0 { Err(bad()) } else { Ok(event_on(&[&i.to_string()])) })
        .collect();
    let outcomes = ingest.submit_items(items).await.unwrap();
    assert_eq!(outcomes.len(), 2500);
    for (i, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_err(), i % 3 == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn parked_events_and_arrays_do_not_keep_each_other_waiting() {
    for (freed, stays) in [("event", "array"), ("array", "event")] {
        let store = FakeStore::new();
        store.with(|memory| memory.locked.extend([key("event"), key("array")]));
        store.open_gate();
        let ingest = store.start(limits());
        let event = submit(&ingest, event_on(&["event"]));
        let array = tokio::spawn({
            let ingest = ingest.clone();
            async move { ingest.submit_atomic(vec![event_on(&["array"]), event_on(&["b"])]).await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        store.with(|memory| memory.locked.remove(&key(freed)));
        tokio::time::sleep(Duration::from_millis(110)).await;
        assert_eq!(event.is_finished(), freed == "event", "{stays} stays locked");
        assert_eq!(array.is_finished(), freed == "array", "{stays} stays locked");
    }
}
