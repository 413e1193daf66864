//! Which writer is woken by what.

use std::time::Duration;

use super::*;
use crate::ingest::grouping::{Grouping, Groups};
use crate::ingest::job::Work;
use crate::ingest::tests::{event_on, limits};
use crate::model::Outcome;

fn queue() -> Arc<Queue> {
    Arc::new(Queue::new(limits(), 2))
}

fn push(queue: &Queue, id: &str) -> tokio::sync::oneshot::Receiver<Outcome> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    let event = event_on(&[id]);
    let keys = queue.keys(std::slice::from_ref(&event));
    queue.push(Job::new(Work::One(event, reply), keys, Instant::now(), None)).unwrap();
    answer
}

fn take(queue: &Arc<Queue>, writer: usize) -> Option<Batch> {
    match queue.take(writer, &queue.writers[writer]) {
        Take::Batch(batch) => Some(batch),
        Take::Nothing { .. } => None,
        Take::Closed => panic!("closed"),
    }
}

fn is_idle(queue: &Queue, writer: usize) -> bool {
    queue.writers[writer].is_idle.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_job_that_has_to_wait_for_a_batch_wakes_nobody() {
    let queue = queue();
    assert!(take(&queue, 0).is_none() && take(&queue, 1).is_none());
    let _first = push(&queue, "hot");
    assert!(!is_idle(&queue, 0), "woken");
    assert!(is_idle(&queue, 1));
    let batch = take(&queue, 0).unwrap();
    let hot: Vec<_> = (0..300).map(|_| push(&queue, "hot")).collect();
    assert!(is_idle(&queue, 1), "it could take nothing");
    let _other = push(&queue, "other");
    assert!(!is_idle(&queue, 1), "the first writer is behind");
    assert_eq!(take(&queue, 1).unwrap().jobs.len(), 1);
    drop(batch);
    assert_eq!(take(&queue, 1).unwrap().jobs.len(), hot.len());
}

#[tokio::test]
async fn the_second_writer_is_woken_when_many_wait() {
    let queue = queue();
    assert!(take(&queue, 1).is_none());
    let mut answers: Vec<_> = (0..255).map(|i| push(&queue, &i.to_string())).collect();
    assert!(is_idle(&queue, 1));
    answers.push(push(&queue, "255"));
    assert!(!is_idle(&queue, 1));
}

#[tokio::test(start_paused = true)]
async fn the_second_writer_is_woken_when_one_waits_for_long() {
    let queue = queue();
    assert!(take(&queue, 1).is_none());
    let _old = push(&queue, "old");
    tokio::time::advance(Duration::from_millis(201)).await;
    assert!(is_idle(&queue, 1));
    let _new = push(&queue, "new");
    assert!(!is_idle(&queue, 1));
}

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_for_a_batch_have_an_age_and_keep_their_room() {
    let queue = queue();
    let _first = push(&queue, "hot");
    let batch = take(&queue, 0).unwrap();
    assert_eq!(queue.depth().oldest_age, Duration::ZERO, "nothing waits");
    let _second = push(&queue, "hot");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(queue.depth().oldest_age, Duration::from_secs(5));
    assert_eq!(queue.depth().load.events, 2);
    drop(batch);
    assert_eq!(queue.depth().load.events, 1);
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_senders_that_were_answered_but_not_for_long() {
    let batch_takes = Duration::from_millis(10);
    let queue = queue();
    queue.lock().grouping = Grouping::always(Groups::One);
    let _answers = ["a", "b"].map(|id| push(&queue, id));
    let batch = take(&queue, 0).unwrap();
    tokio::time::advance(batch_takes).await;
    drop(batch);
    assert!(take(&queue, 0).is_none());
    let _third = push(&queue, "c");
    assert!(is_idle(&queue, 0) && take(&queue, 0).is_none(), "two were answered");
    let _fourth = push(&queue, "d");
    assert!(!is_idle(&queue, 0), "woken");
    let batch = take(&queue, 0).unwrap();
    assert_eq!(batch.jobs.len(), 2);
    tokio::time::advance(batch_takes).await;
    drop(batch);

    let _fifth = push(&queue, "e");
    let Take::Nothing { retry } = queue.take(0, &queue.writers[0]) else { panic!("a batch") };
    assert_eq!(retry, Some(Instant::now() + batch_takes / 2));
    tokio::time::advance(batch_takes / 2).await;
    assert_eq!(take(&queue, 0).unwrap().jobs.len(), 1);
}

#[tokio::test]
async fn a_batch_leaves_half_of_the_senders_for_the_next() {
    let queue = queue();
    let _answers: Vec<_> = (0..100).map(|i| push(&queue, &i.to_string())).collect();
    let first = take(&queue, 0).unwrap();
    assert_eq!(first.jobs.len(), 50);
    drop(first);
    assert_eq!(take(&queue, 0).unwrap().jobs.len(), 50);
}
