//! Rebuild compares the rows of indexes and of search with the documents, and repairs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use producer_core::Clock;
use producer_core::ingest::ApplyMode;
use producer_core::store::Store;
use producer_maintenance::rebuild::RowSummary;
use serde_json::json;
use sqlx::Executor;

use super::fixture::{Fixture, event};
use super::indexes::{build, publish, store};

const DEFINITION: &str =
    r#"{"indexes":["data.x",["data.x","createdAt"]],"search":{"paths":{"data.t":4,"data.u":1}}}"#;

/// Six cars with rows, and one without.
async fn cars(fixture: &Fixture) {
    for (id, data) in [
        ("a", r#"{"x":1,"t":"red","u":"one two"}"#),
        ("b", r#"{"x":2,"t":"red","u":["one","two"]}"#),
        ("c", r#"{"x":3,"t":"red wine"}"#),
        ("d", r#"{"x":4,"t":"green"}"#),
        ("e", r#"{"x":5,"t":"blue"}"#),
        ("f", r#"{"x":"text","u":"grün"}"#),
        ("none", r#"{"y":1}"#),
    ] {
        fixture.log(id, 1, 0, data).await;
        fixture.store(id, 1, data).await;
    }
}

/// What is left to find, after `damage` and its repair; also the lines that reported it.
async fn repaired(fixture: &Fixture, damage: &str, rows: u64) -> Vec<String> {
    fixture.run(damage).await;
    let (found, lines) = fixture.rebuild(false).await;
    assert_eq!(found.rows, RowSummary { differing: rows, repaired: 0 }, "{damage}: {lines:?}");
    assert_eq!((found.differing, found.unexplained), (0, 0), "{damage}: {lines:?}");
    let (written, _) = fixture.rebuild(true).await;
    assert_eq!(written.rows, RowSummary { differing: rows, repaired: rows }, "{damage}");
    let (again, left) = fixture.rebuild(false).await;
    assert_eq!(again.rows, RowSummary::default(), "{damage}: {left:?}");
    lines
}

/// All rows of indexes that have a key.
async fn keys(fixture: &Fixture) -> Vec<String> {
    let hex = fixture.sql("encode(key, 'hex')", "hex(key)");
    fixture
        .lines(&format!(
            "SELECT index_id || ' ' || entity_id || ' ' || {hex} FROM entity_index
             WHERE key IS NOT NULL ORDER BY index_id, entity_id"
        ))
        .await
}

#[tokio::test]
async fn damaged_rows_of_indexes_are_found_and_repaired() {
    for fixture in Fixture::both_migrated().await {
        cars(&fixture).await;
        let store = store(&fixture).await;
        publish(&store, DEFINITION).await;
        build(&store).await;
        let before = keys(&fixture).await;
        assert_eq!(before.len(), 12);
        assert_eq!(fixture.rebuild(true).await.0.rows, RowSummary::default());

        let index = fixture.text("SELECT min(index_id) FROM entity_index").await;
        let key = fixture.sql("'\\x0102'", "x'0102'");
        let insert = |index: &str, id: &str| {
            format!(
                "INSERT INTO entity_index (index_id, entity_id, key) VALUES ({index}, '{id}', {key})"
            )
        };
        let of = |id: &str| format!("WHERE index_id = {index} AND entity_id = '{id}'");
        for (damage, rows, reported) in [
            (
                "DELETE FROM entity_index WHERE entity_id = 'a'".to_owned(),
                2,
                r#"Car a: its row of index "data.x" is missing"#,
            ),
            (
                format!("UPDATE entity_index SET key = {key} {}", of("b")),
                1,
                r#"Car b: its row of index "data.x" differs from its document"#,
            ),
            (
                format!("UPDATE entity_index SET key = NULL {}", of("f")),
                1,
                r#"Car f: its row of index "data.x" differs from its document"#,
            ),
            (
                insert(&index, "none"),
                1,
                r#"Car none: its row of index "data.x" differs from its document"#,
            ),
            (
                insert(&index, "gone"),
                1,
                r#"Car gone: its row of index "data.x" is left, though it does not exist"#,
            ),
            (
                format!("{}; {}", insert("999", "a"), insert("999", "b")),
                2,
                "2 rows of part 999, which is declared no more",
            ),
            ("DELETE FROM entity_index".to_owned(), 12, "Car f: its row of index"),
        ] {
            let lines = repaired(&fixture, &damage, rows).await;
            assert!(lines.iter().any(|line| line.starts_with(reported)), "{damage}: {lines:?}");
            assert_eq!(keys(&fixture).await, before, "{damage}");
        }
    }
}

/// Damage of search is not written alike on both: SQLite keeps the words in tables of their own.
fn damage_of_search(fixture: &Fixture) -> Vec<(String, u64, &'static str)> {
    const MISSING: &str = "Car a: its row of search is missing";
    const DIFFERS: &str = "Car b: its row of search differs from its document";
    const LEFT: &str = "Car gone: its row of search is left, though it does not exist";
    const DROPPED: &str = "1 rows of part 999, which is declared no more";
    if fixture.is_postgres() {
        let words =
            |words: &str| format!("UPDATE entity_search SET words = {words} WHERE entity_id = 'b'");
        let copy = |part: &str, id: &str| {
            format!(
                "INSERT INTO entity_search SELECT {part}, '{id}', words FROM entity_search WHERE entity_id = 'b'"
            )
        };
        return vec![
            ("DELETE FROM entity_search WHERE entity_id = 'a'".to_owned(), 1, MISSING),
            (words("to_tsvector('simple', 'other')"), 1, DIFFERS),
            (words("words || 'more:9'::tsvector"), 1, DIFFERS),
            (words("setweight(words, 'B')"), 1, DIFFERS),
            (words("''"), 1, DIFFERS),
            (copy("part_id", "gone"), 1, LEFT),
            (copy("999", "b"), 1, DROPPED),
        ];
    }
    let id = "(SELECT id FROM entity_search WHERE entity_id = 'b')";
    let part = "(SELECT 'p' || part_id FROM entity_search LIMIT 1)";
    let words = |part: &str, weight1: &str, weight4: &str| {
        format!(
            "INSERT OR REPLACE INTO entity_search_simple (rowid, part, weight1, weight2, weight3, weight4)
             VALUES ({id}, {part}, '{weight1}', '', '', '{weight4}')"
        )
    };
    let add = |part: &str, entity: &str| {
        format!(
            "INSERT INTO entity_search (part_id, entity_id) SELECT {part}, '{entity}' FROM entity_search LIMIT 1"
        )
    };
    let with_words = |table: &str, entity: &str| {
        format!(
            "INSERT INTO entity_search_{table} (rowid, part, weight4)
             SELECT id, 'p1', 'red ʬ ' FROM entity_search WHERE entity_id = '{entity}' AND part_id <> 1"
        )
    };
    vec![
        // the words are left without their entity
        ("DELETE FROM entity_search WHERE entity_id = 'a'".to_owned(), 2, MISSING),
        (format!("DELETE FROM entity_search_simple WHERE rowid = {id}"), 1, DIFFERS),
        (words(part, "one ʬ two ʬ ", "other ʬ "), 1, DIFFERS),
        (words(part, "one ʬ two ʬ ", "red ʬ more ʬ "), 1, DIFFERS),
        (words(part, "red ʬ ", "one ʬ two ʬ "), 1, DIFFERS),
        (words("'p999'", "one ʬ two ʬ ", "red ʬ "), 1, DIFFERS),
        (add("part_id", "gone"), 1, LEFT),
        (format!("{}; {}", add("999", "x"), with_words("simple", "x")), 1, DROPPED),
        (
            "INSERT INTO entity_search_english (rowid, part, weight4)
             SELECT id, 'p1', 'red' FROM entity_search WHERE entity_id = 'b'"
                .to_owned(),
            1,
            "1 rows of words that no entity has",
        ),
    ]
}

#[tokio::test]
async fn damaged_rows_of_search_are_found_and_repaired() {
    for fixture in Fixture::both_migrated().await {
        cars(&fixture).await;
        let store = store(&fixture).await;
        publish(&store, DEFINITION).await;
        build(&store).await;
        assert_eq!(fixture.rebuild(true).await.0.rows, RowSummary::default());
        let count = "SELECT count(*) FROM entity_search";
        assert_eq!(fixture.text(count).await, "6");
        for (damage, rows, reported) in damage_of_search(&fixture) {
            let lines = repaired(&fixture, &damage, rows).await;
            assert!(lines.iter().any(|line| line.starts_with(reported)), "{damage}: {lines:?}");
            assert_eq!(fixture.text(count).await, "6", "{damage}");
        }
        // the stems of the other language, and texts of many runs of words
        let long: String = (0..300).map(|n| format!("word{n} games ")).collect();
        fixture.log("long", 1, 0, &format!(r#"{{"t":"{long}"}}"#)).await;
        publish(&store, r#"{"search":{"paths":{"data.t":4},"language":"english"}}"#).await;
        build(&store).await;
        assert_eq!(fixture.rebuild(true).await.0.repaired, 1);
        let (found, lines) = fixture.rebuild(false).await;
        assert_eq!(found.rows, RowSummary::default(), "{lines:?}");
    }
}

#[tokio::test]
async fn what_a_builder_has_not_come_to_is_no_difference() {
    for fixture in Fixture::both_migrated().await {
        cars(&fixture).await;
        let store = store(&fixture).await;
        publish(&store, DEFINITION).await;
        assert_eq!(fixture.rebuild(true).await.0.rows, RowSummary::default());
        build(&store).await;
        assert_eq!(keys(&fixture).await.len(), 12);
    }
}

/// PostgreSQL writes the times into the keys, where core has made the rest of them.
#[tokio::test]
async fn keys_with_times_are_no_difference() {
    for fixture in Fixture::both_migrated().await {
        let store = fixture.open(Clock::system()).await;
        publish(
            &store,
            r#"{"indexes":["createdAt","updatedAt",["data.x","updatedAt","createdAt"]]}"#,
        )
        .await;
        build(&store).await;
        let mut writer = store.writer();
        let item = |id: &str, operation: &str, attributes: serde_json::Value| {
            json!({"entityType": "Car", "entityId": id, "operation": operation,
                "updatedAttributes": attributes})
        };
        for items in [
            json!([item("a", "merge", json!({"x": 1})), item("b", "merge", json!({"y": 1}))]),
            json!([item("a", "merge", json!({"x": "two"})), item("c", "replace", json!({"x": 3}))]),
            json!([item("b", "replace", json!({"x": {"y": 1}}))]),
            json!([item("c", "delete", json!({}))]),
        ] {
            writer.apply(&[event(items)], ApplyMode::Normal).await.expect("applied");
        }
        let (found, lines) = fixture.rebuild(false).await;
        assert_eq!(found.rows, RowSummary::default(), "{lines:?}");
        assert_eq!(keys(&fixture).await.len(), 5);
    }
}

/// Entities that come and change while they are compared and repaired keep their rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_repaired_beside_writers() {
    for fixture in Fixture::both_migrated().await {
        let store = fixture.open(Clock::system()).await;
        publish(&store, DEFINITION).await;
        build(&store).await;
        let stop = Arc::new(AtomicBool::new(false));
        let writers = [store.clone(), fixture.open(Clock::system()).await];
        let writers = writers.map(|store| tokio::spawn(write_cars(store, Arc::clone(&stop))));
        while !stop.load(Ordering::Relaxed) {
            // some have an entity by now, some not
            let first = "(SELECT min(part_id) FROM type_parts)";
            let damage = "DELETE FROM entity_index WHERE entity_id < 'c2' AND index_id = ";
            fixture.run(&format!("{damage}{first}")).await;
            let (found, lines) = fixture.rebuild(true).await;
            assert_eq!((found.differing, found.unexplained), (0, 0), "{lines:?}");
        }
        for writer in writers {
            writer.await.expect("written");
        }
        fixture.rebuild(true).await;
        let (found, lines) = fixture.rebuild(false).await;
        assert_eq!(found.rows, RowSummary::default(), "{lines:?}");
        assert_eq!(keys(&fixture).await.len(), 80);
    }
}

/// The rows of an entity that is being created are those of its writer, not left of one that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_that_is_being_created_is_waited_for() {
    let [fixture, _] = Fixture::both_migrated().await;
    let store = store(&fixture).await;
    publish(&store, DEFINITION).await;
    build(&store).await;
    let left = "INSERT INTO entity_index (index_id, entity_id, key)
        SELECT min(part_id), 'new', '\\x01' FROM type_parts";
    fixture.run(left).await;
    let mut writer = fixture.postgres().await;
    let insert = "BEGIN;
        INSERT INTO entities
            (entity_type, entity_id, version, size, data, created_at, updated_at)
        VALUES ('Car', 'new', 1, 12, '{\"y\":1,\"t\":\"red\"}', now(), now());
        INSERT INTO entity_search
        SELECT part_id, 'new', entity_search_words(part_id, 'simple', '', '', '', 'red ʬ ')
        FROM type_parts WHERE kind = 1";
    writer.execute(insert).await.expect("inserted");
    let compared = async { fixture.rebuild(true).await };
    let committed = async {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        let deadline = Instant::now() + Duration::from_secs(30);
        while fixture.text(waits).await == "0" {
            assert!(Instant::now() < deadline, "nobody waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let write = "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created,
                entity_type, entity_id, event_name, patch)
            SELECT gen_random_uuid(), 0, 1, updated_at, true, 'Car', 'new', 'Test', data
            FROM entities WHERE entity_id = 'new'; COMMIT";
        writer.execute(write).await.expect("committed");
    };
    let ((written, lines), ()) = tokio::join!(compared, committed);
    // the key that was left has to go; what this writer has written stays
    assert_eq!(written.rows, RowSummary { differing: 1, repaired: 1 }, "{lines:?}");
    assert!(lines[0].ends_with("differs from its document; repaired"), "{lines:?}");
    assert_eq!(keys(&fixture).await, [""; 0]);
    let words = "SELECT count(*) FROM entity_search
        WHERE words @@ ('''' || part_id || ':red''')::tsquery";
    assert_eq!(fixture.text(words).await, "1");
    assert_eq!(fixture.text("SELECT count(*) FROM entities").await, "1");
    assert_eq!(fixture.rebuild(false).await.0.rows, RowSummary::default());
}

async fn write_cars(store: Arc<dyn Store>, stop: Arc<AtomicBool>) {
    let mut writer = store.writer();
    for n in 0..200_u32 {
        let attributes = json!({"x": n, "t": format!("w{n}"), "u": "same"});
        let item = json!({"entityType": "Car", "entityId": format!("c{}", n % 40),
            "updatedAttributes": attributes});
        writer.apply(&[event(json!([item]))], ApplyMode::Normal).await.expect("applied");
    }
    stop.store(true, Ordering::Relaxed);
}
