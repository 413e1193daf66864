//! Connectors and their leases, on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::time::Duration;

use producer_core::Timestamp;
use producer_core::worker::{
    Breaker, Control, Current, DeadLetterState, Deleted, LastError, Lease, Registered, Report,
    Role, SinkLag, WorkerStore,
};
use support::worker::{
    LEASE, add, add_messages, dead, id_of, listed, one, place, position, positions, release, renew,
    sink, source, store, take, taken, until, waiting,
};
use support::{Db, START, car, event};
use tokio::sync::Barrier;

on_all!(
    a_connector_is_registered_once,
    a_connector_has_one_worker,
    a_lease_ends_by_itself,
    a_worker_that_lost_its_lease_changes_nothing,
    a_lease_of_a_deleted_connector_is_never_valid_again,
    a_released_lease_is_over,
    of_many_workers_at_once_one_wins,
    a_reset_wins_over_a_late_advance,
    a_worker_is_told_what_is_asked,
    a_report_is_kept_as_it_was_sent,
    several_workers_report_on_a_shared_source,
    a_sink_is_behind_the_log,
    connectors_are_listed_by_role_and_name,
    a_connector_in_use_is_not_deleted,
    deleting_a_connector_deletes_its_dead_letters,
    many_sinks_at_once_are_served,
);

async fn a_connector_is_registered_once(db: Db) {
    sink(&db, "s").await;
    let again = store(&db).register(Role::Sink, "s", "stdout", Some(("later", 9))).await.unwrap();
    assert_eq!(again, Registered::Known);
    assert_eq!(one(&db, Role::Sink, "s").await.token.as_deref(), Some("t0"));
    let other = store(&db).register(Role::Sink, "s", "kafka", Some(("later", 9))).await.unwrap();
    assert_eq!(other, Registered::OtherKind("stdout".to_owned()));
    assert_eq!(one(&db, Role::Sink, "s").await.kind, "stdout");
    // a source of that name is another connector
    source(&db, "s").await;
    let source = one(&db, Role::Source, "s").await;
    assert_eq!((source.kind.as_str(), source.token, source.lag), ("kafka", None, None));
}

async fn a_connector_has_one_worker(db: Db) {
    assert_eq!(take(&db, "s", "a").await, None, "it is not known");
    sink(&db, "s").await;
    assert_eq!(one(&db, Role::Sink, "s").await.worker, None);
    let lease = take(&db, "s", "a").await.unwrap();
    assert_eq!((lease.role, lease.name.as_str()), (Role::Sink, "s"));
    assert_eq!(lease.token.as_deref(), Some("t0"));
    assert_eq!((lease.generation, &lease.control), (0, &Control::default()));
    assert_eq!(take(&db, "s", "b").await, None);
    assert_eq!(take(&db, "s", "a").await, None, "not even by itself");
    assert_eq!(one(&db, Role::Sink, "s").await.worker.as_deref(), Some("a"));
    assert_eq!(renew(&db, &lease).await, Some(Control::default()));
}

async fn a_lease_ends_by_itself(db: Db) {
    sink(&db, "s").await;
    let short = Duration::from_millis(300);
    let first = store(&db).take(Role::Sink, "s", "a", short).await.unwrap().unwrap();
    let mut second = None;
    until("the lease ends", async || {
        second = take(&db, "s", "b").await;
        second.is_some()
    })
    .await;
    assert!(second.unwrap().epoch > first.epoch);
    // one that nobody took is extended though it has ended
    sink(&db, "t").await;
    let late = store(&db).take(Role::Sink, "t", "a", Duration::ZERO).await.unwrap().unwrap();
    until("the worker is gone", async || one(&db, Role::Sink, "t").await.worker.is_none()).await;
    assert!(renew(&db, &late).await.is_some());
    assert_eq!(one(&db, Role::Sink, "t").await.worker.as_deref(), Some("a"));
    assert_eq!(take(&db, "t", "b").await, None);
}

/// A sink whose lease was taken from the worker that has the first of these.
async fn zombie(db: &Db, name: &str) -> (Lease, Lease) {
    sink(db, name).await;
    let old = store(db).take(Role::Sink, name, "old", Duration::ZERO).await.unwrap().unwrap();
    let mut new = None;
    until("the lease ends", async || {
        new = take(db, name, "new").await;
        new.is_some()
    })
    .await;
    (old, new.unwrap())
}

