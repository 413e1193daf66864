//! Definitions of types, and the rows of their indexes, on both databases.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use producer_core::ProblemKind;
use producer_core::model::Precondition;
use producer_core::store::Store;
use producer_core::types::{BuilderSettings, Definition, PartState, StoredType};
use producer_maintenance::prune;
use serde_json::{Value, json};
use support::types::{
    QUICK, Running, build, declare, indexes, rows_are_right, settled, types, until,
};
use support::{Db, START, apply_through, car, clock, event, event_of, open};

on_all!(
    an_index_has_what_was_there_and_what_comes,
    a_process_that_does_not_know_a_definition_keeps_it_up,
    what_stays_the_same_stays_ready_and_the_rest_is_dropped,
    a_definition_is_changed_under_its_precondition,
    of_two_definers_at_once_one_wins,
    definitions_are_listed_by_name,
    long_values_and_ids_are_indexed,
    another_process_takes_over,
    a_definition_that_changes_while_it_is_built_is_built_as_it_is_then,
    pruning_removes_the_rows_of_what_it_removes,
    nothing_is_missing_whatever_happens_at_once,
    times_in_keys_are_those_of_the_entity,
    a_row_of_an_entity_that_is_not_there_is_overwritten,
);

fn replace(n: u128, id: &str, document: Value) -> producer_core::Event {
    let item = json!({"entityType": "Car", "entityId": id, "operation": "replace",
        "updatedAttributes": document});
    event_of(n, &[item])
}

fn delete(n: u128, id: &str) -> producer_core::Event {
    event_of(n, &[json!({"entityType": "Car", "entityId": id, "operation": "delete"})])
}

const INDEXES: &str =
    r#""data.a", "data.b.c", ["data.a", "data.b.c"], ["data.a", "createdAt"], "updatedAt""#;

