use std::time::Duration;

use producer_core::{Clock, Timestamp};
use producer_maintenance::{Progress, prune};
use serde_json::json;

use super::fixture::Fixture;

fn summary(deleted: u64, checkpointed: u64, skipped: u64) -> prune::Summary {
    prune::Summary { deleted, checkpointed, skipped, ..prune::Summary::default() }
}

/// The log as `id version kind`, in order.
async fn log(fixture: &Fixture) -> String {
    fixture
        .text(fixture.sql(
            "SELECT string_agg(entity_id || version || '/' || kind, ' '
                 ORDER BY entity_id, version) FROM event_log",
            "SELECT group_concat(entity_id || version || '/' || kind, ' ')
             FROM (SELECT * FROM event_log ORDER BY entity_id, version)",
        ))
        .await
}

/// Surveys, which changes nothing, and prunes, which does what the survey found.
async fn pruned(fixture: &Fixture, year: i64) -> prune::Summary {
    let before = log(fixture).await;
    let surveyed = fixture.survey(year).await;
    assert_eq!(log(fixture).await, before);
    let pruned = fixture.prune(year).await;
    assert_eq!(surveyed, pruned);
    pruned.0
}

async fn is_clean(fixture: &Fixture) {
    let (summary, lines) = fixture.rebuild(false).await;
    assert_eq!((summary.differing, summary.unexplained), (0, 0), "{lines:?}");
}