async fn a_worker_that_lost_its_lease_changes_nothing(db: Db) {
    let (old, new) = zombie(&db, "s").await;
    assert_eq!(add(&db, &new, &[dead(1, "a"), waiting(2, "a")]).await, Some(2));
    let first = id_of(&db, "s", 1).await;
    assert_eq!(renew(&db, &old).await, None);
    assert!(!store(&db).advance(&old, "stolen", 7).await.unwrap());
    assert_eq!(add(&db, &old, &[dead(3, "b")]).await, None);
    store(&db).settle_dead_letter(Some(&old), first).await.unwrap();
    store(&db).fail_dead_letter(Some(&old), first, &dead(9, "a")).await.unwrap();
    release(&db, &old).await;
    let found = one(&db, Role::Sink, "s").await;
    assert_eq!((found.token.as_deref(), found.worker.as_deref()), (Some("t0"), Some("new")));
    let letters = listed(&db, Some((Role::Sink, "s"))).await;
    assert_eq!(letters.iter().map(position).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(letters[1].letter.error, "error 1");
    // and the new one can
    assert!(store(&db).advance(&new, "moved", 7).await.unwrap());
    assert_eq!(one(&db, Role::Sink, "s").await.token.as_deref(), Some("moved"));
    store(&db).settle_dead_letter(Some(&new), first).await.unwrap();
    assert_eq!(positions(&db, "s").await, [(2, DeadLetterState::Waiting)]);
    // a lease is no right to the dead letters of another sink
    let other = taken(&db, "t").await;
    let second = id_of(&db, "s", 2).await;
    store(&db).settle_dead_letter(Some(&other), second).await.unwrap();
    store(&db).fail_dead_letter(Some(&other), second, &dead(2, "a")).await.unwrap();
    assert_eq!(positions(&db, "s").await, [(2, DeadLetterState::Waiting)]);
}

async fn a_lease_of_a_deleted_connector_is_never_valid_again(db: Db) {
    let old = taken(&db, "s").await;
    release(&db, &old).await;
    assert_eq!(store(&db).delete_connector(Role::Sink, "s").await.unwrap(), Deleted::Deleted);
    assert_eq!(renew(&db, &old).await, None);
    let new = taken(&db, "s").await;
    assert_ne!(old.epoch, new.epoch);
    assert!(!store(&db).advance(&old, "stolen", 7).await.unwrap());
    assert_eq!(add(&db, &old, &[dead(3, "b")]).await, None);
    assert!(renew(&db, &new).await.is_some());
}

async fn a_released_lease_is_over(db: Db) {
    let first = taken(&db, "s").await;
    release(&db, &first).await;
    assert_eq!(one(&db, Role::Sink, "s").await.worker, None);
    assert_eq!(renew(&db, &first).await, None);
    assert!(!store(&db).advance(&first, "stolen", 7).await.unwrap());
    let second = take(&db, "s", "b").await.unwrap();
    assert!(second.epoch > first.epoch);
    // given back twice, it takes nothing away from the next one
    release(&db, &first).await;
    assert!(renew(&db, &second).await.is_some());
}

async fn of_many_workers_at_once_one_wins(db: Db) {
    sink(&db, "s").await;
    let start = Arc::new(Barrier::new(8));
    let workers = (0..8).map(|number| {
        let (store, start) = (Arc::clone(&db.store), Arc::clone(&start));
        tokio::spawn(async move {
            start.wait().await;
            store.take(Role::Sink, "s", &format!("w{number}"), LEASE).await.unwrap()
        })
    });
    let mut leases = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        leases.extend(worker.await.unwrap());
    }
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert!(renew(&db, &leases[0]).await.is_some());
}

async fn a_reset_wins_over_a_late_advance(db: Db) {
    let lease = taken(&db, "s").await;
    assert!(store(&db).advance(&lease, "t5", 5).await.unwrap());
    assert!(store(&db).skip("s", "t6").await.unwrap());
    assert!(store(&db).reset("s", "snapshot", 2).await.unwrap());
    assert!(!store(&db).advance(&lease, "t6", 6).await.unwrap());
    let found = one(&db, Role::Sink, "s").await;
    assert_eq!(found.token.as_deref(), Some("snapshot"));
    // the worker keeps its lease, and learns of it
    let control = renew(&db, &lease).await.unwrap();
    assert_eq!((control.generation, control.skip), (lease.generation + 1, None));
    let known = Lease { generation: control.generation, ..lease };
    assert!(store(&db).advance(&known, "t3", 3).await.unwrap());
    assert_eq!(one(&db, Role::Sink, "s").await.token.as_deref(), Some("t3"));
    assert!(!store(&db).reset("unknown", "t", 0).await.unwrap());
}

