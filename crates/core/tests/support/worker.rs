//! Connectors and dead letters in a few words.

use std::time::{Duration, Instant};

use producer_core::Timestamp;
use producer_core::store::Store;
use producer_core::worker::{
    Connector, Control, DeadLetter, DeadLetterPlace, DeadLetterQuery, DeadLetterState, Lease,
    NewDeadLetter, Registered, Report, Role, WorkerStore,
};

use super::{Db, START, key};

pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn store(db: &Db) -> &dyn Store {
    &*db.store
}

pub(crate) async fn sink(db: &Db, name: &str) {
    let registered = store(db).register(Role::Sink, name, "stdout", Some(("t0", 0))).await;
    assert_eq!(registered.unwrap(), Registered::Known);
}

pub(crate) async fn source(db: &Db, name: &str) {
    let registered = store(db).register(Role::Source, name, "kafka", None).await;
    assert_eq!(registered.unwrap(), Registered::Known);
}

pub(crate) async fn take(db: &Db, name: &str, worker: &str) -> Option<Lease> {
    store(db).take(Role::Sink, name, worker, LEASE).await.unwrap()
}

pub(crate) async fn taken(db: &Db, name: &str) -> Lease {
    sink(db, name).await;
    take(db, name, "w").await.unwrap()
}

pub(crate) async fn renew(db: &Db, lease: &Lease) -> Option<Control> {
    WorkerStore::renew(store(db), lease, LEASE, &Report::default()).await.unwrap()
}

pub(crate) async fn release(db: &Db, lease: &Lease) {
    WorkerStore::release(store(db), lease).await.unwrap();
}

/// One connector.
pub(crate) async fn one(db: &Db, role: Role, name: &str) -> Connector {
    let mut found = store(db).connectors(role, Some(name)).await.unwrap();
    assert_eq!(found.len(), 1, "{name}");
    found.pop().unwrap()
}

/// A change that was refused.
pub(crate) fn dead(position: u64, id: &str) -> NewDeadLetter {
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

pub(crate) fn waiting(position: u64, id: &str) -> NewDeadLetter {
    NewDeadLetter {
        state: DeadLetterState::Waiting,
        message: Vec::new(),
        error: String::new(),
        tries: 0,
        ..dead(position, id)
    }
}

/// A message of a source.
pub(crate) fn message(place: &str) -> NewDeadLetter {
    NewDeadLetter { place: DeadLetterPlace::Message(place.to_owned()), ..dead(0, "x") }
}

pub(crate) async fn add(db: &Db, lease: &Lease, letters: &[NewDeadLetter]) -> Option<u64> {
    let connector = (lease.role, lease.name.as_str());
    store(db).add_dead_letters(connector, Some(lease), letters).await.unwrap()
}

pub(crate) async fn add_messages(db: &Db, name: &str, places: &[&str]) {
    let letters: Vec<_> = places.iter().map(|place| message(place)).collect();
    let added = store(db).add_dead_letters((Role::Source, name), None, &letters).await.unwrap();
    assert!(added.is_some());
}

/// All that are listed, of one connector or of all.
pub(crate) async fn listed(db: &Db, connector: Option<(Role, &str)>) -> Vec<DeadLetter> {
    let query = DeadLetterQuery { connector, before: None, rows: 100_000 };
    store(db).dead_letters(query).await.unwrap()
}

pub(crate) fn position(letter: &DeadLetter) -> u64 {
    match &letter.letter.place {
        DeadLetterPlace::Change { position, .. } => *position,
        DeadLetterPlace::Message(place) => panic!("{place}"),
    }
}

pub(crate) fn place(letter: &DeadLetter) -> &str {
    match &letter.letter.place {
        DeadLetterPlace::Change { position, .. } => panic!("{position}"),
        DeadLetterPlace::Message(place) => place,
    }
}

pub(crate) async fn positions(db: &Db, name: &str) -> Vec<(u64, DeadLetterState)> {
    let letters = listed(db, Some((Role::Sink, name))).await;
    let mut found: Vec<_> =
        letters.iter().map(|letter| (position(letter), letter.letter.state)).collect();
    found.sort_by_key(|(position, _)| *position);
    found
}

pub(crate) async fn due(db: &Db, name: &str, most: u32) -> Vec<u64> {
    let due = store(db).due_dead_letters((Role::Sink, name), most).await.unwrap();
    due.iter().map(position).collect()
}

/// The id of the dead letter of a change.
pub(crate) async fn id_of(db: &Db, name: &str, at: u64) -> u64 {
    let letters = listed(db, Some((Role::Sink, name))).await;
    letters.iter().find(|letter| position(letter) == at).unwrap().id
}
