//! One suite for both adapters, and for PostgreSQL behind PgBouncer: what holds for the store port
//! whichever database is behind it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;

use producer_core::Timestamp;
use producer_core::ingest::{ApplyMode, Verdict};
use support::{Db, START, applied, apply, apply_through, car, duplicate, event, made, uuid};

on_all!(
    a_new_entity_is_made_at_version_1,
    flat_patches_merge_and_count,
    nested_patches_merge_deep_and_null_removes,
    flat_and_nested_patches_of_one_batch_apply_in_order,
    an_event_may_touch_many_entities_and_one_twice,
    the_same_uuid_again_changes_nothing,
    the_same_uuid_with_other_content_is_a_conflict,
    the_same_uuid_twice_in_one_batch_takes_effect_once,
    an_event_is_read_back_as_sent,
    absent_things_are_none,
    an_empty_patch_counts,
    a_document_up_to_the_limit_is_taken_and_over_it_refused,
    an_event_over_the_limit_leaves_its_other_entities_alone,
    an_event_of_more_documents_than_memory_should_hold_is_one_event,
    a_refused_event_leaves_its_uuid_free,
    atomic_stores_all_or_nothing,
    the_longest_ids_fit_every_index,
    numbers_keep_every_digit,
    time_never_goes_back_within_an_entity,
    no_update_is_lost_between_writers,
    the_same_uuid_from_many_writers_takes_effect_once,
    an_entity_new_to_many_writers_sees_all_their_updates,
    ping_answers,
);