async fn a_worker_is_told_what_is_asked(db: Db) {
    let lease = taken(&db, "s").await;
    assert!(store(&db).set_paused(Role::Sink, "s", true).await.unwrap());
    assert!(store(&db).skip("s", "t1").await.unwrap());
    let expected = Control { paused: true, skip: Some("t1".to_owned()), ..Control::default() };
    assert_eq!(renew(&db, &lease).await, Some(expected.clone()));
    assert!(one(&db, Role::Sink, "s").await.paused);
    // a paused one is taken too
    release(&db, &lease).await;
    let next = take(&db, "s", "b").await.unwrap();
    assert_eq!(next.control, expected);
    assert!(store(&db).set_paused(Role::Sink, "s", false).await.unwrap());
    assert!(!renew(&db, &next).await.unwrap().paused);
    assert!(!store(&db).set_paused(Role::Sink, "unknown", true).await.unwrap());
    assert!(!store(&db).set_paused(Role::Source, "s", true).await.unwrap());
    assert!(!store(&db).skip("unknown", "t").await.unwrap());
}

/// All that a report may say.
fn full_report() -> Report {
    Report {
        settings: Some("0123456789abcdef".into()),
        retrying: true,
        caught_up: true,
        current: Some(Current {
            token: "t".to_owned(),
            entity_type: "Car".to_owned(),
            entity_id: "a\"\u{1F697}".to_owned(),
            tries: 7,
        }),
        last_error: Some(LastError::new(Timestamp::from_micros(START), "refused: \0 \u{FFFF}")),
        breaker: Breaker::HalfOpen,
        waiting: Some(12),
        waiting_seconds: Some(0.25),
    }
}

async fn a_report_is_kept_as_it_was_sent(db: Db) {
    let lease = taken(&db, "s").await;
    assert_eq!(one(&db, Role::Sink, "s").await.report, Report::default());
    let control = WorkerStore::renew(store(&db), &lease, LEASE, &full_report()).await.unwrap();
    assert!(control.is_some());
    assert_eq!(one(&db, Role::Sink, "s").await.report, full_report());
}

async fn several_workers_report_on_a_shared_source(db: Db) {
    let report = async |worker: &'static str, duration| {
        let report = Report { waiting: Some(3), ..Report::default() };
        store(&db).report_shared(Role::Source, "k", worker, duration, &report).await.unwrap()
    };
    assert_eq!(report("a", LEASE).await, None, "it is not known");
    source(&db, "k").await;
    assert_eq!(report("a", LEASE).await, Some(Control::default()));
    assert_eq!(one(&db, Role::Source, "k").await.worker.as_deref(), Some("a"));
    store(&db).set_paused(Role::Source, "k", true).await.unwrap();
    let control = report("b", Duration::from_millis(50)).await;
    assert_eq!(control, Some(Control { paused: true, ..Control::default() }));
    let found = one(&db, Role::Source, "k").await;
    assert_eq!(found.report.waiting, Some(3));
    until("nobody runs it", async || one(&db, Role::Source, "k").await.worker.is_none()).await;
}

/// The highest position of the log.
async fn head(db: &Db) -> u64 {
    store(db).bounds(u64::MAX >> 1).await.unwrap().last
}

