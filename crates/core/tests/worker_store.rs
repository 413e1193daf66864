//! Connectors, their leases and dead letters, on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use producer_core::store::Store;
use producer_core::worker::{
    Breaker, Connector, Control, Current, DeadLetter, DeadLetterPlace, DeadLetterQuery,
    DeadLetterState, Deleted, LastError, Lease, MAX_DEAD_LETTERS, NewDeadLetter, Registered,
    Report, Role, SinkLag, WorkerStore,
};
use producer_core::{EntityKey, Timestamp};
use support::{Db, START, car, event, key};
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
    dead_letters_are_stored_once,
    a_source_without_a_lease_stores_dead_letters,
    what_a_dead_letter_holds_is_kept,
    what_waits_is_due_when_nothing_is_before_it,
    what_is_due_comes_in_order_and_is_bounded,
    a_dead_letter_that_is_refused_again_is_dead,
    only_what_is_dead_is_replayed,
    many_are_replayed_and_deleted_the_oldest_first,
    dead_letters_are_listed_newest_first,
    held_entities_come_once,
    counts_are_bounded,
    many_sinks_at_once_are_served,
);

const LEASE: Duration = Duration::from_secs(30);

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn store(db: &Db) -> &dyn Store {
    &*db.store
}

async fn sink(db: &Db, name: &str) {
    let registered = store(db).register(Role::Sink, name, "stdout", Some(("t0", 0))).await;
    assert_eq!(registered.unwrap(), Registered::Known);
}

async fn source(db: &Db, name: &str) {
    let registered = store(db).register(Role::Source, name, "kafka", None).await;
    assert_eq!(registered.unwrap(), Registered::Known);
}

async fn take(db: &Db, name: &str, worker: &str) -> Option<Lease> {
    store(db).take(Role::Sink, name, worker, LEASE).await.unwrap()
}

async fn taken(db: &Db, name: &str) -> Lease {
    sink(db, name).await;
    take(db, name, "w").await.unwrap()
}

async fn renew(db: &Db, lease: &Lease) -> Option<Control> {
    WorkerStore::renew(store(db), lease, LEASE, &Report::default()).await.unwrap()
}

async fn release(db: &Db, lease: &Lease) {
    WorkerStore::release(store(db), lease).await.unwrap();
}

/// One connector.
async fn one(db: &Db, role: Role, name: &str) -> Connector {
    let mut found = store(db).connectors(role, Some(name)).await.unwrap();
    assert_eq!(found.len(), 1, "{name}");
    found.pop().unwrap()
}

/// A change that was refused.
fn dead(position: u64, id: &str) -> NewDeadLetter {
    NewDeadLetter {
        place: DeadLetterPlace::Change { position, key: key("Car", id), version: position },
        state: DeadLetterState::Dead,
        message: format!("message {position}").into_bytes(),
        error: format!("error {position}"),
        tries: 3,
        first_at: Timestamp::from_micros(START + 1),
        last_at: Timestamp::from_micros(START + 2),
    }
}

fn waiting(position: u64, id: &str) -> NewDeadLetter {
    NewDeadLetter {
        state: DeadLetterState::Waiting,
        message: Vec::new(),
        error: String::new(),
        tries: 0,
        ..dead(position, id)
    }
}

/// A message of a source.
fn message(place: &str) -> NewDeadLetter {
    NewDeadLetter { place: DeadLetterPlace::Message(place.to_owned()), ..dead(0, "x") }
}

async fn add(db: &Db, lease: &Lease, letters: &[NewDeadLetter]) -> Option<u64> {
    let connector = (lease.role, lease.name.as_str());
    store(db).add_dead_letters(connector, Some(lease), letters).await.unwrap()
}

async fn add_messages(db: &Db, name: &str, places: &[&str]) {
    let letters: Vec<_> = places.iter().map(|place| message(place)).collect();
    let added = store(db).add_dead_letters((Role::Source, name), None, &letters).await.unwrap();
    assert!(added.is_some());
}