async fn a_new_entity_is_made_at_version_1(db: Db) {
    let verdicts = db.apply(&[car(1, "a", r#"{"km":1}"#)]).await;
    assert_eq!(verdicts, [applied(vec![1])]);
    let entity = db.entity("Car", "a").await.unwrap();
    assert_eq!(support::without_spaces(&entity.data), r#"{"km":1}"#);
    assert_eq!(entity.version, 1);
    assert_eq!(entity.created_at, Timestamp::from_micros(START));
    assert_eq!(entity.updated_at, Timestamp::from_micros(START));
}

async fn flat_patches_merge_and_count(db: Db) {
    let batch =
        [car(1, "a", r#"{"a":1,"b":[{"x":null}]}"#), car(2, "b", "{}"), car(3, "a", r#"{"a":2}"#)];
    let verdicts = db.apply(&batch).await;
    let versions = [vec![1], vec![1], vec![2]].map(applied);
    assert_eq!(verdicts, versions);
    assert_eq!(db.apply(&[car(4, "a", r#"{"c":3}"#)]).await, [applied(vec![3])]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"a":2,"b":[{"x":null}],"c":3}"#);
}

async fn nested_patches_merge_deep_and_null_removes(db: Db) {
    db.apply(&[car(1, "a", r#"{"a":{"x":1,"y":{"z":2}},"b":1,"c":{"d":1}}"#)]).await;
    let verdicts = db.apply(&[car(2, "a", r#"{"a":{"x":null,"y":{"w":3}},"b":null,"c":5}"#)]).await;
    assert_eq!(verdicts, [applied(vec![2])]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"a":{"y":{"w":3,"z":2}},"c":5}"#);
}

async fn flat_and_nested_patches_of_one_batch_apply_in_order(db: Db) {
    db.apply(&[car(1, "a", r#"{"a":{"z":1}}"#)]).await;
    db.apply(&[car(2, "a", r#"{"a":5}"#), car(3, "a", r#"{"a":{"c":2}}"#)]).await;
    assert_eq!(db.car("a").await.unwrap(), r#"{"a":{"c":2}}"#);
}

async fn an_event_may_touch_many_entities_and_one_twice(db: Db) {
    for (n, last) in [(1, r#"{"k":2}"#), (2, r#"{"k":{"deep":2}}"#)] {
        let updates = [("Car", "a", r#"{"k":1}"#), ("Loan", "a", r#"{"l":1}"#), ("Car", "a", last)];
        let first = 2 * u64::try_from(n).unwrap() - 1;
        let verdicts = db.apply(&[event(n, &updates)]).await;
        let versions = vec![first, u64::try_from(n).unwrap(), first + 1];
        assert_eq!(verdicts, [applied(versions)]);
        assert_eq!(db.car("a").await.unwrap(), last);
    }
}

async fn the_same_uuid_again_changes_nothing(db: Db) {
    let updates = [("Car", "a", r#"{"km":1.0,"s":"\u00e9"}"#), ("Car", "b", "{}")];
    db.apply(&[event(1, &updates)]).await;
    let again = event(1, &[("Car", "a", r#"{ "s":"é", "km":1e0 }"#), ("Car", "b", "{}")]);
    let neighbour = car(2, "c", r#"{"km":2}"#);
    let verdicts = db.apply(&[again, neighbour]).await;
    assert_eq!(duplicate(&verdicts[0]), [1, 1]);
    assert_eq!(verdicts[1], applied(vec![1]));
    assert_eq!(db.entity("Car", "a").await.unwrap().version, 1);
}

async fn the_same_uuid_with_other_content_is_a_conflict(db: Db) {
    db.apply(&[car(1, "a", r#"{"km":1}"#)]).await;
    let verdicts = db.apply(&[car(1, "a", r#"{"km":2}"#), car(2, "b", "{}")]).await;
    assert_eq!(verdicts, [Verdict::Conflict, applied(vec![1])]);
    assert_eq!(db.car("a").await.unwrap(), r#"{"km":1}"#);
}

async fn the_same_uuid_twice_in_one_batch_takes_effect_once(db: Db) {
    let batch =
        [car(1, "a", r#"{"km":1}"#), car(1, "a", r#"{"km":1}"#), car(1, "b", r#"{"km":1}"#)];
    let verdicts = db.apply(&batch).await;
    assert_eq!(verdicts[0], applied(vec![1]));
    assert_eq!(duplicate(&verdicts[1]), [1]);
    assert_eq!(verdicts[2], Verdict::Conflict);
    assert_eq!(db.car("b").await, None);
}

async fn an_event_is_read_back_as_sent(db: Db) {
    let updates = [("Car", "b", r#"{"n": 1.50 }"#), ("Car", "a", r#"{"o":{"p":null}}"#)];
    let sent = event(7, &updates);
    db.apply(std::slice::from_ref(&sent)).await;
    let logged = db.store.event(uuid(7)).await.unwrap().unwrap();
    assert!(sent.same_content(&logged), "{logged:?}");
    assert_eq!(logged.uuid, uuid(7));
    assert_eq!(logged.committed, Timestamp::from_micros(START));
    assert_eq!(logged.saved, logged.committed);
    let patches: Vec<_> = logged.updates.iter().map(|u| (u.patch.as_str(), u.version)).collect();
    assert_eq!(patches, [(r#"{"n": 1.50 }"#, 1), (r#"{"o":{"p":null}}"#, 1)]);
}

async fn absent_things_are_none(db: Db) {
    assert_eq!(db.entity("Car", "nobody").await, None);
    assert_eq!(db.store.event(uuid(404)).await.unwrap(), None);
    assert_eq!(db.apply(&[]).await, []);
}

async fn an_empty_patch_counts(db: Db) {
    let verdicts = db.apply(&[car(1, "a", "{}"), car(2, "a", "{}")]).await;
    assert_eq!(verdicts, [applied(vec![1]), applied(vec![2])]);
    assert_eq!(db.car("a").await.unwrap(), "{}");
}

/// A flat patch whose document alone has `size` bytes.
fn patch_of(member: &str, size: usize) -> String {
    let frame = format!(r#"{{"{member}":""}}"#).len();
    format!(r#"{{"{member}":"{}"}}"#, "x".repeat(size - frame))
}

const MAX: usize = 1 << 20;

async fn a_document_up_to_the_limit_is_taken_and_over_it_refused(db: Db) {
    let is_applied = |verdict: &Verdict| matches!(verdict, Verdict::Applied(_));
    let full = patch_of("a", MAX);
    // replaced and replaced: the sum of the patches is far over, the document is never
    let batch = [car(1, "a", &full), car(2, "a", &full), car(3, "a", r#"{"a":""}"#)];
    assert!(db.apply(&batch).await.iter().all(is_applied));
    assert!(db.apply(&[car(4, "a", &full)]).await.iter().all(is_applied));
    let over = [car(5, "a", r#"{"b":1}"#), car(6, "b", r#"{"b":1}"#), car(7, "a", r#"{"a":1}"#)];
    let verdicts = db.apply(&over).await;
    let Verdict::Invalid(violations) = &verdicts[0] else { panic!("{:?}", verdicts[0]) };
    let place = violations.listed()[0].location.pointer();
    assert_eq!(place, "/eventBody/entities/0/updatedAttributes");
    assert!(verdicts[1..].iter().all(is_applied));
    assert_eq!(db.car("a").await.unwrap(), r#"{"a":1}"#);
    // alone the verdicts are the same
    assert!(is_applied(&db.apply(&[car(8, "c", &full)]).await[0]));
    assert!(!is_applied(&db.apply(&[car(9, "c", r#"{"b":1}"#)]).await[0]));
    assert!(!is_applied(&db.apply(&[car(10, "d", &patch_of("a", MAX + 1))]).await[0]));
    assert_eq!(db.car("d").await, None);
}

async fn an_event_over_the_limit_leaves_its_other_entities_alone(db: Db) {
    db.apply(&[car(1, "full", &patch_of("a", MAX))]).await;
    let updates = [("Car", "new", r#"{"x":1}"#), ("Car", "full", r#"{"x":1}"#)];
    let verdicts = db.apply(&[event(2, &updates), car(3, "new", r#"{"y":1}"#)]).await;
    let Verdict::Invalid(violations) = &verdicts[0] else { panic!("{:?}", verdicts[0]) };
    let place = violations.listed()[0].location.pointer();
    assert_eq!(place, "/eventBody/entities/1/updatedAttributes");
    assert_eq!(verdicts[1], applied(vec![1]));
    assert_eq!(db.car("new").await.unwrap(), r#"{"y":1}"#);
}

/// Twelve full documents are read and written part by part; it is all or nothing all the same.
async fn an_event_of_more_documents_than_memory_should_hold_is_one_event(db: Db) {
    let ids: Vec<String> = (0..12).map(|n| format!("full{n}")).collect();
    for (n, id) in (0..).zip(&ids) {
        db.apply(&[car(n, id, &patch_of("a", MAX - 50))]).await;
    }
    let on_all = |patch| ids.iter().map(move |id| ("Car", id.as_str(), patch));
    let mut updates: Vec<_> = on_all(r#"{"o":{"n":1}}"#).collect();
    updates.push(("Car", "full0", r#"{"o":{"m":1}}"#));
    let versions: Vec<u64> = [[2; 12].as_slice(), &[3]].concat();
    let batch = [event(100, &updates), car(101, "full1", r#"{"o":{}}"#)];
    let expected = [applied(versions.clone()), applied(vec![3])];
    assert_eq!(db.apply(&batch).await, expected);
    assert!(db.car("full0").await.unwrap().ends_with(r#","o":{"m":1,"n":1}}"#));
    let logged = db.store.event(uuid(100)).await.unwrap().unwrap();
    assert!(batch[0].same_content(&logged));

    assert_eq!(duplicate(&db.apply(&batch[..1]).await[0]), versions);
    assert_eq!(db.apply(&[event(100, &updates[..12])]).await, [Verdict::Conflict]);

    let over = format!(r#"{{"o":{{"p":"{}"}}}}"#, "p".repeat(60));
    let mut updates: Vec<_> = on_all(r#"{"o":{"n":2}}"#).collect();
    updates.insert(0, ("Car", "new", "{}"));
    updates.push(("Car", "full11", &over));
    let verdicts = db.apply(&[event(102, &updates), car(103, "new", r#"{"o":{}}"#)]).await;
    let Verdict::Invalid(violations) = &verdicts[0] else { panic!("{:?}", verdicts[0]) };
    let place = violations.listed()[0].location.pointer();
    assert_eq!(place, "/eventBody/entities/13/updatedAttributes");
    assert_eq!(verdicts[1], applied(vec![1]), "nothing of the refused one is stored");
    assert_eq!(db.entity("Car", "full0").await.unwrap().version, 3);
    assert_eq!(db.entity("Car", "full11").await.unwrap().version, 2);
    assert_eq!(db.store.event(uuid(102)).await.unwrap(), None);
}

async fn a_refused_event_leaves_its_uuid_free(db: Db) {
    db.apply(&[car(1, "a", &patch_of("a", MAX))]).await;
    let batch = [car(2, "a", r#"{"b":1}"#), car(2, "b", r#"{"b":1}"#)];
    let verdicts = db.apply(&batch).await;
    assert!(matches!(verdicts[0], Verdict::Invalid(_)));
    assert_eq!(verdicts[1], applied(vec![1]));
}

async fn atomic_stores_all_or_nothing(db: Db) {
    let mut writer = db.store.writer();
    db.apply(&[car(1, "a", "{}")]).await;
    let bad = [car(2, "b", "{}"), car(1, "a", r#"{"other":1}"#), car(3, "c", "{}")];
    let verdicts = writer.apply(&bad, ApplyMode::Atomic).await.unwrap();
    let expected = [applied(vec![1]), Verdict::Conflict, applied(vec![1])];
    assert_eq!(verdicts, expected);
    assert_eq!((db.car("b").await, db.car("c").await), (None, None));
    let good = [car(2, "b", "{}"), car(1, "a", "{}")];
    let verdicts = writer.apply(&good, ApplyMode::Atomic).await.unwrap();
    assert_eq!(verdicts[0], applied(vec![1]));
    assert_eq!(duplicate(&verdicts[1]), [1]);
    assert!(db.car("b").await.is_some());
}

async fn the_longest_ids_fit_every_index(db: Db) {
    // hard to compress, four bytes each
    let long = |seed: u32| -> String {
        let chars = (0..255_u32).map(|n| 0x20000 + (n * 7919 + seed * 104_729) % 40_000);
        chars.filter_map(char::from_u32).collect()
    };
    let (entity_type, id) = (long(1), long(2));
    assert_eq!(id.len(), 1020);
    let updates = [(entity_type.as_str(), id.as_str(), r#"{"a":1}"#)];
    assert_eq!(db.apply(&[event(1, &updates)]).await, [applied(vec![1])]);
    let updates = [(entity_type.as_str(), id.as_str(), r#"{"a":{"b":1}}"#)];
    assert_eq!(db.apply(&[event(2, &updates)]).await, [applied(vec![2])]);
    assert_eq!(db.entity(&entity_type, &id).await.unwrap().version, 2);
    assert!(db.store.event(uuid(2)).await.unwrap().is_some());
}

async fn numbers_keep_every_digit(db: Db) {
    let digits = r#"{"a":24439.750000000000000001,"b":9007199254740993}"#;
    db.apply(&[car(1, "flat", digits), car(2, "deep", &format!(r#"{{"o":{digits}}}"#))]).await;
    db.apply(&[car(3, "flat", r#"{"c":{}}"#), car(4, "deep", r#"{"c":1}"#)]).await;
    let flat = db.car("flat").await.unwrap();
    assert_eq!(flat, r#"{"a":24439.750000000000000001,"b":9007199254740993,"c":{}}"#);
    let deep = db.car("deep").await.unwrap();
    assert_eq!(deep, format!(r#"{{"c":1,"o":{digits}}}"#));
}

async fn time_never_goes_back_within_an_entity(db: Db) {
    const HOUR: i64 = 3_600_000_000;
    let ahead = db.again(START + HOUR).await;
    apply(&mut *ahead.writer(), &[car(1, "a", "{}")]).await;
    for (n, patch) in [(2, r#"{"flat":1}"#), (3, r#"{"deep":{}}"#)] {
        db.apply(&[car(n, "a", patch), car(n + 10, "b", patch)]).await;
        let a = db.entity("Car", "a").await.unwrap();
        assert_eq!(a.updated_at, Timestamp::from_micros(START + HOUR));
        let logged = db.store.event(uuid(n)).await.unwrap().unwrap();
        assert_eq!(logged.committed, a.updated_at);
        let b = db.entity("Car", "b").await.unwrap();
        assert_eq!(b.updated_at, Timestamp::from_micros(START));
    }
}

/// Runs `WRITERS` writers at once, each over a store of its own, and waits for them.
async fn at_once(
    db: &Db,
    batches: impl Fn(u128) -> Vec<producer_core::Event>,
) -> Vec<Vec<Verdict>> {
    let mut tasks = Vec::new();
    let start = Arc::new(tokio::sync::Barrier::new(usize::try_from(WRITERS).unwrap()));
    for n in 0..WRITERS {
        let (store, batch, start) = (db.again(START).await, batches(n), Arc::clone(&start));
        tasks.push(tokio::spawn(async move {
            let mut writer = store.writer();
            start.wait().await;
            let mut verdicts = Vec::new();
            for part in batch.chunks(3) {
                verdicts.extend(apply_through(&mut *writer, part).await);
            }
            store.close().await;
            verdicts
        }));
    }
    let mut verdicts = Vec::new();
    for task in tasks {
        verdicts.push(task.await.unwrap());
    }
    verdicts
}

const WRITERS: u128 = 6;

fn versions(verdicts: &[Vec<Verdict>]) -> Vec<u64> {
    let mut versions: Vec<u64> = verdicts.iter().flatten().flat_map(made).collect();
    versions.sort_unstable();
    versions
}

async fn no_update_is_lost_between_writers(db: Db) {
    db.apply(&[car(1, "hot", "{}")]).await;
    let verdicts = at_once(&db, |writer| {
        let own = |n: u128| {
            // flat ones and deep ones meet
            if (n + writer) % 4 < 2 {
                format!(r#"{{"w{writer}n{n}":1}}"#)
            } else {
                format!(r#"{{"o":{{"w{writer}n{n}":1}}}}"#)
            }
        };
        (0..12).map(|n| car(100 + writer * 100 + n, "hot", &own(n))).collect()
    })
    .await;
    let expected: Vec<u64> = (2..=73).collect();
    assert_eq!(versions(&verdicts), expected);
    let hot = db.car("hot").await.unwrap();
    assert_eq!(hot.matches(":1").count(), 72, "{hot}");
}

async fn the_same_uuid_from_many_writers_takes_effect_once(db: Db) {
    for patch in [r#"{"a":1}"#, r#"{"a":{"b":1}}"#] {
        let n = patch.len() as u128;
        let verdicts = at_once(&db, |_| vec![car(n, patch, patch)]).await;
        let first = verdicts.iter().filter(|v| v[0] == applied(vec![1])).count();
        let others = verdicts.iter().filter(|v| v[0] != applied(vec![1]));
        assert!(others.clone().all(|v| duplicate(&v[0]) == [1]));
        assert_eq!((first, others.count()), (1, 5), "{verdicts:?}");
        assert_eq!(db.entity("Car", patch).await.unwrap().version, 1);
    }
}

async fn an_entity_new_to_many_writers_sees_all_their_updates(db: Db) {
    for round in 0..4_u128 {
        let id = format!("new{round}");
        let verdicts = at_once(&db, |writer| {
            let patch = format!(r#"{{"o":{{"w{writer}":1}}}}"#);
            vec![car(1000 + round * 100 + writer, &id, &patch)]
        })
        .await;
        assert_eq!(versions(&verdicts), [1, 2, 3, 4, 5, 6]);
        let state = db.car(&id).await.unwrap();
        assert_eq!(state.matches(":1").count(), 6, "{state}");
    }
}

async fn ping_answers(db: Db) {
    assert_eq!(db.store.ping().await, Ok(()));
}
