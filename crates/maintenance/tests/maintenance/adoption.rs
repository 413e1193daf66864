use producer_maintenance::rebuild::Summary;
use serde_json::json;

use super::fixture::Fixture;

/// The older table in the shapes that are found.
async fn older_table(fixture: &Fixture, time: &str, data: &str) {
    fixture
        .run(&format!(
            "CREATE TABLE car_entities (id varchar(255) PRIMARY KEY, entity_type varchar(255), \
             created_at {time}, updated_at {time}, data {data})"
        ))
        .await;
}

async fn row(fixture: &Fixture, id: &str, data: &str) {
    let values = format!("'{id}', 'Car', '2024-01-01 10:00:00', '2024-01-02 10:00:00', {data}");
    fixture.run(&format!("INSERT INTO car_entities VALUES ({values})")).await;
}

#[tokio::test]
async fn rows_become_entities_with_their_times_and_a_log() {
    for (time, data) in [("timestamptz", "jsonb"), ("timestamp", "text"), ("timestamp", "json")] {
        for fixture in Fixture::both().await {
            older_table(&fixture, time, data).await;
            row(
                &fixture,
                "a",
                r#"'{"x": 9007199254740993, "gone": null, "deep": {"y": [1, null]}}'"#,
            )
            .await;
            let (summary, lines) = fixture.adopt().await;
            assert_eq!((summary.adopted, summary.skipped, lines.len()), (1, 0, 0));
            let expected = json!({"x": 9_007_199_254_740_993_u64, "deep": {"y": [1, null]}});
            assert_eq!(fixture.entity("a").await, ("1".to_owned(), expected));
            let first = fixture.sql("'2024-01-01 10:00:00+00'", "1704103200000000");
            let second = fixture.sql("'2024-01-02 10:00:00+00'", "1704189600000000");
            let times = format!(
                "SELECT count(*) FROM entities e JOIN event_log l USING (entity_type, entity_id, version)
                 WHERE e.created_at = {first} AND e.updated_at = {second} AND l.kind = 1
                   AND l.created_at = {first} AND l.committed_at = {second}
                   AND l.event_name = 'Adopted'"
            );
            assert_eq!(fixture.text(&times).await, "1", "{time} {data}");
            assert_eq!(fixture.text("SELECT count(*) FROM car_entities").await, "1", "the view");
            assert_eq!(fixture.text("SELECT count(*) FROM car_entities_adopted").await, "1");
            assert_eq!(fixture.rebuild(false).await.0, clean(1));
            assert!(!fixture.adopt().await.0.found, "a second time there is nothing to do");
        }
    }
}

fn clean(entities: u64) -> Summary {
    Summary { entities, ..Summary::default() }
}