/// All that are listed, of one connector or of all.
async fn listed(db: &Db, connector: Option<(Role, &str)>) -> Vec<DeadLetter> {
    let query = DeadLetterQuery { connector, before: None, rows: 100_000 };
    store(db).dead_letters(query).await.unwrap()
}

fn position(letter: &DeadLetter) -> u64 {
    match &letter.letter.place {
        DeadLetterPlace::Change { position, .. } => *position,
        DeadLetterPlace::Message(place) => panic!("{place}"),
    }
}

fn place(letter: &DeadLetter) -> &str {
    match &letter.letter.place {
        DeadLetterPlace::Change { position, .. } => panic!("{position}"),
        DeadLetterPlace::Message(place) => place,
    }
}

async fn positions(db: &Db, name: &str) -> Vec<(u64, DeadLetterState)> {
    let letters = listed(db, Some((Role::Sink, name))).await;
    let mut found: Vec<_> =
        letters.iter().map(|letter| (position(letter), letter.letter.state)).collect();
    found.sort_by_key(|(position, _)| *position);
    found
}

async fn due(db: &Db, name: &str, most: u32) -> Vec<u64> {
    let due = store(db).due_dead_letters((Role::Sink, name), most).await.unwrap();
    due.iter().map(position).collect()
}

/// The id of the dead letter of a change.
async fn id_of(db: &Db, name: &str, at: u64) -> u64 {
    let letters = listed(db, Some((Role::Sink, name))).await;
    letters.iter().find(|letter| position(letter) == at).unwrap().id
}

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
    let told = report("b", Duration::from_millis(50)).await;
    assert_eq!(told, Some(Control { paused: true, ..Control::default() }));
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

async fn dead_letters_are_stored_once(db: Db) {
    let lease = taken(&db, "s").await;
    let other = taken(&db, "t").await;
    assert_eq!(add(&db, &lease, &[]).await, Some(0));
    assert_eq!(add(&db, &lease, &[dead(1, "a"), dead(2, "b")]).await, Some(2));
    let again = NewDeadLetter { error: "another".to_owned(), ..dead(1, "a") };
    assert_eq!(add(&db, &lease, &[again, dead(3, "c")]).await, Some(3));
    let letters = listed(&db, Some((Role::Sink, "s"))).await;
    assert_eq!(letters.len(), 3);
    assert!(letters.iter().all(|letter| letter.letter.error != "another"));
    // the same change of another sink is another dead letter
    assert_eq!(add(&db, &other, &[dead(1, "a")]).await, Some(1));
    assert_eq!(listed(&db, None).await.len(), 4);
}

async fn a_source_without_a_lease_stores_dead_letters(db: Db) {
    let letters = [message("orders 3 1207"), message("orders 3 1208")];
    let connector = (Role::Source, "k");
    let added = store(&db).add_dead_letters(connector, None, &letters).await.unwrap();
    assert_eq!(added, None, "it is not known");
    source(&db, "k").await;
    let added = store(&db).add_dead_letters(connector, None, &letters).await.unwrap();
    assert_eq!(added, Some(2));
    let found = listed(&db, Some(connector)).await;
    assert_eq!(found.iter().map(place).collect::<Vec<_>>(), ["orders 3 1208", "orders 3 1207"]);
    // replayed and refused, then replayed and taken, without a lease
    store(&db).replay_dead_letter(found[1].id).await.unwrap();
    let due = store(&db).due_dead_letters(connector, 10).await.unwrap();
    assert_eq!(due.iter().map(place).collect::<Vec<_>>(), ["orders 3 1207"]);
    store(&db).fail_dead_letter(None, due[0].id, &message("orders 3 1207")).await.unwrap();
    assert!(store(&db).due_dead_letters(connector, 10).await.unwrap().is_empty());
    store(&db).settle_dead_letter(None, due[0].id).await.unwrap();
    assert_eq!(one(&db, Role::Source, "k").await.dead_letters, 1);
}

