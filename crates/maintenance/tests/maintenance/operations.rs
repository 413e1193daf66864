//! What replaces and deletes leave for rebuild, prune, adopt and the view.

use producer_core::Operation::{Delete, Merge, Replace};
use producer_core::ingest::ApplyMode;
use producer_core::{Clock, Timestamp};
use producer_maintenance::migrate::{self, OtherSessions};
use producer_maintenance::prune;
use serde_json::json;

use super::fixture::{Fixture, event, second};

/// A row as [`Fixture::rows`] gives it.
fn row(id_and_version: &str, data: &str, (created, updated): (i64, i64)) -> String {
    format!("{id_and_version} {data} {} {}", second(created), second(updated))
}

/// The log as `id version/kind/operation`, in order.
async fn log(fixture: &Fixture) -> Vec<String> {
    let query = "SELECT entity_id || version || '/' || kind || '/' || operation FROM event_log
                 WHERE entity_type <> 'Last' ORDER BY entity_id, version";
    fixture.lines(query).await
}

/// One entity that was deleted and made anew, one that is deleted, and what is to be stored.
async fn histories(fixture: &Fixture) -> [String; 2] {
    let anew = [
        (2024, true, Merge, r#"{"x":1,"deep":{"a":1}}"#),
        (2025, false, Replace, r#"{"deep":{"b":1,"none":null}}"#),
        (2026, false, Delete, "{}"),
        (2027, true, Merge, r#"{"deep":{"c":1},"none":null}"#),
        (2028, false, Merge, r#"{"y":2}"#),
    ];
    fixture.history("anew", &anew).await;
    fixture
        .history("gone", &[(2024, true, Replace, r#"{"x":1}"#), (2025, false, Delete, "{}")])
        .await;
    [
        row("anew 5", r#"{"y":2,"deep":{"c":1}}"#, (2027, 2028)),
        row("gone 2 deleted", "{}", (2024, 2025)),
    ]
}

/// The stored rows, each document's members in one order.
async fn rows(fixture: &Fixture) -> Vec<String> {
    let rows = fixture.rows().await.into_iter();
    rows.map(|row| row.replace(r#"{"deep":{"c":1},"y":2}"#, r#"{"y":2,"deep":{"c":1}}"#)).collect()
}

async fn is_clean(fixture: &Fixture) {
    let (summary, lines) = fixture.rebuild(false).await;
    assert_eq!((summary.differing, summary.unexplained), (0, 0), "{lines:?}");
}

/// Surveys and prunes, which must find the same: entries deleted, checkpoints, removed entities.
async fn pruned(fixture: &Fixture, year: i64) -> [u64; 3] {
    let surveyed = fixture.survey(year).await;
    let (pruned, lines) = fixture.prune(year).await;
    assert_eq!(surveyed, (pruned, lines.clone()));
    let prune::Summary { deleted, checkpointed, removed, skipped } = pruned;
    assert_eq!(skipped, 0, "{lines:?}");
    is_clean(fixture).await;
    [deleted, checkpointed, removed]
}

#[tokio::test]
async fn the_fold_of_every_operation_is_stored() {
    for fixture in Fixture::both_migrated().await {
        let expected = histories(&fixture).await;
        assert_eq!(fixture.rebuild(true).await.0.repaired, 2);
        assert_eq!(rows(&fixture).await, expected);
        let size = "SELECT size FROM entities WHERE entity_id = 'gone'";
        assert_eq!(fixture.text(size).await, fixture.sql("2147483647", "2"));
        is_clean(&fixture).await;
    }
}

#[tokio::test]
async fn what_differs_from_the_operations_is_found_and_repaired() {
    for fixture in Fixture::both_migrated().await {
        let expected = histories(&fixture).await;
        fixture.rebuild(true).await;
        let time = fixture.time(2024);
        let created_then = format!("UPDATE entities SET created_at = {time} WHERE version = 5");
        let time = fixture.time(2025);
        let created_later = format!("UPDATE entities SET created_at = {time} WHERE version = 2");
        let mut breaks = vec![
            ("UPDATE entities SET deleted = true WHERE version = 5", "anew", "stored as deleted"),
            ("UPDATE entities SET deleted = false WHERE version = 2", "gone", "stored as existing"),
            ("UPDATE entities SET data = '{\"x\":1}' WHERE version = 2", "gone", "document"),
            ("UPDATE entities SET data = '{}' WHERE version = 5", "anew", "document"),
            (created_then.as_str(), "anew", "createdAt"),
            (created_later.as_str(), "gone", "createdAt"),
            ("UPDATE entities SET size = 1 WHERE version = 2", "gone", "size"),
            // its next version would be 1 again
            ("DELETE FROM entities WHERE version = 2", "gone", "not stored"),
        ];
        if fixture.is_postgres() {
            // the fast path would merge into it
            breaks.push(("UPDATE entities SET size = 2 WHERE version = 2", "gone", "size"));
        }
        for (break_it, id, what) in breaks {
            fixture.run(break_it).await;
            let (found, lines) = fixture.rebuild(false).await;
            assert_eq!((found.differing, found.unexplained), (1, 0), "{break_it}: {lines:?}");
            let says = lines[0].starts_with(&format!("Car {id}: ")) && lines[0].contains(what);
            assert!(says, "{break_it}: {lines:?}");
            assert_eq!(fixture.rebuild(true).await.0.repaired, 1, "{break_it}");
            assert_eq!(rows(&fixture).await, expected, "{break_it}");
            is_clean(&fixture).await;
        }
    }
}

/// Whatever is wrong in it, it was not written by a service.
#[tokio::test]
async fn a_log_that_contradicts_itself_explains_nothing() {
    for fixture in Fixture::both_migrated().await {
        let made = (2024, true, Merge, "{}");
        for (id, log, what) in [
            ("late", vec![(2024, false, Merge, "{}")], "1 of its log updates an entity"),
            ("twice", vec![made, (2024, true, Replace, "{}")], "2 of its log creates an entity"),
            ("none", vec![(2024, false, Delete, "{}")], "1 of its log deletes an entity"),
            (
                "again",
                vec![made, (2024, false, Delete, "{}"), (2024, false, Delete, "{}")],
                "3 of its log deletes an entity",
            ),
            (
                "quiet",
                vec![made, (2024, false, Delete, "{}"), (2024, false, Merge, "{}")],
                "3 of its log updates an entity",
            ),
        ] {
            fixture.history(id, &log).await;
            let version = u32::try_from(log.len()).expect("few");
            fixture.store(id, version, "{}").await;
            let (found, lines) = fixture.rebuild(true).await;
            assert_eq!((found.differing, found.unexplained), (0, 1), "{id}: {lines:?}");
            assert!(lines[0].contains(what), "{id}: {lines:?}");
            let (pruned, lines) = fixture.prune(2026).await;
            assert_eq!((pruned.deleted, pruned.skipped), (0, 1), "{id}: {lines:?}");
            assert!(lines[0].contains(what), "{id}: {lines:?}");
            fixture.run("DELETE FROM entities; DELETE FROM event_log").await;
        }
    }
}

#[tokio::test]
async fn a_checkpoint_holds_what_the_operations_before_it_made() {
    for fixture in Fixture::both_migrated().await {
        let [anew, _] = histories(&fixture).await;
        fixture.run("DELETE FROM event_log WHERE entity_id = 'gone'").await;
        fixture.rebuild(true).await;
        for (year, expected, left) in [
            (2025, [1, 1, 0], "1/2/1 2/0/1 3/0/2 4/0/0 5/0/0"),
            (2026, [1, 1, 0], "2/2/1 3/0/2 4/0/0 5/0/0"),
            (2027, [1, 1, 0], "3/2/2 4/0/0 5/0/0"),
            (2027, [0, 0, 0], "3/2/2 4/0/0 5/0/0"),
            (2028, [1, 1, 0], "4/2/1 5/0/0"),
            (2029, [1, 1, 0], "5/2/1"),
        ] {
            assert_eq!(pruned(&fixture, year).await, expected, "{year}");
            let left: Vec<_> = left.split(' ').map(|entry| format!("anew{entry}")).collect();
            assert_eq!(log(&fixture).await, left, "{year}");
            assert_eq!(rows(&fixture).await, std::slice::from_ref(&anew), "{year}");
        }
        // and the checkpoint alone explains the row
        fixture.run("DELETE FROM entities").await;
        assert_eq!(fixture.rebuild(true).await.0.repaired, 1);
        assert_eq!(rows(&fixture).await, [anew]);
    }
}

#[tokio::test]
async fn a_deleted_entity_goes_with_the_last_of_its_log() {
    for fixture in Fixture::both_migrated().await {
        histories(&fixture).await;
        fixture.rebuild(true).await;
        fixture.end_log().await;
        assert_eq!(pruned(&fixture, 2025).await, [2, 2, 0], "gone was not deleted then");
        assert_eq!(pruned(&fixture, 2026).await, [2, 1, 1]);
        assert_eq!(log(&fixture).await, ["anew2/2/1", "anew3/0/2", "anew4/0/0", "anew5/0/0"]);
        assert_eq!(fixture.rows().await.len(), 1);
        // it begins again
        fixture.history("gone", &[(2027, true, Merge, r#"{"x":2}"#)]).await;
        fixture.store_at("gone", 1, r#"{"x":2}"#, (2027, 2027)).await;
        is_clean(&fixture).await;
    }
}

/// Its checkpoint is all of its log: a run that could not remove it, since a writer had its row, left that.
#[tokio::test]
async fn a_deleted_entity_whose_log_is_a_checkpoint_goes_too() {
    for fixture in Fixture::both_migrated().await {
        fixture.history("gone", &[(2024, true, Merge, "{}"), (2025, false, Delete, "{}")]).await;
        fixture.rebuild(true).await;
        fixture.run("DELETE FROM event_log WHERE version = 1").await;
        let time = fixture.time(2024);
        fixture
            .run(&format!("UPDATE event_log SET kind = 2, ordinal = -1, created_at = {time}"))
            .await;
        fixture.end_log().await;
        is_clean(&fixture).await;
        assert_eq!(pruned(&fixture, 2025).await, [0, 0, 0], "it is not old");
        assert_eq!(pruned(&fixture, 2026).await, [0, 0, 1]);
        assert_eq!(fixture.rows().await.len() + log(&fixture).await.len(), 0);
    }
}

/// Without the last row of the log the token of a reader that has read all would be ahead of the log.
#[tokio::test]
async fn a_deleted_entity_stays_while_its_log_is_the_end_of_the_whole_log() {
    for fixture in Fixture::both_migrated().await {
        fixture.history("gone", &[(2024, true, Merge, "{}"), (2025, false, Delete, "{}")]).await;
        fixture.rebuild(true).await;
        assert_eq!(pruned(&fixture, 2026).await, [2, 1, 0]);
        assert_eq!(log(&fixture).await, ["gone2/2/2"]);
        assert_eq!(fixture.text("SELECT max(position) FROM event_log").await, "2");
        assert_eq!(pruned(&fixture, 2026).await, [0, 0, 0]);
        fixture.end_log().await;
        assert_eq!(pruned(&fixture, 2026).await, [0, 0, 1]);
        assert_eq!(fixture.rows().await.len() + log(&fixture).await.len(), 0);
        assert_eq!(fixture.text("SELECT floor FROM event_log_epoch").await, "2");
    }
}

/// One of its events has a young update elsewhere: the row stays as long as the event.
#[tokio::test]
async fn a_deleted_entity_stays_as_long_as_an_event_of_its_log() {
    for fixture in Fixture::both_migrated().await {
        fixture.history("gone", &[(2024, true, Merge, "{}"), (2024, false, Delete, "{}")]).await;
        let uuid = "SELECT event_uuid FROM event_log WHERE version = 2";
        let insert = format!(
            "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created,
                 entity_type, entity_id, event_name, patch)
             VALUES (({uuid}), 1, 1, {}, true, 'Car', 'young', 'Test', '{{}}')",
            fixture.time(2028)
        );
        fixture.run(&insert).await;
        fixture.rebuild(true).await;
        assert_eq!(pruned(&fixture, 2026).await, [1, 1, 0]);
        assert_eq!(log(&fixture).await, ["gone1/2/1", "gone2/0/2", "young1/0/0"]);
        assert_eq!(pruned(&fixture, 2029).await, [2, 1, 1]);
        assert_eq!(log(&fixture).await, ["young1/2/1"]);
    }
}

/// A detached delete and a detached replace count for their entities as before.
#[tokio::test]
async fn detached_updates_keep_their_operation() {
    for fixture in Fixture::both_migrated().await {
        let time = fixture.time(2024);
        // the events 1 and 2 begin on a, whose log is not blocked; b's first entry is young
        let rows = [
            (1, 0, "a", 1, 0, true, time.clone(), r#"{"x":1}"#),
            (2, 0, "a", 2, 1, false, time.clone(), r#"{"x":2}"#),
            (3, 0, "b", 1, 0, true, fixture.time(2028), r#"{"y":1}"#),
            (1, 1, "b", 2, 1, false, time.clone(), r#"{"z":1}"#),
            (2, 1, "b", 3, 2, false, time.clone(), "{}"),
        ];
        for (uuid, ordinal, id, version, operation, created, time, patch) in rows {
            let uuid = fixture.uuid(uuid);
            fixture
                .run(&format!(
                    "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created,
                         operation, entity_type, entity_id, event_name, patch)
                     VALUES ({uuid}, {ordinal}, {version}, {time}, {created}, {operation}, 'Car',
                         '{id}', 'Test', '{patch}')"
                ))
                .await;
        }
        fixture.rebuild(true).await;
        fixture.end_log().await;
        assert_eq!(pruned(&fixture, 2026).await, [2, 1, 0]);
        assert_eq!(log(&fixture).await, ["a2/2/1", "b1/0/0", "b2/3/1", "b3/3/2"]);
        assert_eq!(pruned(&fixture, 2029).await, [3, 0, 1]);
        assert_eq!(log(&fixture).await, ["a2/2/1"]);
    }
}

/// More than a step's rows: the checkpoints of its first steps go too.
#[tokio::test]
async fn a_long_log_of_deletes_is_pruned_in_steps() {
    for fixture in Fixture::both_migrated().await {
        let uuid = fixture.sql("gen_random_uuid()", "randomblob(16)");
        let time = fixture.time(2024);
        for (id, updates) in [("gone", 1200), ("anew", 1201)] {
            fixture
                .run(&format!(
                    "WITH RECURSIVE s(n) AS
                         (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {updates})
                     INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created,
                         operation, entity_type, entity_id, event_name, patch)
                     SELECT {uuid}, 0, n, {time}, n % 2 = 1, CASE n % 2 WHEN 0 THEN 2 ELSE 0 END,
                         'Car', '{id}', 'Test', '{{}}' FROM s"
                ))
                .await;
        }
        assert_eq!(fixture.rebuild(true).await.0.repaired, 2);
        assert_eq!(pruned(&fixture, 2026).await, [2401, 1, 1]);
        assert_eq!(log(&fixture).await, ["anew1201/2/1"]);
        assert_eq!(rows(&fixture).await, [row("anew 1201", "{}", (2024, 2024))]);
    }
}

async fn older_table(fixture: &Fixture, ids: &[&str]) {
    let table = "CREATE TABLE car_entities (id varchar(255) PRIMARY KEY, entity_type text,
                 created_at timestamp, updated_at timestamp, data text)";
    fixture.run(table).await;
    for id in ids {
        let row = format!(
            r#"('{id}', 'Car', '2024-01-01 00:00:00', '2024-01-01 00:00:00', '{{"x":1}}')"#
        );
        fixture.run(&format!("INSERT INTO car_entities VALUES {row}")).await;
    }
}

/// An event is newer than any row of the older table.
#[tokio::test]
async fn an_adoption_leaves_deleted_entities_as_they_are() {
    for fixture in Fixture::both_migrated().await {
        fixture.run("DROP VIEW car_entities").await;
        older_table(&fixture, &["gone", "new", "then-gone"]).await;
        fixture.history("gone", &[(2024, true, Merge, "{}"), (2025, false, Delete, "{}")]).await;
        fixture.rebuild(true).await;
        // its row stays, or the adoption would make it anew
        assert_eq!(pruned(&fixture, 2026).await, [2, 1, 0]);
        assert_eq!(pruned(&fixture, 2026).await, [0, 0, 0]);
        let (summary, lines) = fixture.adopt().await;
        assert_eq!((summary.adopted, summary.skipped), (2, 1));
        assert_eq!(lines, ["\"gone\" skipped: an event has deleted the entity of that key"]);
        is_clean(&fixture).await;

        // an event deletes an adopted one, and the adoption goes on
        let insert = format!(
            "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created, operation,
                 entity_type, entity_id, event_name, patch)
             VALUES ({}, 0, 2, {}, false, 2, 'Car', 'then-gone', 'Test', '{{}}')",
            fixture.uuid(9),
            fixture.time(2025)
        );
        fixture.run(&insert).await;
        fixture.rebuild(true).await;
        fixture.run("DROP VIEW car_entities").await;
        fixture.run("ALTER TABLE car_entities_adopted RENAME TO car_entities").await;
        for (change, skipped) in [("id = id", 1), (r#"data = '{"x":1,"y":1}'"#, 2)] {
            fixture.run(&format!("UPDATE car_entities SET {change} WHERE id <> 'new'")).await;
            let (summary, lines) = fixture.adopt().await;
            assert_eq!((summary.adopted, summary.skipped), (3 - skipped, skipped), "{lines:?}");
            let rows = rows(&fixture).await;
            let deleted = |id: &str| rows.contains(&row(id, "{}", (2024, 2025)));
            assert!(deleted("gone 2 deleted") && deleted("then-gone 2 deleted"), "{rows:?}");
            is_clean(&fixture).await;
            fixture.run("DROP VIEW car_entities").await;
            fixture.run("ALTER TABLE car_entities_adopted RENAME TO car_entities").await;
        }
        fixture.adopt().await;
        fixture.end_log().await;
        assert_eq!(pruned(&fixture, 2026).await, [0, 0, 1], "the adoption is not old");
        fixture.age_adopted(2024).await;
        assert_eq!(pruned(&fixture, 2026).await, [3, 1, 1]);
    }
}

#[tokio::test]
async fn an_adopted_entity_is_like_any_other() {
    for fixture in Fixture::both().await {
        older_table(&fixture, &["a"]).await;
        assert_eq!(fixture.adopt().await.0.adopted, 1);
        let store = fixture.open(Clock::from_fn(|| Timestamp::from_micros(1_800_000_000_000_000)));
        let mut writer = store.await.writer();
        let years = (1_800_000_000, 1_800_000_000);
        for (version, operation, patch, data, (created, updated)) in [
            (2, "merge", json!({"y": 1}), r#"{"x":1,"y":1}"#, (second(2024), years.1)),
            (3, "replace", json!({"z": 1}), r#"{"z":1}"#, (second(2024), years.1)),
            (4, "delete", json!({}), "deleted {}", (second(2024), years.1)),
            (5, "merge", json!({"y": 2}), r#"{"y":2}"#, years),
        ] {
            let update = event(json!([{"entityType": "Car", "entityId": "a",
                "operation": operation, "updatedAttributes": patch}]));
            let verdicts = writer.apply(&[update], ApplyMode::Normal).await.expect("applied");
            assert!(verdicts[0].is_stored(), "{verdicts:?}");
            let expected = [format!("a {version} {data} {created} {updated}")];
            assert_eq!(fixture.rows().await, expected);
            is_clean(&fixture).await;
            let seen = if operation == "delete" { "0" } else { "1" };
            assert_eq!(fixture.text("SELECT count(*) FROM car_entities").await, seen);
        }
        assert_eq!(pruned(&fixture, 2029).await, [0, 0, 0], "the adoption is not old");
        fixture.age_adopted(2025).await;
        assert_eq!(pruned(&fixture, 2026).await, [1, 1, 0]);
        assert_eq!(pruned(&fixture, 2029).await, [4, 1, 0]);
        assert_eq!(log(&fixture).await, ["a5/2/1"]);
    }
}

#[tokio::test]
async fn the_view_has_no_deleted_entity() {
    for adopted in [false, true] {
        for fixture in Fixture::both().await {
            if adopted {
                older_table(&fixture, &[]).await;
                fixture.adopt().await;
            }
            migrate::up(&fixture.database()).await.expect("up");
            histories(&fixture).await;
            fixture.rebuild(true).await;
            assert_eq!(fixture.lines("SELECT id FROM car_entities").await, ["anew"]);
            migrate::down(&fixture.database(), 0, OtherSessions::Refuse).await.expect("down");
            migrate::up(&fixture.database()).await.expect("up again");
            assert_eq!(fixture.text("SELECT count(*) FROM entities").await, "0");
        }
    }
}