#[tokio::test]
async fn rows_that_break_a_rule_are_listed_and_skipped() {
    for fixture in Fixture::both().await {
        older_table(&fixture, "timestamp", "text").await;
        let large = format!("'{{\"x\":\"{}\"}}'", "x".repeat(super::fixture::MAX_ENTITY_BYTES));
        let wrong = [
            ("no-json", "'{'"),
            ("list", "'[1]'"),
            ("null", "NULL"),
            ("double", r#"'{"a":1,"a":2}'"#),
            ("large", large.as_str()),
            ("..", "'{}'"),
        ];
        for (id, data) in wrong {
            row(&fixture, id, data).await;
        }
        fixture.run("INSERT INTO car_entities VALUES ('typeless', NULL, NULL, NULL, '{}')").await;
        fixture.run("INSERT INTO car_entities VALUES ('timeless', 'Car', NULL, NULL, '{}')").await;
        let (summary, lines) = fixture.adopt().await;
        assert_eq!((summary.adopted, summary.skipped), (1, 7), "{lines:?}");
        for id in wrong.map(|(id, _)| id).into_iter().chain(["typeless"]) {
            assert!(
                lines.iter().any(|line| line.starts_with(&format!("{id:?} skipped: "))),
                "{id}"
            );
        }
        assert_eq!(fixture.text("SELECT count(*) FROM car_entities_adopted").await, "8");
        assert_eq!(fixture.entity("timeless").await.0, "1");
    }
}

#[tokio::test]
async fn an_entity_that_exists_gets_what_it_lacks() {
    for fixture in Fixture::both_migrated().await {
        fixture.run("DROP VIEW car_entities").await;
        older_table(&fixture, "timestamp", "text").await;
        row(&fixture, "a", r#"'{"x": 1, "deep": {"old": 1, "both": 1}, "new": null}'"#).await;
        fixture.store("a", 1, r#"{"x":2,"deep":{"both":2}}"#).await;
        fixture.log("a", 1, 0, r#"{"x":2,"deep":{"both":2}}"#).await;
        assert_eq!(fixture.adopt().await.0.adopted, 1);
        let merged = json!({"x": 2, "deep": {"both": 2, "old": 1}});
        assert_eq!(fixture.entity("a").await, ("2".to_owned(), merged));
        assert_eq!(fixture.rebuild(false).await.0, clean(1));
    }
}

#[tokio::test]
async fn an_interrupted_adoption_continues() {
    for fixture in Fixture::both().await {
        older_table(&fixture, "timestamp", "text").await;
        let rows: Vec<_> = (0..1200)
            .map(|n| format!("('car-{n:04}', 'Car', NULL, NULL, '{{\"x\":1}}')"))
            .collect();
        fixture.run(&format!("INSERT INTO car_entities VALUES {}", rows.join(", "))).await;
        assert_eq!(fixture.adopt().await.0.adopted, 1200);
        undo_the_end(&fixture).await;
        row(&fixture, "new", r#"'{"x":1}'"#).await;
        let (summary, lines) = fixture.adopt().await;
        assert_eq!((summary.adopted, summary.skipped), (1201, 0), "{lines:?}");
        assert_eq!(fixture.text("SELECT count(*) FROM event_log").await, "1201");
        assert_eq!(fixture.rebuild(false).await.0, clean(1201));
    }
}

/// As if the end of an adoption had never come.
async fn undo_the_end(fixture: &Fixture) {
    fixture.run("DROP VIEW car_entities").await;
    fixture.run("ALTER TABLE car_entities_adopted RENAME TO car_entities").await;
}

/// What an older service changes between two passes is taken over whole, however often, while no
/// event has touched the entity.
#[tokio::test]
async fn an_entity_that_only_its_row_has_written_follows_it() {
    for fixture in Fixture::both().await {
        older_table(&fixture, "timestamp", "text").await;
        let (first, second) = (r#"{"x":1,"gone":1,"deep":{"y":1}}"#, r#"{"x":2,"deep":{"z":[1]}}"#);
        row(&fixture, "a", &format!("'{first}'")).await;
        assert_eq!(fixture.adopt().await.0.adopted, 1);
        for (version, data) in [("2", second), ("3", first), ("4", second), ("4", second)] {
            undo_the_end(&fixture).await;
            fixture.run(&format!("UPDATE car_entities SET data = '{data}'")).await;
            let (summary, lines) = fixture.adopt().await;
            assert_eq!((summary.adopted, summary.skipped), (1, 0), "{lines:?}");
            let expected: serde_json::Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(fixture.entity("a").await, (version.to_owned(), expected));
            assert_eq!(fixture.rebuild(false).await.0, clean(1));
        }
    }
}

/// What an older service wrote between an interruption and the end is not lost.
#[tokio::test]
async fn what_a_row_gained_since_it_was_adopted_is_added_once() {
    for fixture in Fixture::both().await {
        older_table(&fixture, "timestamp", "text").await;
        row(&fixture, "a", r#"'{"x":1,"gone":1,"deep":{"y":1}}'"#).await;
        assert_eq!(fixture.adopt().await.0.adopted, 1);
        // meanwhile an event removes a member
        let removed = r#"{"x":1,"deep":{"y":1}}"#;
        fixture.log("a", 2, 0, r#"{"gone":null}"#).await;
        fixture.run(&format!("UPDATE entities SET version = 2, data = '{removed}'")).await;
        for _ in 0..2 {
            undo_the_end(&fixture).await;
            let data = r#"{"x":2,"gone":1,"deep":{"y":1,"z":[1]},"new":3}"#;
            fixture.run(&format!("UPDATE car_entities SET data = '{data}'")).await;
            let (summary, lines) = fixture.adopt().await;
            assert_eq!((summary.adopted, summary.skipped), (0, 1));
            assert!(lines[0].starts_with("\"a\" skipped: it has changed"), "{lines:?}");
            let expected = json!({"x": 1, "deep": {"y": 1, "z": [1]}, "new": 3});
            assert_eq!(fixture.entity("a").await, ("3".to_owned(), expected));
            assert_eq!(fixture.rebuild(false).await.0, clean(1));
        }
    }
}

/// What an older service writes while the adoption runs waits, and is not lost in between.
#[tokio::test]
async fn older_writers_wait_for_the_end() {
    use sqlx::{Connection, Executor};
    let [fixture, _] = Fixture::both().await;
    older_table(&fixture, "timestamp", "text").await;
    row(&fixture, "a", r#"'{"x":1}'"#).await;
    // an older service in the midst of a write: the adoption has to wait for it
    let mut older = fixture.postgres().await;
    let mut write = older.begin().await.expect("begun");
    write.execute("UPDATE car_entities SET data = '{\"x\":2}'").await.expect("written");
    let adoption = fixture.adopt();
    let commit = async {
        while fixture.text("SELECT count(*) FROM pg_locks WHERE NOT granted").await == "0" {
            tokio::task::yield_now().await;
        }
        write.commit().await.expect("committed");
    };
    let ((summary, _), ()) = tokio::join!(adoption, commit);
    assert_eq!(summary.adopted, 1);
    assert_eq!(fixture.entity("a").await, ("1".to_owned(), json!({"x": 2})));
}

/// An older service that reads or writes and never ends its transaction: the adoption gives up
/// within a bound, says who it is, and goes on when it is run again. Others get past meanwhile.
#[tokio::test]
async fn an_older_service_that_keeps_the_table_is_named() {
    use sqlx::{Connection, Executor};
    let [fixture, _] = Fixture::both().await;
    older_table(&fixture, "timestamp", "text").await;
    row(&fixture, "a", r#"'{"x":1}'"#).await;
    for hold in ["UPDATE car_entities SET data = '{\"x\":2}'", "SELECT FROM car_entities"] {
        let mut older = fixture.postgres().await;
        older.execute("SET application_name = 'older-service'").await.expect("set");
        let mut transaction = older.begin().await.expect("begun");
        transaction.execute(hold).await.expect("held");
        let begun = std::time::Instant::now();
        let error = fixture.try_adopt().await.expect_err("the table is held");
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
        assert!(error.is_transient(), "{error}");
        let text = error.to_string();
        for part in ["car_entities is held by older-service (pid ", "idle in transaction", "again"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(fixture.database().has_older_table().await.expect("an answer"));
        transaction.rollback().await.expect("ended");
    }
    assert_eq!(fixture.adopt().await.0.adopted, 1);
    assert_eq!(fixture.entity("a").await, ("1".to_owned(), json!({"x": 1})));
}
