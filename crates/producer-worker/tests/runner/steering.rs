//! Paused, resumed, reset.

use std::time::Duration;

use producer_core::worker::Role;
use producer_worker::config::{Mode, Rate};
use tokio::time::Instant;

use crate::support::{Db, Target, config, on_both};

on_both!(
    a_paused_sink_delivers_nothing_until_it_is_resumed,
    a_reset_begins_elsewhere,
    a_sink_of_another_kind_is_not_run,
    a_rate_is_kept,
);

async fn a_paused_sink_delivers_nothing_until_it_is_resumed(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    let running = db.run(&config, &target);
    db.merge("a", 0).await;
    target.becomes(|target| target.seen().len() == 1).await;
    db.sink_becomes("all", |sink| sink.report.caught_up).await;
    assert!(db.store.set_paused(Role::Sink, "all", true).await.expect("paused"));
    // the report of a paused sink has not caught up
    db.sink_becomes("all", |sink| sink.paused && !sink.report.caught_up).await;
    db.merge("a", 1).await;
    db.sink_becomes("all", |sink| sink.lag.is_some_and(|lag| lag.changes == 1)).await;
    assert_eq!(target.seen().len(), 1);
    let began = Instant::now();
    assert!(db.store.set_paused(Role::Sink, "all", false).await.expect("resumed"));
    target.becomes(|target| target.seen().len() == 2).await;
    assert!(began.elapsed() < Duration::from_secs(4), "within 2 s, and slack");
    running.stop().await;
}

async fn a_reset_begins_elsewhere(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    for n in 0..3 {
        db.merge("a", n).await;
    }
    let start = db.sink("all").await;
    assert!(start.is_none());
    let running = db.run(&config, &target);
    target.becomes(|target| target.seen().len() == 3).await;
    db.sink_becomes("all", |sink| sink.lag.is_some_and(|lag| lag.changes == 0)).await;
    assert!(db.store.reset("all", "snapshot", 0).await.expect("reset"));
    target.becomes(|target| target.seen().len() == 4).await;
    assert_eq!(target.seen()[3].kind, "snapshot");
    db.merge("a", 3).await;
    target.becomes(|target| target.versions("a").last() == Some(&4)).await;
    running.stop().await;
}

async fn a_sink_of_another_kind_is_not_run(db: Db) {
    db.store.register(Role::Sink, "all", "kafka", Some(("snapshot", 0))).await.expect("known");
    let (config, target) = (config("all", Mode::Log), Target::new());
    let running = db.run(&config, &target);
    let other = db.run(&crate::support::config("other", Mode::Log), &target);
    db.merge("a", 0).await;
    target.becomes(|target| target.seen().len() == 1).await;
    assert_eq!(db.sink("all").await.expect("known").worker, None);
    running.stop().await;
    other.stop().await;
    assert_eq!(target.seen().len(), 1);
}

async fn a_rate_is_kept(db: Db) {
    let (mut config, target) = (config("all", Mode::Log), Target::new());
    config.rate = Some(Rate { changes: 10, per: Duration::from_secs(1) });
    for n in 0..25 {
        db.merge(&n.to_string(), n).await;
    }
    let began = Instant::now();
    let running = db.run(&config, &target);
    target.becomes(|target| target.seen().len() == 25).await;
    assert!(began.elapsed() > Duration::from_millis(1300), "ten at once, then ten in a second");
    running.stop().await;
}