#[tokio::test]
async fn old_entries_are_deleted_and_a_checkpoint_replaces_them() {
    for fixture in Fixture::both_migrated().await {
        for (version, year) in [(1, 2024), (2, 2025), (3, 2027), (4, 2028)] {
            let patch = format!(r#"{{"x{version}":{{"n":{version}}},"x0":null}}"#);
            fixture.row("a", version, (u128::from(version), 0, 0), year, &patch).await;
        }
        let data = r#"{"x1":{"n":1},"x2":{"n":2},"x3":{"n":3},"x4":{"n":4}}"#;
        fixture.store_at("a", 4, data, (2024, 2028)).await;
        fixture.row("young", 1, (9, 0, 0), 2028, "{}").await;
        fixture.store_at("young", 1, "{}", (2028, 2028)).await;

        assert_eq!(pruned(&fixture, 2026).await, summary(2, 1, 0));
        assert_eq!(log(&fixture).await, "a2/2 a3/0 a4/0 young1/0");
        is_clean(&fixture).await;
        assert_eq!(pruned(&fixture, 2026).await, summary(0, 0, 0), "nothing more to prune");
        assert_eq!(
            pruned(&fixture, 2029).await,
            summary(3, 2, 0),
            "a checkpoint is replaced by a later one"
        );
        assert_eq!(log(&fixture).await, "a4/2 young1/2");
        is_clean(&fixture).await;
        // and the checkpoint alone explains the state
        fixture.run("UPDATE entities SET data = '{}', version = 1 WHERE entity_id = 'a'").await;
        assert_eq!(fixture.rebuild(true).await.0.repaired, 1);
        assert_eq!(
            fixture.entity("a").await.1,
            serde_json::from_str::<serde_json::Value>(data).unwrap()
        );
    }
}

#[tokio::test]
async fn an_event_is_pruned_wholly_or_not_at_all() {
    for fixture in Fixture::both_migrated().await {
        // 1 is over a and b; 2 too, but b's clock was ahead; 3 follows on a
        fixture.row("a", 1, (1, 0, 0), 2024, r#"{"one":1}"#).await;
        fixture.row("b", 1, (1, 1, 0), 2024, r#"{"one":1}"#).await;
        fixture.row("a", 2, (2, 0, 0), 2024, r#"{"two":1}"#).await;
        fixture.row("b", 2, (2, 1, 0), 2028, r#"{"two":1}"#).await;
        fixture.row("a", 3, (3, 0, 0), 2024, r#"{"three":1}"#).await;
        fixture.row("c", 1, (3, 1, 0), 2024, r#"{"three":1}"#).await;
        fixture.store_at("a", 3, r#"{"one":1,"two":1,"three":1}"#, (2024, 2024)).await;
        fixture.store_at("b", 2, r#"{"one":1,"two":1}"#, (2024, 2028)).await;
        fixture.store_at("c", 1, r#"{"three":1}"#, (2024, 2024)).await;
        assert_eq!(pruned(&fixture, 2026).await, summary(3, 3, 0));
        assert_eq!(log(&fixture).await, "a1/2 a2/0 a3/3 b1/2 b2/0 c1/2", "a3 waits for a2");
        let rows = |uuid| format!("SELECT count(*) FROM event_log WHERE event_uuid = {uuid}");
        for (uuid, count) in [(1, "0"), (2, "2"), (3, "0")] {
            assert_eq!(fixture.text(&rows(fixture.uuid(uuid))).await, count, "event {uuid}");
        }
        is_clean(&fixture).await;
        assert_eq!(pruned(&fixture, 2029).await, summary(3, 2, 0));
        assert_eq!(log(&fixture).await, "a3/2 b2/2 c1/2");
        is_clean(&fixture).await;
    }
}

/// No uuid that a client may have chosen collides with a checkpoint's.
#[tokio::test]
async fn a_checkpoint_occupies_no_uuid() {
    for fixture in Fixture::both_migrated().await {
        fixture.row("a", 1, (1, 0, 0), 2024, "{}").await;
        fixture.store_at("a", 1, "{}", (2024, 2024)).await;
        assert_eq!(pruned(&fixture, 2026).await, summary(1, 1, 0));
        let uuid = fixture.text(fixture.sql(
            "SELECT replace(event_uuid::text, '-', '') FROM event_log",
            "SELECT lower(hex(event_uuid)) FROM event_log",
        ));
        let uuid = u128::from_str_radix(&uuid.await, 16).expect("hexadecimal");
        assert_eq!(uuid >> 76 & 0xf, 5, "version 5");
        fixture.row("b", 1, (uuid, 0, 0), 2024, "{}").await;
        fixture.row("a", 2, (uuid, 1, 0), 2024, "{}").await;
        fixture.run("DELETE FROM entities").await;
        fixture.store_at("a", 2, "{}", (2024, 2024)).await;
        fixture.store_at("b", 1, "{}", (2024, 2024)).await;
        assert_eq!(pruned(&fixture, 2026).await, summary(2, 2, 0));
        is_clean(&fixture).await;
    }
}

#[tokio::test]
async fn what_a_log_cannot_explain_is_kept() {
    for fixture in Fixture::both_migrated().await {
        fixture.row("gap", 1, (1, 0, 0), 2024, "{}").await;
        fixture.row("gap", 3, (2, 0, 0), 2024, "{}").await;
        fixture.row("gap", 4, (3, 0, 0), 2024, "{}").await;
        fixture.row("other", 1, (3, 1, 0), 2024, "{}").await;
        fixture.store("gap", 4, "{}").await;
        fixture.store("other", 1, "{}").await;
        for _ in 0..2 {
            let (found, lines) = fixture.survey(2026).await;
            assert_eq!((found, lines.clone()), fixture.prune(2026).await);
            assert_eq!(lines, ["Car gap: its log has no version 2; its entries are kept"]);
        }
        assert_eq!(log(&fixture).await, "gap1/0 gap3/0 gap4/3 other1/2");
    }
}

/// An interrupted adoption finds in the log what it has done.
#[tokio::test]
async fn adopted_rows_wait_for_the_adoptions_end() {
    for fixture in Fixture::both().await {
        let table = "CREATE TABLE car_entities (id varchar(255) PRIMARY KEY, entity_type text,
                     created_at timestamp, updated_at timestamp, data text)";
        fixture.run(table).await;
        let row = r#"('a', 'Car', '2024-01-01 10:00:00', '2024-01-01 10:00:00', '{"x":1}')"#;
        fixture.run(&format!("INSERT INTO car_entities VALUES {row}")).await;
        assert_eq!(fixture.adopt().await.0.adopted, 1);
        fixture.run("DROP VIEW car_entities").await;
        fixture.run("ALTER TABLE car_entities_adopted RENAME TO car_entities").await;
        assert_eq!(pruned(&fixture, 2026).await, summary(0, 0, 0));
        assert_eq!(fixture.adopt().await.0.adopted, 1);
        assert_eq!(pruned(&fixture, 2026).await, summary(0, 0, 0), "the adoption is not old");
        fixture.age_adopted(2024).await;
        assert_eq!(pruned(&fixture, 2026).await, summary(1, 1, 0));
        assert_eq!(fixture.entity("a").await, ("1".to_owned(), json!({"x": 1})));
        is_clean(&fixture).await;
    }
}

/// It fills a page of its own.
#[tokio::test]
async fn a_checkpoint_larger_than_a_page_is_replaced_too() {
    for fixture in Fixture::both_migrated().await {
        let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(9 << 20));
        fixture.row("a", 1, (1, 0, 0), 2024, &large).await;
        fixture.row("a", 2, (2, 0, 0), 2027, r#"{"y":1}"#).await;
        fixture.row("a", 3, (3, 0, 0), 2029, r#"{"x":1}"#).await;
        fixture.store_at("a", 3, r#"{"x":1,"y":1}"#, (2024, 2029)).await;
        assert_eq!(pruned(&fixture, 2026).await, summary(1, 1, 0));
        let again = tokio::time::timeout(Duration::from_secs(60), pruned(&fixture, 2028)).await;
        assert_eq!(again.expect("it ends"), summary(1, 1, 0));
        assert_eq!(log(&fixture).await, "a2/2 a3/0");
        is_clean(&fixture).await;
    }
}

/// More than a step's rows for one entity, more than a page of entities; by two runs at once.
#[tokio::test]
async fn a_long_log_is_pruned_in_steps_and_two_runs_exclude_each_other() {
    for fixture in Fixture::both_migrated().await {
        let time = fixture.time(2024);
        let series = |n: u32| {
            let recursive = format!(
                "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {n})
                  SELECT n FROM s) AS s"
            );
            if fixture.is_postgres() {
                format!("generate_series(1, {n}) AS s(n)")
            } else {
                recursive
            }
        };
        let uuid = fixture.sql("gen_random_uuid()", "randomblob(16)");
        let patch = fixture.sql("('{\"x\":' || n || '}')::json", "'{\"x\":' || n || '}'");
        let insert = "INSERT INTO event_log (event_uuid, ordinal, version, committed_at,
                          created, entity_type, entity_id, event_name, patch)";
        let long = format!("SELECT {uuid}, 0, n, {time}, n = 1, 'Car', 'long', 'Test', {patch}");
        fixture.run(&format!("{insert} {long} FROM {}", series(1700))).await;
        let many = format!("SELECT {uuid}, 0, 1, {time}, true, 'Car', 'one' || n, 'Test', {patch}");
        fixture.run(&format!("{insert} {many} FROM {}", series(1100))).await;
        assert_eq!(fixture.rebuild(true).await.0.repaired, 1101);

        assert_eq!(fixture.survey(2026).await.0, summary(2800, 1101, 0));
        let ((first, _), (second, _)) = tokio::join!(fixture.prune(2026), fixture.prune(2026));
        let both =
            summary(first.deleted + second.deleted, first.checkpointed + second.checkpointed, 0);
        assert!(both.checkpointed >= 1101 && both.deleted == 2800, "{first:?} {second:?}");
        assert_eq!(fixture.text("SELECT count(*) FROM event_log").await, "1101");
        is_clean(&fixture).await;
        assert_eq!(fixture.entity("long").await, ("1700".to_owned(), json!({"x": 1700})));
    }
}

/// A reader whose position lies below the floor would miss what was deleted or detached.
#[tokio::test]
async fn the_floor_is_the_highest_position_that_readers_can_no_longer_read() {
    for fixture in Fixture::both_migrated().await {
        let text = async |query| fixture.text(query).await;
        let floor = "SELECT CAST(floor AS text) FROM event_log_epoch";
        // position 1 is deleted, 3 belongs to the same event and is detached, 2 and 4 are kept
        for (id, version, uuid, ordinal, year) in
            [("a", 1, 1, 0, 2024), ("a", 2, 2, 0, 2028), ("b", 1, 1, 1, 2024), ("c", 1, 3, 0, 2028)]
        {
            fixture.row(id, version, (uuid, ordinal, 0), year, r#"{"x":1}"#).await;
        }
        fixture.rebuild(true).await;
        fixture.prune(2026).await;
        assert_eq!(text(floor).await, "3");
        fixture.prune(2026).await;
        assert_eq!(text(floor).await, "3", "nothing more is deleted");
        is_clean(&fixture).await;
    }
}

/// A run that deletes what earlier runs have made ends no token: readers never got that.
#[tokio::test]
async fn checkpoints_and_detached_updates_do_not_raise_the_floor() {
    for fixture in Fixture::both_migrated().await {
        let text = async |query| fixture.text(query).await;
        let floor = "SELECT CAST(floor AS text) FROM event_log_epoch";
        let kinds = "SELECT position || '/' || kind FROM event_log ORDER BY position";
        // 1 is deleted, and with it 3, which is behind b's young first entry, is detached
        for (id, version, uuid, ordinal, year) in [
            ("a", 1, 1, 0, 2024),
            ("b", 1, 2, 0, 2027),
            ("b", 2, 1, 1, 2024),
            ("a", 2, 3, 0, 2026),
            ("c", 1, 4, 0, 2029),
        ] {
            fixture.row(id, version, (uuid, ordinal, 0), year, r#"{"x":1}"#).await;
        }
        fixture.rebuild(true).await;
        assert_eq!(pruned(&fixture, 2025).await, summary(1, 1, 0));
        assert_eq!(fixture.lines(kinds).await, ["1/2", "2/0", "3/3", "4/0", "5/0"]);
        assert_eq!(text(floor).await, "3");
        // as if the checkpoint of an earlier release stood behind all of it
        fixture.run("UPDATE event_log SET position = 4 + position % 2 * 6 WHERE kind = 2").await;
        assert_eq!(fixture.lines(kinds).await, ["2/0", "3/3", "4/0", "5/0", "10/2"]);
        assert_eq!(pruned(&fixture, 2027).await, summary(1, 1, 0));
        assert_eq!(text(floor).await, "4", "not the checkpoint's");
        assert_eq!(fixture.lines(kinds).await, ["2/0", "3/3", "4/2", "5/0"]);
        assert_eq!(pruned(&fixture, 2028).await, summary(2, 1, 0));
        assert_eq!(text(floor).await, "4", "not the detached update's");
        assert_eq!(fixture.lines(kinds).await, ["3/2", "4/2", "5/0"]);
        is_clean(&fixture).await;
    }
}

/// The last mark up to the floor says from which time on the log is kept.
#[tokio::test]
async fn marks_below_the_floor_are_deleted_but_for_the_last() {
    for fixture in Fixture::both_migrated().await {
        for (version, year) in [(1, 2024), (2, 2025), (3, 2026), (4, 2027), (5, 2028)] {
            fixture.row("a", version, (u128::from(version), 0, 0), year, r#"{"x":1}"#).await;
            if version != 3 {
                let time = fixture.time(year);
                fixture
                    .run(&format!("INSERT INTO event_log_times VALUES ({version}, {time})"))
                    .await;
            }
        }
        fixture.rebuild(true).await;
        let marks = "SELECT CAST(position AS text) FROM event_log_times ORDER BY position";
        for (year, left) in [(2024, "1 2 4 5"), (2027, "2 4 5"), (2028, "4 5")] {
            pruned(&fixture, year).await;
            assert_eq!(fixture.lines(marks).await.join(" "), left, "{year}");
        }
    }
}

/// A position that was used again would hide the new row from a reader that is beyond it.
#[tokio::test]
async fn positions_are_not_used_again_after_pruning() {
    for fixture in Fixture::both_migrated().await {
        let highest = "SELECT CAST(max(position) AS text) FROM event_log";
        fixture.row("a", 1, (1, 0, 0), 2024, "{}").await;
        fixture.row("a", 2, (2, 0, 0), 2024, "{}").await;
        fixture.run("DELETE FROM event_log WHERE position = 2").await;
        fixture.row("a", 2, (3, 0, 0), 2024, "{}").await;
        assert_eq!(fixture.text(highest).await, "3");
    }
}

#[tokio::test]
async fn an_entry_of_an_unknown_kind_is_refused_and_not_taken_for_an_event() {
    for fixture in Fixture::both_migrated().await {
        fixture.row("a", 1, (1, 0, 9), 2024, "{}").await;
        let refused = fixture.try_rebuild().await.expect_err("an unknown kind");
        assert!(refused.to_string().contains("kind 9"), "{refused}");
        assert!(!refused.is_transient());
    }
}

#[tokio::test]
async fn progress_is_reported() {
    for fixture in Fixture::both_migrated().await {
        fixture.row("a", 1, (1, 0, 0), 2024, "{}").await;
        fixture.store("a", 1, "{}").await;
        let clock = Clock::from_fn(|| Timestamp::from_micros(1_893_456_000_000_000));
        let (age, mut progress) = (Duration::from_secs(1), Vec::new());
        let mut report = |reported| progress.push(reported);
        prune::prune(&fixture.database(), age, &clock, &mut report).await.expect("pruned");
        assert_eq!(progress, [Progress::Total(1), Progress::Done(1)]);
    }
}
