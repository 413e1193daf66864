//! Dead letters, on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use producer_core::worker::{
    DeadLetterPlace, DeadLetterQuery, DeadLetterState, Lease, MAX_DEAD_LETTERS, NewDeadLetter, Role,
};
use producer_core::{EntityKey, Timestamp};
use support::worker::{
    add, add_messages, dead, due, id_of, listed, message, one, place, position, positions, renew,
    source, store, taken, waiting,
};
use support::{Db, START, key};

on_all!(
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
);

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
