//! Writers that panic.

use super::*;

fn behaviors(count: usize) -> impl Iterator<Item = Behavior> {
    (0..count).map(|_| Behavior::Panic)
}

#[tokio::test(start_paused = true)]
async fn an_event_that_panics_fails_alone() {
    let store = FakeStore::new();
    let ingest = store.start(limits());
    let first = submit(&ingest, event_on(&["first"]));
    settle().await;
    let events: Vec<Event> = (0..200).map(|i| event_on(&[&i.to_string()])).collect();
    let culprit = events[133].uuid;
    store.with(|memory| memory.panicking.insert(culprit));
    let outcomes: Vec<_> = events.into_iter().map(|event| submit(&ingest, event)).collect();
    settle().await;
    store.open_gate();
    first.await.unwrap().unwrap();
    for (i, outcome) in outcomes.into_iter().enumerate() {
        let outcome = outcome.await.unwrap();
        if i == 133 {
            let problem = outcome.unwrap_err();
            assert_eq!((problem.kind, problem.event_id), (ProblemKind::Internal, Some(culprit)));
            assert!(problem.detail.contains("may or may not"), "{}", problem.detail);
        } else {
            assert_eq!(version(&outcome), 1);
        }
    }
    assert_eq!(version(&ingest.submit(event_on(&["first"])).await), 2, "the writer continues");
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_behind_an_event_that_panics() {
    let store = FakeStore::new();
    store.open_gate();
    let ingest = store.start(limits());
    let events: Vec<Event> = (0..50).map(|i| event_on(&[&(i % 5).to_string()])).collect();
    store.with(|memory| memory.panicking.insert(events[20].uuid));
    let outcomes = ingest.submit_items(events.into_iter().map(Ok).collect()).await.unwrap();
    for (i, outcome) in outcomes.iter().enumerate() {
        let expected = (i == 20).then_some(ProblemKind::Internal);
        assert_eq!(kind(outcome), expected, "{i}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_the_events_are_applied_once_by_a_new_writer() {
    let store = FakeStore::new();
    store.behave([Behavior::Panic]);
    store.open_gate();
    let ingest = store.start(limits());
    assert_eq!(version(&ingest.submit(event_on(&["a"])).await), 1);
    assert_eq!(store.with(|memory| memory.writers), 2);
    store.behave([Behavior::CommitThenPanic]);
    assert_eq!(version(&ingest.submit(event_on(&["a"])).await), 2);
    assert_eq!(store.with(|memory| memory.order.len()), 2);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_stored_after_a_panic_is_never_refused_as_not_stored() {
    let store = FakeStore::new();
    store.behave([Behavior::CommitThenPanic, Behavior::Fail(unreachable())]);
    store.open_gate();
    let ingest = store.start(limits());
    let outcome = ingest.submit(event_on(&["a"])).await;
    assert_eq!(kind(&outcome), Some(ProblemKind::OutcomeUnknown));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_panics_after_a_lost_answer_is_unknown() {
    let store = FakeStore::new();
    store.behave([Behavior::CommitThenLose].into_iter().chain(behaviors(10)));
    store.open_gate();
    let ingest = store.start(limits());
    let outcome = ingest.submit(event_on(&["a"])).await;
    assert_eq!(kind(&outcome), Some(ProblemKind::OutcomeUnknown));
}

#[tokio::test(start_paused = true)]
async fn an_atomic_array_is_applied_again_after_a_panic() {
    let store = FakeStore::new();
    store.behave([Behavior::Panic]);
    store.open_gate();
    let ingest = store.start(limits());
    let events = || vec![event_on(&["a"]), event_on(&["b"])];
    assert_eq!(ingest.submit_atomic(events()).await.unwrap().len(), 2);
    store.behave(behaviors(2));
    let problem = ingest.submit_atomic(events()).await.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Internal);
    ingest.submit_atomic(events()).await.unwrap();
}

/// Else a defect that every event meets would make the writer reconnect without end.
#[tokio::test(start_paused = true)]
async fn a_writer_that_always_panics_pauses() {
    let store = FakeStore::new();
    store.behave(behaviors(100_000));
    store.open_gate();
    let ingest = store.start(limits());
    let start = Instant::now();
    let mut answered = 0;
    while start.elapsed() < Duration::from_secs(20) {
        assert!(ingest.submit(event_on(&["a"])).await.is_err());
        answered += 1;
    }
    assert!(answered > 10);
    let writers = store.with(|memory| memory.writers);
    assert!(writers < 45, "{writers} writers in 20 s");
    store.with(|memory| memory.behaviors.clear());
    assert_eq!(version(&ingest.submit(event_on(&["a"])).await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_always_panics_is_answered_in_time() {
    let store = FakeStore::new();
    store.behave(behaviors(100_000));
    let ingest = store.start(limits());
    let sent = Instant::now();
    let outcomes: Vec<_> = (0..300).map(|i| submit(&ingest, event_on(&[&i.to_string()]))).collect();
    settle().await;
    store.open_gate();
    for outcome in outcomes {
        let status = kind(&outcome.await.unwrap()).map(ProblemKind::http_status);
        assert!(matches!(status, Some(500 | 503 | 504)), "{status:?}");
    }
    assert!(sent.elapsed() <= Duration::from_millis(3100), "{:?}", sent.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_writer_task_that_ends_by_a_panic_is_started_again() {
    let store = FakeStore::new();
    store.with(|memory| memory.panicking_writers = 2);
    store.open_gate();
    let ingest = store.start(limits());
    assert_eq!(version(&ingest.submit(event_on(&["a"])).await), 1);
    store.behave([Behavior::Panic]);
    store.with(|memory| memory.panicking_writers = 1);
    let outcome = ingest.submit(event_on(&["a"])).await;
    assert_eq!(kind(&outcome), Some(ProblemKind::OutcomeUnknown), "its batch is lost");
    assert_eq!(version(&ingest.submit(event_on(&["a"])).await), 2);
}
