//! The state as it is when it is sent.

use producer_worker::config::Mode;

use crate::support::{Db, Target, config, failed, on_both};

on_both!(
    a_snapshot_then_what_changes,
    a_backlog_of_one_entity_is_sent_once,
    a_target_that_lost_everything_gets_a_snapshot,
    a_filter_keeps_the_matching_set,
);

async fn a_snapshot_then_what_changes(db: Db) {
    for id in ["a", "b", "c"] {
        db.merge(id, 1).await;
    }
    db.delete("c").await;
    let (config, target) = (config("cache", Mode::Latest), Target::new());
    target.put_stray("stray");
    let running = db.run(&config, &target);
    target.becomes(|target| target.kept().len() == 2 && target.sweeps() == 1).await;
    assert!(
        target.kept().contains_key("a") && target.kept().contains_key("b"),
        "the stray is swept"
    );
    db.merge("a", 2).await;
    db.delete("b").await;
    target.becomes(|target| target.kept().len() == 1 && target.kept()["a"].contains('2')).await;
    running.stop().await;
    let running = db.run(&config, &target);
    db.merge("d", 1).await;
    target.becomes(|target| target.kept().len() == 2).await;
    assert_eq!(target.sweeps(), 1, "no second snapshot");
    running.stop().await;
}

async fn a_backlog_of_one_entity_is_sent_once(db: Db) {
    let (config, target) = (config("cache", Mode::Latest), Target::new());
    let running = db.run(&config, &target);
    target.becomes(|target| target.sweeps() == 1).await;
    target.behave(|_| Err(failed("away")));
    for n in 0..200 {
        db.merge("a", n).await;
    }
    db.sink_becomes("cache", |sink| sink.report.retrying).await;
    target.behave(|_| Ok(()));
    target.becomes(|target| target.kept().get("a").is_some_and(|data| data.contains("199"))).await;
    assert!(target.versions("a").len() < 20, "{:?}", target.versions("a"));
    db.sink_becomes("cache", |sink| sink.lag.is_some_and(|lag| lag.changes == 0)).await;
    running.stop().await;
}

async fn a_target_that_lost_everything_gets_a_snapshot(db: Db) {
    for id in ["a", "b"] {
        db.merge(id, 1).await;
    }
    let (config, target) = (config("cache", Mode::Latest), Target::new());
    let running = db.run(&config, &target);
    target.becomes(|target| target.sweeps() == 1).await;
    db.sink_becomes("cache", |sink| sink.token.as_deref().is_some_and(|token| token != "snapshot"))
        .await;
    target.flush();
    target.becomes(|target| target.kept().len() == 2 && target.sweeps() == 2).await;
    running.stop().await;
}

async fn a_filter_keeps_the_matching_set(db: Db) {
    use producer_core::filter::{Filter, Scope};
    let mut config = config("cache", Mode::Latest);
    config.filter = Some(Filter::parse("data.n > 1", Scope::Change).expect("a filter"));
    db.merge("a", 2).await;
    db.merge("b", 1).await;
    let target = Target::new();
    let running = db.run(&config, &target);
    target.becomes(|target| target.sweeps() == 1 && target.kept().len() == 1).await;
    db.merge("b", 2).await;
    target.becomes(|target| target.kept().len() == 2).await;
    db.merge("a", 1).await;
    target.becomes(|target| target.kept().len() == 1 && target.kept().contains_key("b")).await;
    running.stop().await;
}