async fn what_a_dead_letter_holds_is_kept(db: Db) {
    let lease = taken(&db, "s").await;
    // 1,020 bytes each
    let long = "\u{1F697}".repeat(255);
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let letter = NewDeadLetter {
        place: DeadLetterPlace::Change {
            position: u64::from(u32::MAX) + 7,
            key: key(&long, &long),
            version: 12,
        },
        message: bytes,
        error: "a\0b".to_owned(),
        tries: u32::MAX,
        ..dead(1, "a")
    };
    assert_eq!(add(&db, &lease, std::slice::from_ref(&letter)).await, Some(1));
    let listed = listed(&db, None).await;
    let expected = NewDeadLetter { error: "a\u{FFFD}b".to_owned(), ..letter.clone() };
    assert_eq!(listed[0].letter, NewDeadLetter { message: Vec::new(), ..expected.clone() });
    let found = store(&db).dead_letter(listed[0].id).await.unwrap().unwrap();
    assert_eq!((found.role, found.connector.as_str()), (Role::Sink, "s"));
    assert_eq!(found.letter, expected);
    assert_eq!(store(&db).dead_letter(found.id + 1).await.unwrap(), None);
    assert_eq!(store(&db).dead_letter(u64::MAX).await.unwrap(), None);
    // its entity is found too
    assert_eq!(store(&db).held_entities("s").await.unwrap(), [key(&long, &long)]);
    store(&db).replay_dead_letter(found.id).await.unwrap();
    let due = store(&db).due_dead_letters((Role::Sink, "s"), 1).await.unwrap();
    assert_eq!(due[0].letter.message, letter.message);
}

async fn what_waits_is_due_when_nothing_is_before_it(db: Db) {
    let lease = taken(&db, "s").await;
    let letters = [dead(1, "a"), waiting(2, "a"), waiting(3, "a"), dead(4, "b"), waiting(5, "b")];
    add(&db, &lease, &letters).await;
    // of another sink, with the same entities
    let other = taken(&db, "t").await;
    add(&db, &other, &[dead(1, "b"), waiting(2, "a")]).await;
    assert!(due(&db, "s", 10).await.is_empty());
    assert_eq!(due(&db, "t", 10).await, [2]);
    let first = id_of(&db, "s", 1).await;
    store(&db).replay_dead_letter(first).await.unwrap();
    // what waits does so until the first is delivered
    assert_eq!(due(&db, "s", 10).await, [1]);
    store(&db).settle_dead_letter(Some(&lease), first).await.unwrap();
    assert_eq!(due(&db, "s", 10).await, [2], "one at a time");
    store(&db).settle_dead_letter(Some(&lease), id_of(&db, "s", 2).await).await.unwrap();
    assert_eq!(due(&db, "s", 10).await, [3]);
    assert!(store(&db).delete_dead_letter(id_of(&db, "s", 4).await).await.unwrap());
    assert_eq!(due(&db, "s", 10).await, [3, 5]);
    // the id of one entity begins with that of the other, and both have another type's neighbours
    let key = |entity_type: &str, id: &str| EntityKey::new(entity_type, id).unwrap();
    let wait = |position, key: EntityKey| NewDeadLetter {
        place: DeadLetterPlace::Change { position, key, version: 1 },
        ..waiting(position, "x")
    };
    let lease = taken(&db, "u").await;
    let letters = [
        wait(9, key("Car", "a")),
        wait(8, key("Car", "aa")),
        wait(7, key("Ca", "ra")),
        wait(6, key("Ca", "z")),
        wait(10, key("Ca", "z")),
    ];
    add(&db, &lease, &letters).await;
    assert_eq!(due(&db, "u", 10).await, [6, 7, 8, 9]);
}

