//! Which writer is woken by what.

use std::time::Duration;

use super::*;
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
    queue.push(Job::new(Work::One(event, reply), keys, None)).unwrap();
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
