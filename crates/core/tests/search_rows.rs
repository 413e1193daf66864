//! The rows of search follow the entities, whoever writes them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use producer_core::Precondition;
use producer_core::store::Store;
use producer_core::types::Definition;
use producer_maintenance::{prune, rebuild};
use serde_json::json;
use support::search::{Naive, all, declare, definition, found, request, search};
use support::types::{QUICK, Running, build, cars, settled, types, until};
use support::{Db, START, apply_through, car, clock, event_of, open, unhurried};

on_all!(nothing_is_missing_whatever_happens_at_once, maintenance_keeps_rows_up,);

/// Searches for every word that a car may have, in the definition that is declared last.
async fn every_word_is_found(db: &Db, definition: &Definition) {
    let definition = definition.search.clone().unwrap();
    let cars = cars(db).await;
    let words = (0..30).flat_map(|n| [format!("w{n}"), format!("v{n}"), format!("-w{n}")]);
    for query in words {
        let naive = Naive::new(&definition, &query);
        let expected = cars.iter().filter(|car| naive.matches(&car.data));
        let mut expected: Vec<_> = expected.map(|car| car.key.entity_id()).collect();
        expected.sort_unstable();
        let (mut hits, total) = all(db, &request(&query)).await;
        hits.sort_unstable();
        assert!(total.exact && hits == expected, "{query}: {hits:?}, not {expected:?}");
    }
}

/// Writers of several processes, definitions that come and go, builders of two processes.
async fn nothing_is_missing_whatever_happens_at_once(db: Db) {
    let builders =
        [Running::start(&db.store, QUICK), Running::start(&db.again(START).await, QUICK)];
    let (mut writers, written) = (Vec::new(), Arc::new(AtomicU64::new(0)));
    for writer in 0..3_u64 {
        let now = START + i64::try_from(writer).unwrap();
        let store = open(&db.settings, clock(now)).await;
        let written = Arc::clone(&written);
        writers.push(tokio::spawn(async move { random_writes(&store, writer, &written).await }));
    }
    let paths = [r#""data.a":4"#, r#""data.a":1,"data.b":2"#, r#""data.b.c":3"#];
    for (turn, paths) in (0..9).zip(paths.iter().cycle()) {
        declare(&db, "Car", paths, "simple").await;
        until(async || written.load(Ordering::Relaxed) >= turn * 25).await;
        if turn == 4 {
            types(&db.store).delete("Car", &Precondition::None).await.unwrap();
        }
    }
    let last = r#""data.a":4,"data.b":1"#;
    declare(&db, "Car", last, "simple").await;
    for writer in writers {
        writer.await.unwrap();
    }
    settled(&db).await;
    for builder in builders {
        builder.stop().await;
    }
    every_word_is_found(&db, &definition(last, "simple")).await;
}

async fn random_writes(store: &Arc<dyn Store>, seed: u64, written: &AtomicU64) {
    let mut next = support::random(seed);
    let mut writer = store.writer();
    for batch in 0..80_u128 {
        let size = u128::from(next(8) + 1);
        let events: Vec<_> = (0..size)
            .map(|n| {
                let id = format!("c{:03}", next(150));
                let (w, v) = (format!("W{}", next(30)), format!("v{}", next(30)));
                let (operation, attributes) = match next(8) {
                    0 => ("merge", json!({"a": w, "b": {"c": v}})),
                    1 => ("merge", json!({"b": {"c": null}})),
                    2 => ("replace", json!({"x": w, "b": {"c": v, "d": [v]}})),
                    3 => ("delete", json!({})),
                    4 => ("merge", json!({"a": [w, v], "b": v})),
                    5 => ("merge", json!({"y": w})),
                    _ => ("merge", json!({"a": w})),
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

async fn maintenance_keeps_rows_up(db: Db) {
    declare(&db, "Car", r#""data.a":4"#, "simple").await;
    build(&db).await;
    let delete = |n: u128, id: &str| {
        event_of(n, &[json!({"entityType": "Car", "entityId": id, "operation": "delete"})])
    };
    db.apply(&[car(1, "gone", r#"{"a":"w1"}"#), car(2, "stays", r#"{"a":"w2"}"#)]).await;
    db.apply(&[delete(3, "gone")]).await;
    db.apply(&[car(4, "stays", r#"{"a":"w3"}"#)]).await;
    let later = clock(START + 10_000_000);
    prune::prune(&db.database(), Duration::from_secs(1), &later, &mut |_| {}).await.unwrap();
    assert_eq!(db.texts("SELECT entity_id FROM entity_search").await, ["stays"]);
    db.apply(&[car(5, "gone", r#"{"a":"w4"}"#)]).await;
    assert_eq!(found(&db, "w3 OR w4 OR w1").await.len(), 2);

    // a state that is not what its log says, as of a hand that wrote past the services
    let data = if db.url.starts_with("sqlite") { "data" } else { "data::text" };
    let broken = format!(
        r#"UPDATE entities SET data = '{{"a":"w9"}}' WHERE entity_id = 'stays' RETURNING {data}"#
    );
    assert_eq!(db.texts(&broken).await.len(), 1);
    let quiet = &mut |_: producer_maintenance::Progress| {};
    let summary = rebuild::rebuild(&db.database(), true, quiet).await.unwrap();
    assert_eq!(summary.repaired, 1);
    assert_eq!(found(&db, "w3").await, ["stays"]);
    every_word_is_found(&db, &definition(r#""data.a":4"#, "simple")).await;
}

/// A configuration of text search belongs to the database, and may be dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_language_that_is_gone_refuses_no_event() {
    let db = Db::postgres(unhurried).await;
    db.texts("CREATE TEXT SEARCH CONFIGURATION odd (COPY = english)").await;
    declare(&db, "Car", r#""data.a":1"#, "odd").await;
    build(&db).await;
    db.apply(&[car(1, "a", r#"{"a":"games"}"#)]).await;
    assert_eq!(found(&db, "game").await, ["a"]);
    db.texts("DROP TEXT SEARCH CONFIGURATION odd").await;
    let verdicts = db.apply(&[car(2, "b", r#"{"a":"games"}"#), car(3, "a", r#"{"b":1}"#)]).await;
    assert!(verdicts.iter().all(|verdict| verdict.is_stored()), "{verdicts:?}");
    assert!(search(&db.store).search(request("game")).await.is_err());
    declare(&db, "Car", r#""data.a":1"#, "english").await;
    build(&db).await;
    assert_eq!(found(&db, "game").await, ["a", "b"]);
}

/// Each word begins with its part's id, and PostgreSQL takes a megabyte of different words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_most_words_of_an_entity_fit_beside_the_id_of_a_late_part() {
    let db = Db::postgres(unhurried).await;
    let words =
        "SELECT length(entity_search_words(99999, 'pg_catalog.simple', text, '', '', ''))::text
        FROM (SELECT string_agg(chr(c), ' ') AS text FROM (
            SELECT generate_series(13312, 19893) UNION ALL SELECT generate_series(19968, 40956)
            UNION ALL SELECT generate_series(131072, 173782)) AS s (c)) AS t";
    assert_eq!(db.texts(words).await, ["70282"]);
}