async fn what_is_due_comes_in_order_and_is_bounded(db: Db) {
    let lease = taken(&db, "s").await;
    // added in another order than that of their positions
    let letters = [dead(40, "d"), dead(10, "a"), waiting(30, "c"), dead(20, "b"), waiting(50, "e")];
    add(&db, &lease, &letters).await;
    assert_eq!(store(&db).replay_dead_letters((Role::Sink, "s"), 2).await.unwrap(), 2);
    assert_eq!(due(&db, "s", 10).await, [10, 30, 40, 50]);
    assert_eq!(due(&db, "s", 3).await, [10, 30, 40]);
    assert!(due(&db, "s", 0).await.is_empty());
    // messages in the order in which they came
    source(&db, "k").await;
    add_messages(&db, "k", &["b", "c", "a"]).await;
    store(&db).replay_dead_letters((Role::Source, "k"), 10).await.unwrap();
    let due = store(&db).due_dead_letters((Role::Source, "k"), 2).await.unwrap();
    assert_eq!(due.iter().map(place).collect::<Vec<_>>(), ["b", "c"]);
}

async fn a_dead_letter_that_is_refused_again_is_dead(db: Db) {
    let lease = taken(&db, "s").await;
    add(&db, &lease, &[waiting(1, "a"), waiting(2, "a")]).await;
    let id = id_of(&db, "s", 1).await;
    let refused = NewDeadLetter {
        error: "again".to_owned(),
        tries: 9,
        last_at: Timestamp::from_micros(START + 77),
        ..dead(1, "a")
    };
    store(&db).fail_dead_letter(Some(&lease), id, &refused).await.unwrap();
    assert_eq!(store(&db).dead_letter(id).await.unwrap().unwrap().letter, refused);
    assert!(due(&db, "s", 10).await.is_empty(), "the next one waits again");
    // one that a user has deleted meanwhile stays deleted
    assert!(store(&db).delete_dead_letter(id).await.unwrap());
    store(&db).fail_dead_letter(Some(&lease), id, &refused).await.unwrap();
    assert_eq!(store(&db).dead_letter(id).await.unwrap(), None);
}

async fn letters_generation(db: &Db, lease: &Lease) -> u64 {
    renew(db, lease).await.unwrap().letters_generation
}

async fn only_what_is_dead_is_replayed(db: Db) {
    let lease = taken(&db, "s").await;
    add(&db, &lease, &[dead(1, "a"), waiting(2, "a")]).await;
    assert_eq!(letters_generation(&db, &lease).await, 0);
    let (first, second) = (id_of(&db, "s", 1).await, id_of(&db, "s", 2).await);
    let replay = async |id| store(&db).replay_dead_letter(id).await.unwrap();
    assert_eq!(replay(second + 1).await, None);
    assert_eq!(replay(second).await, Some(DeadLetterState::Waiting));
    assert_eq!(replay(first).await, Some(DeadLetterState::Dead));
    let after = letters_generation(&db, &lease).await;
    assert!(after > 0);
    assert_eq!(replay(first).await, Some(DeadLetterState::Replaying));
    let states = [(1, DeadLetterState::Replaying), (2, DeadLetterState::Waiting)];
    assert_eq!(positions(&db, "s").await, states);
    assert!(store(&db).delete_dead_letter(first).await.unwrap());
    assert!(letters_generation(&db, &lease).await > after);
    assert!(!store(&db).delete_dead_letter(first).await.unwrap());
}