async fn a_sink_is_behind_the_log(db: Db) {
    let lease = taken(&db, "s").await;
    assert_eq!(one(&db, Role::Sink, "s").await.lag, Some(SinkLag::default()));
    for n in 0..3 {
        db.apply(&[car(n, "a", r#"{"x":1}"#)]).await;
    }
    let last = head(&db).await;
    let lag = one(&db, Role::Sink, "s").await.lag.unwrap();
    assert_eq!(lag.changes, last);
    // the rows are of the time that the test's clock has
    let since_start = |age: Duration| age > Duration::from_secs(3600);
    assert!(since_start(lag.age), "{lag:?}");
    assert!(store(&db).advance(&lease, "t", last - 1).await.unwrap());
    let lag = one(&db, Role::Sink, "s").await.lag.unwrap();
    assert!(lag.changes == 1 && since_start(lag.age), "{lag:?}");
    assert!(store(&db).advance(&lease, "t", last).await.unwrap());
    assert_eq!(one(&db, Role::Sink, "s").await.lag, Some(SinkLag::default()));
    // a position ahead of the log, such as one of another epoch
    assert!(store(&db).advance(&lease, "t", last + 9).await.unwrap());
    assert_eq!(one(&db, Role::Sink, "s").await.lag, Some(SinkLag::default()));
}

async fn connectors_are_listed_by_role_and_name(db: Db) {
    for name in ["b", "a-2", "a", "10"] {
        sink(&db, name).await;
    }
    source(&db, "z").await;
    let lease = take(&db, "b", "w").await.unwrap();
    assert_eq!(add(&db, &lease, &[dead(1, "a"), waiting(2, "a")]).await, Some(2));
    let sinks = store(&db).connectors(Role::Sink, None).await.unwrap();
    let names: Vec<_> = sinks.iter().map(|sink| (sink.name.as_str(), sink.dead_letters)).collect();
    assert_eq!(names, [("10", 0), ("a", 0), ("a-2", 0), ("b", 2)]);
    assert!(sinks.iter().all(|sink| sink.role == Role::Sink));
    let sources = store(&db).connectors(Role::Source, None).await.unwrap();
    assert_eq!(sources.iter().map(|source| &*source.name).collect::<Vec<_>>(), ["z"]);
    assert!(store(&db).connectors(Role::Source, Some("a")).await.unwrap().is_empty());
}

async fn a_connector_in_use_is_not_deleted(db: Db) {
    let delete =
        async |role, name: &'static str| store(&db).delete_connector(role, name).await.unwrap();
    assert_eq!(delete(Role::Sink, "s").await, Deleted::NotFound);
    let lease = taken(&db, "s").await;
    assert_eq!(add(&db, &lease, &[dead(1, "a")]).await, Some(1));
    assert_eq!(delete(Role::Sink, "s").await, Deleted::InUse("w".to_owned()));
    assert_eq!(positions(&db, "s").await, [(1, DeadLetterState::Dead)]);
    release(&db, &lease).await;
    assert_eq!(delete(Role::Sink, "s").await, Deleted::Deleted);
    assert!(listed(&db, None).await.is_empty());
    assert_eq!(delete(Role::Sink, "s").await, Deleted::NotFound);
}

async fn deleting_a_connector_deletes_its_dead_letters(db: Db) {
    // more than one statement deletes, and just as many
    for count in [499, 500, 1203] {
        let lease = taken(&db, "s").await;
        let letters: Vec<_> = (1..=count).map(|n| dead(n, "a")).collect();
        assert_eq!(add(&db, &lease, &letters).await, Some(count));
        release(&db, &lease).await;
        source(&db, "s").await;
        add_messages(&db, "s", &["kept"]).await;
        let deleted = store(&db).delete_connector(Role::Sink, "s").await.unwrap();
        assert_eq!(deleted, Deleted::Deleted);
        let left = listed(&db, None).await;
        assert_eq!(left.iter().map(place).collect::<Vec<_>>(), ["kept"]);
    }
}

async fn many_sinks_at_once_are_served(db: Db) {
    db.apply(&[event(1, &[("Car", "a", r#"{"x":1}"#)])]).await;
    let start = Arc::new(Barrier::new(12));
    let sinks = (0..12).map(|number| {
        let (store, start) = (Arc::clone(&db.store), Arc::clone(&start));
        tokio::spawn(async move {
            let name = format!("s{number}");
            store.register(Role::Sink, &name, "stdout", Some(("t0", 0))).await.unwrap();
            let lease = store.take(Role::Sink, &name, "w", LEASE).await.unwrap().unwrap();
            start.wait().await;
            for n in 1..=20 {
                let connector = (Role::Sink, name.as_str());
                let letters = [dead(n, "a")];
                let added = store.add_dead_letters(connector, Some(&lease), &letters);
                assert_eq!(added.await.unwrap(), Some(n));
                assert!(store.advance(&lease, "t", n).await.unwrap());
                let report = Report::default();
                let renewed = WorkerStore::renew(&*store, &lease, LEASE, &report);
                assert!(renewed.await.unwrap().is_some());
                store.replay_dead_letters(connector, 1).await.unwrap();
            }
        })
    });
    for sink in sinks.collect::<Vec<_>>() {
        sink.await.unwrap();
    }
    let sinks = store(&db).connectors(Role::Sink, None).await.unwrap();
    assert!(sinks.iter().all(|sink| sink.dead_letters == 20), "{sinks:?}");
}
