use serde_json::json;

use super::fixture::Fixture;

/// Entities that are broken in every way, and some that aren't.
async fn break_rows(fixture: &Fixture) {
    fixture.log("fine", 1, 0, r#"{"x":{"y":1}}"#).await;
    fixture.log("fine", 2, 0, r#"{"x":{"y":null,"z":1.0}}"#).await;
    fixture.store("fine", 2, r#"{"x":{"z":1.00}}"#).await;
    fixture.log("pruned", 7, 2, r#"{"x":1}"#).await;
    fixture.log("pruned", 8, 0, r#"{"y":1}"#).await;
    fixture.store("pruned", 8, r#"{"x":1,"y":1}"#).await;

    fixture.log("missing", 1, 0, r#"{"x":1}"#).await;
    fixture.log("other", 1, 0, r#"{"x":1}"#).await;
    fixture.store("other", 1, r#"{"x":2}"#).await;
    fixture.log("behind", 1, 0, r#"{"x":1}"#).await;
    fixture.log("behind", 2, 0, r#"{"x":2}"#).await;
    fixture.store("behind", 1, r#"{"x":1}"#).await;
    fixture.log("small", 1, 0, r#"{"x":1}"#).await;
    fixture.store("small", 1, r#"{"x":1}"#).await;
    fixture.run("UPDATE entities SET size = 1 WHERE entity_id = 'small'").await;

    fixture.store("logless", 1, r#"{"x":1}"#).await;
    fixture.log("gap", 1, 0, r#"{"x":1}"#).await;
    fixture.log("gap", 3, 0, r#"{"x":3}"#).await;
    fixture.store("gap", 3, r#"{"x":3}"#).await;
    fixture.log("short", 1, 0, r#"{"x":1}"#).await;
    fixture.store("short", 2, r#"{"x":2}"#).await;
}

#[tokio::test]
async fn differences_are_reported_and_repaired_where_the_log_explains_them() {
    for fixture in Fixture::both_migrated().await {
        break_rows(&fixture).await;
        let (found, lines) = fixture.rebuild(false).await;
        assert_eq!(
            (found.entities, found.differing, found.repaired, found.unexplained),
            (9, 4, 0, 3)
        );
        for id in ["missing", "other", "behind", "small", "logless", "gap", "short"] {
            assert!(lines.iter().any(|line| line.starts_with(&format!("Car {id}: "))), "{lines:?}");
        }
        let (repaired, _) = fixture.rebuild(true).await;
        assert_eq!((repaired.differing, repaired.repaired, repaired.unexplained), (4, 4, 3));
        assert_eq!(fixture.entity("missing").await, ("1".to_owned(), json!({"x": 1})));
        assert_eq!(fixture.entity("other").await, ("1".to_owned(), json!({"x": 1})));
        assert_eq!(fixture.entity("behind").await, ("2".to_owned(), json!({"x": 2})));
        assert_eq!(fixture.entity("gap").await, ("3".to_owned(), json!({"x": 3})), "not changed");
        assert_eq!(fixture.entity("short").await, ("2".to_owned(), json!({"x": 2})), "not changed");
        let (again, _) = fixture.rebuild(false).await;
        assert_eq!((again.differing, again.unexplained), (0, 3));
    }
}

/// More than a page of log, and an entity whose log spans pages.
#[tokio::test]
async fn a_log_of_many_pages_folds() {
    for fixture in Fixture::both_migrated().await {
        let series = fixture.sql(
            "generate_series(1, 1700) AS s(n)",
            "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1700)
              SELECT n FROM s) AS s",
        );
        let uuid = fixture.sql("gen_random_uuid()", "randomblob(16)");
        let time = fixture.sql("now()", "0");
        let patch = fixture.sql("('{\"x\":' || n || '}')::json", "'{\"x\":' || n || '}'");
        fixture
            .run(&format!(
                "INSERT INTO event_log (event_uuid, ordinal, version, committed_at, created,
                     entity_type, entity_id, event_name, patch)
                 SELECT {uuid}, 0, n, {time}, n = 1, 'Car', 'long', 'Test', {patch} FROM {series}"
            ))
            .await;
        fixture.log("next", 1, 0, r#"{"x":1}"#).await;
        assert_eq!(fixture.rebuild(true).await.0.repaired, 2);
        assert_eq!(fixture.entity("long").await, ("1700".to_owned(), json!({"x": 1700})));
        assert_eq!(fixture.entity("next").await, ("1".to_owned(), json!({"x": 1})));
    }
}

/// A time that lies behind the log is repaired; one ahead isn't, or time would run backwards for those
/// who have read it.
#[tokio::test]
async fn times_are_compared_with_the_log() {
    for fixture in Fixture::both_migrated().await {
        fixture.row("fine", 1, (1, 0, 0), 2024, "{}").await;
        fixture.row("fine", 2, (2, 0, 0), 2025, "{}").await;
        fixture.store_at("fine", 2, "{}", (2024, 2025)).await;
        fixture.row("created", 1, (3, 0, 0), 2024, "{}").await;
        fixture.store_at("created", 1, "{}", (2023, 2024)).await;
        fixture.row("updated", 1, (4, 0, 0), 2025, "{}").await;
        fixture.store_at("updated", 1, "{}", (2025, 2024)).await;
        fixture.row("ahead", 1, (5, 0, 0), 2024, r#"{"x":1}"#).await;
        fixture.store_at("ahead", 1, r#"{"x":2}"#, (2024, 2026)).await;

        let (found, lines) = fixture.rebuild(false).await;
        assert_eq!((found.entities, found.differing, found.unexplained), (4, 3, 0), "{lines:?}");
        for (id, what) in [("created", "createdAt"), ("updated", "updatedAt")] {
            let reported =
                |line: &String| line.starts_with(&format!("Car {id}: its {what} is stored"));
            assert!(lines.iter().any(reported), "{lines:?}");
        }
        assert_eq!(fixture.rebuild(true).await.0.repaired, 3);
        let years = "SELECT count(*) FROM entities WHERE entity_id = 'ahead' AND updated_at = ";
        assert_eq!(fixture.text(&format!("{years}{}", fixture.time(2026))).await, "1", "it stays");
        assert_eq!(fixture.entity("ahead").await.1, json!({"x": 1}), "its document is repaired");
        let (again, lines) = fixture.rebuild(true).await;
        assert_eq!((again.differing, again.unexplained), (0, 1));
        assert!(lines[0].starts_with("Car ahead: its updatedAt is stored"), "{lines:?}");
    }
}