/// Writes on every path of the writers.
async fn write_all_ways(store: &Arc<dyn Store>, base: u128) {
    let mut writer = store.writer();
    for batch in [
        vec![car(base, "flat", r#"{"a":1}"#)],
        vec![
            car(base + 1, "flat", r#"{"a":2,"x":true}"#),
            car(base + 2, "other", r#"{"a":"text"}"#),
        ],
        vec![car(base + 3, "flat", r#"{"x":1}"#)],
        vec![car(base + 4, "deep", r#"{"a":1,"b":{"c":5,"d":6}}"#)],
        vec![car(base + 5, "deep", r#"{"b":{"d":7}}"#)],
        vec![car(base + 6, "deep", r#"{"b":{"c":null}}"#)],
        vec![replace(base + 7, "replaced", json!({"a": [1], "b": {"c": "x"}}))],
        vec![replace(base + 8, "replaced", json!({"b": {"c": true}}))],
        vec![car(base + 9, "deleted", r#"{"a":1}"#)],
        vec![delete(base + 10, "deleted")],
        vec![car(base + 11, "anew", r#"{"a":1,"b":{"c":1}}"#)],
        vec![delete(base + 12, "anew")],
        vec![car(base + 13, "anew", r#"{"b":{"c":2}}"#)],
        vec![car(base + 14, "overwritten", r#"{"b":{"c":2}}"#)],
        vec![car(base + 15, "overwritten", r#"{"b":"flat"}"#)],
        vec![event(base + 16, &[("Van", "flat", r#"{"a":1}"#), ("Car", "pair", r#"{"a":9}"#)])],
    ] {
        apply_through(&mut *writer, &batch).await;
    }
}

async fn an_index_has_what_was_there_and_what_comes(db: Db) {
    write_all_ways(&db.store, 100).await;
    declare(&db.store, INDEXES).await;
    write_all_ways(&db.store, 200).await;
    build(&db).await;
    let before = rows_are_right(&db).await;
    assert!(before > 15, "{before} rows");
    write_all_ways(&db.again(START + 1_000_000).await, 300).await;
    db.apply(&[car(1, "new", r#"{"a":0.5}"#), car(2, "flat", r#"{"a":-1}"#)]).await;
    assert!(rows_are_right(&db).await > before);
    // indexes of data alone take other statements
    declare(&db.store, r#""data.a", "data.b.c""#).await;
    write_all_ways(&db.store, 400).await;
    build(&db).await;
    write_all_ways(&db.store, 500).await;
    rows_are_right(&db).await;
}

async fn a_process_that_does_not_know_a_definition_keeps_it_up(db: Db) {
    let others = [db.again(START).await, db.again(START).await, db.again(START).await];
    for (n, other) in (0..).zip(&others) {
        write_all_ways(other, 1000 * (n + 1)).await;
    }
    for (n, list) in [(1, r#""data.a""#), (2, r#""data.a", "data.b.c""#), (3, INDEXES)] {
        declare(&db.store, list).await;
        build(&db).await;
        // each of them writes on another path first
        let [one, two, three] = &others;
        apply_through(&mut *one.writer(), &[car(n * 10, "x", r#"{"a":1}"#)]).await;
        let pair = [car(n * 10 + 1, "y", r#"{"a":2}"#), car(n * 10 + 2, "z", r#"{"a":3}"#)];
        apply_through(&mut *two.writer(), &pair).await;
        apply_through(&mut *three.writer(), &[car(n * 10 + 3, "w", r#"{"b":{"c":4}}"#)]).await;
        assert!(rows_are_right(&db).await > 0);
        for (place, other) in (0..).zip(&others) {
            write_all_ways(other, 10_000 * n + 1000 * place).await;
        }
        rows_are_right(&db).await;
    }
    types(&db.store).delete("Car", &Precondition::None).await.unwrap();
    for (place, other) in (0..).zip(&others) {
        write_all_ways(other, 90_000 + 1000 * place).await;
    }
    build(&db).await;
    let left = "SELECT CAST(count(*) AS text) FROM entity_index";
    assert_eq!(db.texts(left).await, ["0"]);
}

async fn what_stays_the_same_stays_ready_and_the_rest_is_dropped(db: Db) {
    write_all_ways(&db.store, 100).await;
    let first = declare(&db.store, r#""data.a", "data.b.c""#).await;
    assert!(first.parts.iter().all(|part| part.state == PartState::Building));
    build(&db).await;
    let second = declare(&db.store, r#""data.x", "data.a""#).await;
    assert!(second.version > first.version);
    let states: Vec<_> = second.parts.iter().map(|part| part.state).collect();
    assert_eq!(states, [PartState::Building, PartState::Ready]);
    assert_eq!(second.parts[1].part.id, first.parts[0].part.id);
    build(&db).await;
    rows_are_right(&db).await;
    let kept = "SELECT CAST(count(DISTINCT index_id) AS text) FROM entity_index";
    assert_eq!(db.texts(kept).await, ["2"]);
    // what is declared again has nothing of what it had
    let third = declare(&db.store, r#""data.b.c", "data.a""#).await;
    assert_ne!(third.parts[0].part.id, first.parts[1].part.id);
    build(&db).await;
    rows_are_right(&db).await;
}

fn version(
    result: Result<(StoredType, bool), producer_core::Problem>,
) -> Result<(u64, bool), Option<u64>> {
    match result {
        Ok((stored, created)) => Ok((stored.version, created)),
        Err(problem) => {
            assert_eq!(problem.kind, ProblemKind::PreconditionFailed, "{problem}");
            Err(problem.precondition.unwrap().current_version)
        }
    }
}

async fn a_definition_is_changed_under_its_precondition(db: Db) {
    let types = types(&db.store);
    let (one, two) = (indexes(r#""data.a""#), indexes(r#""data.b""#));
    let replace = async |definition: &Definition, precondition: Precondition| {
        version(types.replace("Car", definition, &precondition).await)
    };
    assert_eq!(replace(&one, Precondition::Exists).await, Err(None));
    let (first, created) = replace(&one, Precondition::Absent).await.unwrap();
    assert!(created);
    assert_eq!(replace(&two, Precondition::Absent).await, Err(Some(first)));
    assert_eq!(replace(&one, Precondition::None).await, Ok((first, false)));
    let (second, created) = replace(&two, Precondition::Versions([first].into())).await.unwrap();
    assert!(second > first && !created);
    assert_eq!(replace(&one, Precondition::Versions([first].into())).await, Err(Some(second)));
    let refused = types.delete("Car", &Precondition::Versions([first].into())).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("the definition has version {second}; expected version {first}")
    );
    assert_eq!(types.delete("Car", &Precondition::Exists).await, Ok(true));
    assert_eq!(types.get("Car").await, Ok(None));
    assert_eq!(types.delete("Car", &Precondition::None).await, Ok(false));
    let (third, created) = replace(&two, Precondition::None).await.unwrap();
    assert!(third > second && created, "no version is used again");
    for (name, language) in [("..", "simple"), ("Car", "klingon")] {
        let text = format!(r#"{{"search":{{"paths":{{"data.a":1}},"language":"{language}"}}}}"#);
        let definition = Definition::parse(&text).unwrap();
        let refused = types.replace(name, &definition, &Precondition::None).await.unwrap_err();
        assert_eq!(refused.kind, ProblemKind::Validation, "{refused}");
    }
    let search = r#"{"indexes":["data.b"],"search":{"paths":{"data.a":1},"language":"english"}}"#;
    let search = Definition::parse(search).unwrap();
    let (stored, _) = types.replace("Car", &search, &Precondition::None).await.unwrap();
    assert_eq!(stored.definition, search);
    assert_eq!(stored.parts.len(), 2);
    let of_two = async |paths: &str| {
        let definition =
            Definition::parse(&format!(r#"{{"search":{{"paths":{paths}}}}}"#)).unwrap();
        types.replace("Car", &definition, &Precondition::None).await.unwrap().0
    };
    let (one, same) =
        (of_two(r#"{"data.a":1,"data.b":4}"#).await, of_two(r#"{"data.b":4,"data.a":1}"#).await);
    assert_eq!(one, same, "members have no order");
}

async fn of_two_definers_at_once_one_wins(db: Db) {
    let other = db.again(START).await;
    let (ours, theirs) = (types(&db.store), types(&other));
    let (one, two) = (indexes(r#""data.a", "data.both""#), indexes(r#""data.b", "data.both""#));
    for round in 0..10 {
        let precondition = match ours.get("Car").await.unwrap() {
            Some(stored) => Precondition::Versions([stored.version].into()),
            None => Precondition::Absent,
        };
        let results = tokio::join!(
            ours.replace("Car", &one, &precondition),
            theirs.replace("Car", &two, &precondition)
        );
        let won = [&results.0, &results.1].iter().filter(|result| result.is_ok()).count();
        // the definition may be the same as before, which then is no change
        assert!(won == 1 || round > 0, "{results:?}");
        let _both = tokio::join!(
            ours.replace("Car", &one, &Precondition::None),
            theirs.replace("Car", &two, &Precondition::None)
        );
        let stored = ours.get("Car").await.unwrap().unwrap();
        assert!([&one, &two].contains(&&stored.definition));
        let parts: Vec<_> = stored.parts.iter().map(|part| part.part.kind.clone()).collect();
        assert_eq!(parts, stored.definition.parts().collect::<Vec<_>>());
    }
    build(&db).await;
    rows_are_right(&db).await;
}

async fn definitions_are_listed_by_name(db: Db) {
    let types = types(&db.store);
    for name in ["b", "ä", "a", "C"] {
        types
            .replace(name, &indexes(r#""data.a", "createdAt""#), &Precondition::None)
            .await
            .unwrap();
    }
    let names = async |after: &str, most| {
        let list = types.list(after, most).await.unwrap();
        assert!(list.iter().all(|stored| stored.parts.len() == 2));
        list.into_iter().map(|stored| stored.entity_type).collect::<Vec<_>>()
    };
    assert_eq!(names("", 10).await, ["C", "a", "b", "ä"]);
    assert_eq!(names("", 2).await, ["C", "a"]);
    assert_eq!(names("a", 2).await, ["b", "ä"]);
    assert_eq!(names("ä", 2).await, [""; 0]);
}

async fn long_values_and_ids_are_indexed(db: Db) {
    let id = |n: usize| format!("{}{n}", "😀".repeat(254));
    let long = "😀".repeat((1 << 18) - 100);
    // what random text can't be compressed to
    let random: String = (0..900_u32)
        .filter_map(|n| char::from_u32(0x1_0000 + n.wrapping_mul(2_654_435_761) % 0xF_0000))
        .collect();
    let halves = random.split_at(random.char_indices().nth(450).unwrap().0);
    let document = json!({"a": random, "b": halves.0, "c": halves.1}).to_string();
    let large = json!({"a": long}).to_string();
    db.apply(&[car(1, &id(1), &document)]).await;
    db.apply(&[car(2, &id(2), &large)]).await;
    declare(&db.store, r#""data.a", ["data.a","data.b","data.c"]"#).await;
    build(&db).await;
    assert_eq!(rows_are_right(&db).await, 3);
    db.apply(&[car(3, &id(3), &document), car(4, &id(1), &large)]).await;
    db.apply(&[replace(5, &id(4), serde_json::from_str(&document).unwrap())]).await;
    assert_eq!(rows_are_right(&db).await, 7);
}

/// So many cars that they take several steps.
async fn many_cars(db: &Db, count: u128) {
    for first in (0..count).step_by(300) {
        let batch: Vec<_> = (first..count.min(first + 300))
            .map(|n| {
                car(
                    1_000_000 + n,
                    &format!("c{n:05}"),
                    &format!(r#"{{"a":{n},"b":{{"c":{}}}}}"#, n % 7),
                )
            })
            .collect();
        db.apply(&batch).await;
    }
}

async fn done(db: &Db) -> u64 {
    let done = db
        .texts("SELECT CAST(coalesce(max(done), 0) AS text) FROM type_parts WHERE state = 0")
        .await;
    done.first().and_then(|done| done.parse().ok()).unwrap_or(0)
}

async fn another_process_takes_over(db: Db) {
    many_cars(&db, 1600).await;
    declare(&db.store, r#""data.a", "data.b.c""#).await;
    // its process is killed in the pause after the first step
    let lease = Duration::from_millis(700);
    let slow = BuilderSettings { lease, pause_factor_beside_writers: 1e6, ..QUICK };
    let killed = Running::start(&db.store, slow);
    until(async || done(&db).await > 0).await;
    killed.task.abort();
    let other = db.again(START).await;
    let stored = types(&other).get("Car").await.unwrap().unwrap();
    let part = &stored.parts[0];
    assert!(
        part.state == PartState::Building && part.done >= 500 && part.total.is_some(),
        "{part:?}"
    );
    let builder = Running::start(&other, QUICK);
    settled(&db).await;
    builder.stop().await;
    assert_eq!(rows_are_right(&db).await, 3200);
    let stored = types(&other).get("Car").await.unwrap().unwrap();
    assert_eq!(stored.parts[0].done, 1600, "none was walked twice");
}

async fn a_definition_that_changes_while_it_is_built_is_built_as_it_is_then(db: Db) {
    many_cars(&db, 1600).await;
    declare(&db.store, r#""data.a", "data.b.c""#).await;
    let builder = Running::start(&db.store, QUICK);
    until(async || done(&db).await > 0 || rows_are_right(&db).await > 0).await;
    declare(&db.store, r#""data.b.c", ["data.b.c","data.a"]"#).await;
    settled(&db).await;
    builder.stop().await;
    assert_eq!(rows_are_right(&db).await, 3200);
    let kept = "SELECT CAST(count(*) AS text) FROM entity_index";
    assert_eq!(db.texts(kept).await, ["3200"]);
}

async fn pruning_removes_the_rows_of_what_it_removes(db: Db) {
    declare(&db.store, r#""data.a", "data.b""#).await;
    build(&db).await;
    db.apply(&[car(1, "gone", r#"{"a":1}"#), car(2, "stays", r#"{"a":1}"#)]).await;
    db.apply(&[delete(3, "gone")]).await;
    db.apply(&[car(4, "stays", r#"{"a":2}"#)]).await;
    let later = clock(START + 10_000_000);
    prune::prune(&db.database(), Duration::from_secs(1), &later, &mut |_| {}).await.unwrap();
    let left = "SELECT DISTINCT entity_id FROM entity_index";
    assert_eq!(db.texts(left).await, ["stays"]);
    db.apply(&[car(5, "gone", r#"{"b":1}"#)]).await;
    assert_eq!(rows_are_right(&db).await, 2);
}

/// Writers of several processes, definitions that come and go, builders of two processes.
async fn nothing_is_missing_whatever_happens_at_once(db: Db) {
    many_cars(&db, 700).await;
    let builders =
        [Running::start(&db.store, QUICK), Running::start(&db.again(START).await, QUICK)];
    let (mut writers, written) = (Vec::new(), Arc::new(AtomicU64::new(0)));
    for writer in 0..3_u64 {
        let now = START + i64::try_from(writer).unwrap();
        let store = open(&db.settings, clock(now)).await;
        let written = Arc::clone(&written);
        writers.push(tokio::spawn(async move { random_writes(&store, writer, &written).await }));
    }
    let lists =
        [r#""data.a""#, INDEXES, r#""data.b.c","data.x""#, "", r#""data.x",["data.a","data.x"]"#];
    for (turn, list) in (0..12).zip(lists.iter().cycle()) {
        declare(&db.store, list).await;
        until(async || written.load(Ordering::Relaxed) >= turn * 35).await;
    }
    declare(&db.store, INDEXES).await;
    for writer in writers {
        writer.await.unwrap();
    }
    settled(&db).await;
    for builder in builders {
        builder.stop().await;
    }
    assert!(rows_are_right(&db).await > 1000);
}

async fn random_writes(store: &Arc<dyn Store>, seed: u64, written: &AtomicU64) {
    let mut next = support::random(seed);
    let mut writer = store.writer();
    for batch in 0..150_u128 {
        let size = u128::from(next(8) + 1);
        let events: Vec<_> = (0..size)
            .map(|n| {
                let id = format!("c{:05}", next(710));
                let value = next(50);
                let (operation, attributes) = match next(8) {
                    0 => ("merge", json!({"a": value, "b": {"c": value}})),
                    1 => ("merge", json!({"b": {"c": null}})),
                    2 => ("replace", json!({"x": value, "b": {"c": "t"}})),
                    3 => ("delete", json!({})),
                    4 => ("merge", json!({"x": value, "a": format!("{value}")})),
                    5 => ("merge", json!({"y": value})),
                    _ => ("merge", json!({"a": value})),
                };
                let number = (u128::from(seed) + 2) * 10_000_000 + batch * 10 + n;
                let item = json!({"entityType": "Car", "entityId": id, "operation": operation,
                    "updatedAttributes": attributes});
                event_of(number, &[item])
            })
            .collect();
        // deletes of what is deleted already are refused
        let _verdicts = apply_through(&mut *writer, &events).await;
        written.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whichever way the database takes, and however old the entity is.
async fn times_in_keys_are_those_of_the_entity(db: Db) {
    declare(
        &db.store,
        r#""createdAt", "updatedAt", ["createdAt", "updatedAt"], ["data.a", "updatedAt", "data.b"]"#,
    )
    .await;
    build(&db).await;
    let both = r#"{"a":"x","b":-1}"#;
    // a clock that goes back leaves the times of the entity as they are
    for (n, now) in
        (1..).zip([START, START + 1_500_000, START - 3_600_000_000, i64::from(i32::MAX)])
    {
        let store = db.again(now).await;
        let batch = [
            car(10 * n, "old", both),
            car(10 * n + 1, &format!("new{n}"), both),
            replace(10 * n + 2, "replaced", json!({"a": n, "b": "y"})),
            car(10 * n + 3, &format!("without{n}"), "{}"),
        ];
        apply_through(&mut *store.writer(), &batch).await;
        rows_are_right(&db).await;
        apply_through(&mut *store.writer(), &[car(10 * n + 4, "deep", r#"{"a":{"b":null}}"#)])
            .await;
        assert!(rows_are_right(&db).await > 0);
    }
    apply_through(&mut *db.store.writer(), &[delete(90, "old"), delete(91, "new1")]).await;
    assert_eq!(rows_are_right(&db).await, 3 * 9 + 4);
}

/// No writer leaves one, but `rebuild` knows such damage.
async fn a_row_of_an_entity_that_is_not_there_is_overwritten(db: Db) {
    declare(&db.store, r#""data.a""#).await;
    build(&db).await;
    db.apply(&[car(1, "first", r#"{"a":1}"#)]).await;
    let stray = "INSERT INTO entity_index (index_id, entity_id, key)
        SELECT index_id, 'second', key FROM entity_index RETURNING entity_id";
    assert_eq!(db.texts(stray).await, ["second"]);
    let batch = [car(2, "first", r#"{"a":2}"#), car(3, "second", r#"{"a":3}"#)];
    apply_through(&mut *db.store.writer(), &batch).await;
    assert_eq!(rows_are_right(&db).await, 2);
}
