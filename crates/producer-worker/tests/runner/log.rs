//! Every change, in the order of each entity, never skipped.

use std::sync::atomic::{AtomicUsize, Ordering};

use producer_worker::config::Mode;

use crate::support::{Db, Target, config, failed, on_both};

on_both!(
    every_change_comes_in_order_and_the_position_moves,
    a_restart_goes_on_where_the_last_run_ended,
    what_fails_comes_again_in_order,
    a_worker_that_is_killed_is_replaced_and_nothing_is_skipped,
);

async fn every_change_comes_in_order_and_the_position_moves(db: Db) {
    for n in 0..20 {
        db.merge("a", n).await;
        db.merge("b", n).await;
    }
    let (config, target) = (config("all", Mode::Log), Target::new());
    let running = db.run(&config, &target);
    target.becomes(|target| target.seen().len() == 40).await;
    assert_eq!(target.versions("a"), (1..=20).collect::<Vec<_>>());
    assert_eq!(target.versions("b"), (1..=20).collect::<Vec<_>>());
    let sink = db
        .sink_becomes("all", |sink| {
            sink.report.caught_up && sink.lag.is_some_and(|lag| lag.changes == 0)
        })
        .await;
    assert_eq!(sink.worker.as_deref(), Some("worker"));
    running.stop().await;
    let sink = db.sink("all").await.expect("known");
    assert_eq!((sink.worker, sink.lag.map(|lag| lag.changes)), (None, Some(0)));
}

async fn a_restart_goes_on_where_the_last_run_ended(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    db.merge("a", 0).await;
    let running = db.run(&config, &target);
    target.becomes(|target| target.seen().len() == 1).await;
    running.stop().await;
    db.merge("a", 1).await;
    let running = db.run(&config, &target);
    target.becomes(|target| target.seen().len() == 2).await;
    db.merge("a", 2).await;
    target.becomes(|target| target.seen().len() == 3).await;
    running.stop().await;
    assert_eq!(target.versions("a"), [1, 2, 3], "nothing twice after an orderly stop");
}

async fn what_fails_comes_again_in_order(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    let calls = AtomicUsize::new(0);
    target.behave(move |_| match calls.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => Err(failed("out of order")),
        _ => Ok(()),
    });
    let running = db.run(&config, &target);
    for n in 0..30 {
        db.merge("a", n).await;
        db.merge(&format!("b{}", n % 5), n).await;
    }
    target.becomes(|target| target.seen().len() == 60).await;
    assert_eq!(target.versions("a"), (1..=30).collect::<Vec<_>>());
    for b in 0..5 {
        assert_eq!(target.versions(&format!("b{b}")), (1..=6).collect::<Vec<_>>());
    }
    running.stop().await;
}

async fn a_worker_that_is_killed_is_replaced_and_nothing_is_skipped(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    let first = db.run_as("first", &config, &target);
    for n in 0..10 {
        db.merge("a", n).await;
    }
    target.becomes(|target| target.seen().len() >= 5).await;
    let second = db.run_as("second", &config, &target);
    first.kill().await;
    for n in 10..20 {
        db.merge("a", n).await;
    }
    target.becomes(|target| target.versions("a").last() == Some(&20)).await;
    let mut first_seen = Vec::new();
    for version in target.versions("a") {
        if !first_seen.contains(&version) {
            first_seen.push(version);
        }
    }
    assert_eq!(first_seen, (1..=20).collect::<Vec<_>>(), "in order, apart from what came twice");
    db.sink_becomes("all", |sink| sink.worker.as_deref() == Some("second")).await;
    second.stop().await;
}
