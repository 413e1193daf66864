use std::borrow::Cow;

use producer_maintenance::migrate::OtherSessions;
use producer_maintenance::{MaintenanceError, migrate};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::fixture::Fixture;

const FIRST: i64 = 20_261_121_000_000;

#[tokio::test]
async fn up_down_up() {
    for fixture in Fixture::both().await {
        let database = fixture.database();
        for _ in 0..2 {
            migrate::up(&database).await.expect("up");
            migrate::up(&database).await.expect("up again does nothing");
            assert_eq!(fixture.text("SELECT count(*) FROM car_entities").await, "0");
            migrate::down(&database, 0, OtherSessions::Refuse).await.expect("down");
            for relation in ["entities", "event_log", "car_entities"] {
                assert!(fixture.try_run(&format!("SELECT 1 FROM {relation}")).await.is_err());
            }
        }
        let steps = migrate::status(&database).await.expect("steps");
        assert!(steps.iter().all(|step| step.known && step.applied.is_none()));
        assert_eq!(steps[0].version, FIRST);
    }
}

/// A standby that is about to take over refuses to write; a transaction in the way may end.
#[tokio::test]
async fn what_passes_is_worth_another_try() {
    let [fixture, _] = Fixture::both().await;
    let name = fixture.text("SELECT current_database()").await;
    fixture.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let up = migrate::up(&fixture.database()).await.expect_err("it is read-only");
    assert!(up.is_transient(), "{up}");
    let gone = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
    for error in [MigrateError::Execute(gone()), MigrateError::ExecuteMigration(gone(), FIRST)] {
        assert!(MaintenanceError::from(error).is_transient());
    }
}

/// PostgreSQL would hand writes to a view of one table on to it, past the log.
#[tokio::test]
async fn the_view_tells_and_takes_nothing() {
    for adopted in [false, true] {
        for fixture in Fixture::both().await {
            if adopted {
                older_table(&fixture).await;
                fixture.adopt().await;
            }
            migrate::up(&fixture.database()).await.expect("up");
            fixture.store("a", 1, r#"{"x":1}"#).await;
            for write in [
                "UPDATE car_entities SET data = '{}' WHERE id = 'a'",
                "DELETE FROM car_entities WHERE id = 'a'",
                "INSERT INTO car_entities VALUES ('b', 'Car', '2024-01-01', '2024-01-01', '{}')",
            ] {
                let refusal = fixture.try_run(write).await.expect_err(write).to_string();
                assert!(refusal.contains("view"), "{refusal}");
            }
            let entity_type = "SELECT entity_type FROM car_entities WHERE id = 'a'";
            assert_eq!(fixture.text(entity_type).await, "Car");
            assert_eq!(fixture.text("SELECT count(*) FROM entities").await, "1");
            migrate::down(&fixture.database(), 0, OtherSessions::Refuse).await.expect("down");
            if fixture.is_postgres() {
                let functions = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'car_entities%'";
                assert_eq!(fixture.text(functions).await, "0");
            }
        }
    }
}

async fn older_table(fixture: &Fixture) {
    fixture
        .run(
            "CREATE TABLE car_entities (id varchar(255) PRIMARY KEY, entity_type varchar(255), \
             created_at timestamp, updated_at timestamp, data text)",
        )
        .await;
}

#[tokio::test]
async fn down_leaves_the_older_services_table() {
    for fixture in Fixture::both().await {
        fixture.run("CREATE TABLE car_entities (id varchar(255) PRIMARY KEY)").await;
        fixture.run("INSERT INTO car_entities VALUES ('a')").await;
        migrate::up(&fixture.database()).await.expect("up");
        migrate::down(&fixture.database(), 0, OtherSessions::Refuse).await.expect("down");
        assert_eq!(fixture.text("SELECT count(*) FROM car_entities").await, "1");
        if !fixture.is_postgres() {
            assert_eq!(
                fixture.text("SELECT integrity_check FROM pragma_integrity_check").await,
                "ok"
            );
        }
    }
}

#[tokio::test]
async fn any_number_may_migrate_at_once() {
    for fixture in Fixture::both().await {
        let database = fixture.database();
        let runs = futures_util::future::join_all((0..8).map(|_| migrate::up(&database))).await;
        assert!(runs.iter().all(Result::is_ok), "{runs:?}");
        assert_eq!(fixture.text("SELECT count(*) FROM _producer_migrations").await, "1");
    }
}

#[tokio::test]
async fn a_step_of_a_newer_release_is_not_touched() {
    for fixture in Fixture::both_migrated().await {
        fixture.run("ALTER TABLE entities ADD COLUMN later text").await;
        fixture.run("ALTER TABLE event_log ADD COLUMN later text").await;
        let checksum = fixture.sql("'\\x00'", "x'00'");
        fixture
            .run(&format!(
                "INSERT INTO _producer_migrations (version, description, success, checksum, \
                 execution_time) VALUES (29990101000000, 'later', true, {checksum}, 0)"
            ))
            .await;
        migrate::up(&fixture.database()).await.expect("this release still starts");
        let steps = migrate::status(&fixture.database()).await.expect("steps");
        assert!(steps.last().is_some_and(|step| !step.known && step.description == "later"));
        let down = migrate::down(&fixture.database(), 0, OtherSessions::Refuse).await;
        assert!(matches!(down, Err(MaintenanceError::Refused(_))), "{down:?}");
        fixture.log("a", 1, 0, "{\"x\":1}").await;
        assert_eq!(fixture.rebuild(true).await.0.repaired, 1);
    }
}

#[tokio::test]
async fn the_older_services_may_go_on_until_the_adoption() {
    for fixture in Fixture::both().await {
        migrate_like_the_older_services(&fixture).await;
        fixture
            .run("INSERT INTO car_entities VALUES ('a', 'Car', '2024-01-01 10:00:00', '2024-01-02 10:00:00', '{\"x\":1}')")
            .await;
        migrate::up(&fixture.database()).await.expect("up");
        assert!(fixture.database().has_older_table().await.expect("an answer"));
        migrate_like_the_older_services(&fixture).await;
        fixture.run("UPDATE car_entities SET entity_type = 'Car'").await;
        assert_eq!(fixture.adopt().await.0.adopted, 1);
        assert_eq!(fixture.text("SELECT count(*) FROM _sqlx_migrations").await, "1");
        assert!(!fixture.database().has_older_table().await.expect("an answer"));
    }
}

/// What their start does: a migration numbered 1, recorded in sqlx's own table.
async fn migrate_like_the_older_services(fixture: &Fixture) {
    let sql = "CREATE TABLE IF NOT EXISTS car_entities (id varchar(255) PRIMARY KEY,
        entity_type varchar(255), created_at timestamp, updated_at timestamp, data text)";
    let migrator = Migrator::with_migrations(vec![Migration::new(
        1,
        Cow::Borrowed("init"),
        MigrationType::Simple,
        AssertSqlSafe(sql).into_sql_str(),
        false,
    )]);
    if fixture.is_postgres() {
        migrator.run(&mut fixture.postgres().await).await.expect("migrated");
    } else {
        migrator.run(&mut fixture.sqlite().await).await.expect("migrated");
    }
}
