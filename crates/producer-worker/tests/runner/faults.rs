//! Targets that hang, refuse everything or want nothing any more; leases that are lost.

use std::time::Duration;

use producer_core::worker::{Breaker, Role};
use producer_worker::config::Mode;
use producer_worker::sink::{Failure, NotDelivered};
use tokio::time::Instant;

use crate::support::{Db, Target, config, failed, on_both, refused};

on_both!(
    bad_targets_delay_no_other,
    the_breaker_opens_and_closes,
    a_target_that_wants_nothing_pauses_its_sink,
    a_worker_whose_lease_moved_stops,
);

async fn bad_targets_delay_no_other(db: Db) {
    let (hangs, refuses, fails, good) =
        (Target::new(), Target::new(), Target::new(), Target::new());
    hangs.hang(true);
    refuses.behave(|_| Err(refused("no")));
    fails.behave(|_| Err(failed("away")));
    let running = [
        db.run(&config("hangs", Mode::Log), &hangs),
        db.run(&config("refuses", Mode::Log), &refuses),
        db.run(&config("fails", Mode::Log), &fails),
        db.run(&config("good", Mode::Log), &good),
    ];
    db.merge("a", 0).await;
    good.becomes(|good| good.seen().len() == 1).await;
    for n in 1..50 {
        let began = Instant::now();
        db.merge(&format!("{}", n % 7), n).await;
        good.becomes(|good| good.seen().len() == n + 1).await;
        assert!(began.elapsed() < Duration::from_secs(4), "within 2 s, and slack");
    }
    for running in running {
        running.stop().await;
    }
}

async fn the_breaker_opens_and_closes(db: Db) {
    let (mut config, target) = (config("all", Mode::Log), Target::new());
    config.retry.breaker_failures = 3;
    config.retry.breaker_pause = Duration::from_secs(1);
    target.behave(|_| Err(failed("away")));
    let running = db.run(&config, &target);
    db.merge("a", 0).await;
    db.sink_becomes("all", |sink| sink.report.breaker == Breaker::Open && sink.report.retrying)
        .await;
    target.behave(|_| Ok(()));
    target.becomes(|target| target.seen().len() == 1).await;
    db.sink_becomes("all", |sink| sink.report.breaker == Breaker::Closed && !sink.report.retrying)
        .await;
    running.stop().await;
}

async fn a_target_that_wants_nothing_pauses_its_sink(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    target.behave(|_| {
        let failure = Failure { pauses: true, ..Failure::new("410") };
        Err(NotDelivered::Failed(failure))
    });
    let running = db.run(&config, &target);
    db.merge("a", 0).await;
    let sink = db.sink_becomes("all", |sink| sink.paused).await;
    assert_eq!(sink.dead_letters, 0);
    db.sink_becomes("all", |sink| {
        sink.report.last_error.as_ref().is_some_and(|error| error.detail == "410")
    })
    .await;
    target.behave(|_| Ok(()));
    db.store.set_paused(Role::Sink, "all", false).await.expect("resumed");
    target.becomes(|target| target.seen().len() == 1).await;
    running.stop().await;
}

async fn a_worker_whose_lease_moved_stops(db: Db) {
    let (config, first, second) = (config("all", Mode::Log), Target::new(), Target::new());
    // as one that is frozen: it does not renew
    let mut parts = db.parts("first");
    parts.lease_times.renew_every = Duration::from_secs(60);
    // where it notices the end itself, it would be the first to take the lease again
    parts.lease_times.take_every = Duration::from_secs(60);
    let running = db.run_with(parts, &config, &first);
    db.merge("a", 0).await;
    first.becomes(|first| first.seen().len() == 1).await;
    let sink = db.sink_becomes("all", |sink| sink.lag.is_some_and(|lag| lag.changes == 0)).await;
    let mut parts = db.parts("second");
    parts.lease_times.take_every = Duration::from_millis(1);
    let other = db.run_with(parts, &config, &second);
    db.sink_becomes("all", |sink| sink.worker.as_deref() == Some("second")).await;
    db.merge("a", 1).await;
    second.becomes(|second| second.versions("a").last() == Some(&2)).await;
    assert_eq!(first.seen().len(), 1, "its lease is over");
    let after = db.sink_becomes("all", |sink| sink.lag.is_some_and(|lag| lag.changes == 0)).await;
    assert_ne!(sink.token, after.token);
    other.stop().await;
    running.stop().await;
}