async fn many_are_replayed_and_deleted_the_oldest_first(db: Db) {
    let lease = taken(&db, "s").await;
    let mut letters = vec![waiting(1, "z")];
    letters.extend((2..=1300).map(|n| dead(n, "a")));
    assert_eq!(add(&db, &lease, &letters).await, Some(1300));
    let connector = (Role::Sink, "s");
    let replay = async |limit| store(&db).replay_dead_letters(connector, limit).await.unwrap();
    assert_eq!(replay(0).await, 0);
    assert_eq!(replay(1100).await, 1100);
    let states = positions(&db, "s").await;
    let replaying = states.iter().filter(|(_, state)| *state == DeadLetterState::Replaying);
    let replaying: Vec<u64> = replaying.map(|(position, _)| *position).collect();
    assert_eq!(replaying, (2..=1101).collect::<Vec<_>>());
    assert_eq!(replay(10_000).await, 199);
    assert_eq!(replay(10_000).await, 0);
    let before = letters_generation(&db, &lease).await;
    assert!(before >= 2);
    let delete = async |limit| store(&db).delete_dead_letters(connector, limit).await.unwrap();
    assert_eq!(delete(501).await, 501, "whatever becomes of them");
    assert_eq!(positions(&db, "s").await[0].0, 502);
    assert!(letters_generation(&db, &lease).await > before);
    assert_eq!(delete(10_000).await, 799);
    assert_eq!(delete(10_000).await, 0);
    let unknown = (Role::Source, "s");
    assert_eq!(store(&db).replay_dead_letters(unknown, 10).await.unwrap(), 0);
    assert_eq!(store(&db).delete_dead_letters(unknown, 10).await.unwrap(), 0);
}

async fn dead_letters_are_listed_newest_first(db: Db) {
    let lease = taken(&db, "s").await;
    source(&db, "s").await;
    for n in 0..7 {
        add(&db, &lease, &[dead(10 - n, "a")]).await;
        add_messages(&db, "s", &[&format!("m{n}")]).await;
    }
    let page = async |connector, before, rows| {
        let query = DeadLetterQuery { connector, before, rows };
        store(&db).dead_letters(query).await.unwrap()
    };
    let all = page(None, None, 100).await;
    assert_eq!(all.len(), 14);
    assert!(all.is_sorted_by(|newer, older| newer.id > older.id));
    assert!(all.iter().all(|letter| letter.letter.message.is_empty()));
    let second = page(None, Some(all[4].id), 5).await;
    assert_eq!(second, all[5..10]);
    let of_sink = page(Some((Role::Sink, "s")), None, 3).await;
    assert_eq!(of_sink.iter().map(position).collect::<Vec<_>>(), [4, 5, 6]);
    let next = page(Some((Role::Sink, "s")), Some(of_sink[2].id), 3).await;
    assert_eq!(next.iter().map(position).collect::<Vec<_>>(), [7, 8, 9]);
    let of_source = page(Some((Role::Source, "s")), None, 2).await;
    assert_eq!(of_source.iter().map(place).collect::<Vec<_>>(), ["m6", "m5"]);
    assert!(page(Some((Role::Source, "t")), None, 10).await.is_empty());
}

async fn held_entities_come_once(db: Db) {
    let lease = taken(&db, "s").await;
    assert!(store(&db).held_entities("s").await.unwrap().is_empty());
    add(&db, &lease, &[dead(1, "b"), waiting(2, "b"), waiting(3, "a"), dead(4, "b")]).await;
    source(&db, "s").await;
    add_messages(&db, "s", &["m"]).await;
    let mut held = store(&db).held_entities("s").await.unwrap();
    held.sort();
    assert_eq!(held, [key("Car", "a"), key("Car", "b")]);
    assert!(store(&db).held_entities("t").await.unwrap().is_empty());
}

async fn counts_are_bounded(db: Db) {
    let lease = taken(&db, "s").await;
    let most = MAX_DEAD_LETTERS;
    let letters: Vec<_> = (1..=most + 5).map(|n| waiting(n, &format!("e{}", n % 3000))).collect();
    for some in letters.chunks(2500) {
        add(&db, &lease, some).await;
    }
    assert_eq!(one(&db, Role::Sink, "s").await.dead_letters, most + 1);
    assert!(add(&db, &lease, &[dead(most + 9, "a")]).await.unwrap() > most);
    assert_eq!(due(&db, "s", 5000).await.len(), 3000);
    assert_eq!(store(&db).held_entities("s").await.unwrap().len(), 3001);
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
