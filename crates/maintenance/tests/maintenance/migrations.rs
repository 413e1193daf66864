use std::borrow::Cow;

use producer_maintenance::{MaintenanceError, migrate};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::bench::Bench;

const FIRST: i64 = 20_261_121_000_000;

#[tokio::test]
async fn up_down_up() {
    for bench in Bench::both().await {
        let database = bench.database();
        for _ in 0..2 {
            migrate::up(&database).await.expect("up");
            migrate::up(&database).await.expect("up again does nothing");
            assert_eq!(bench.text("SELECT count(*) FROM car_entities").await, "0");
            migrate::down(&database, 0).await.expect("down");
            for relation in ["entities", "event_log", "car_entities"] {
                assert!(bench.try_run(&format!("SELECT 1 FROM {relation}")).await.is_err());
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
    let [bench, _] = Bench::both().await;
    let name = bench.text("SELECT current_database()").await;
    bench.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let up = migrate::up(&bench.database()).await.expect_err("it is read-only");
    assert!(up.may_pass(), "{up}");
    let gone = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
    for error in [MigrateError::Execute(gone()), MigrateError::ExecuteMigration(gone(), FIRST)] {
        assert!(MaintenanceError::from(error).may_pass());
    }
}

/// PostgreSQL would hand writes to a view of one table on to it, past the log.
#[tokio::test]
async fn the_view_tells_and_takes_nothing() {
    for adopted in [false, true] {
        for bench in Bench::both().await {
            if adopted {
                older_table(&bench).await;
                bench.adopt().await;
            }
            migrate::up(&bench.database()).await.expect("up");
            bench.store("a", 1, r#"{"x":1}"#).await;
            for write in [
                "UPDATE car_entities SET data = '{}' WHERE id = 'a'",
                "DELETE FROM car_entities WHERE id = 'a'",
                "INSERT INTO car_entities VALUES ('b', 'Car', '2024-01-01', '2024-01-01', '{}')",
            ] {
                let refusal = bench.try_run(write).await.expect_err(write).to_string();
                assert!(refusal.contains("view"), "{refusal}");
            }
            let told = "SELECT entity_type FROM car_entities WHERE id = 'a'";
            assert_eq!(bench.text(told).await, "Car");
            assert_eq!(bench.text("SELECT count(*) FROM entities").await, "1");
            migrate::down(&bench.database(), 0).await.expect("down");
            if bench.is_postgres() {
                let left = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'car_entities%'";
                assert_eq!(bench.text(left).await, "0");
            }
        }
    }
}

async fn older_table(bench: &Bench) {
    bench
        .run(
            "CREATE TABLE car_entities (id varchar(255) PRIMARY KEY, entity_type varchar(255), \
             created_at timestamp, updated_at timestamp, data text)",
        )
        .await;
}

#[tokio::test]
async fn down_leaves_the_older_services_table() {
    for bench in Bench::both().await {
        bench.run("CREATE TABLE car_entities (id varchar(255) PRIMARY KEY)").await;
        bench.run("INSERT INTO car_entities VALUES ('a')").await;
        migrate::up(&bench.database()).await.expect("up");
        migrate::down(&bench.database(), 0).await.expect("down");
        assert_eq!(bench.text("SELECT count(*) FROM car_entities").await, "1");
        if !bench.is_postgres() {
            assert_eq!(
                bench.text("SELECT integrity_check FROM pragma_integrity_check").await,
                "ok"
            );
        }
    }
}

#[tokio::test]
async fn any_number_may_migrate_at_once() {
    for bench in Bench::both().await {
        let database = bench.database();
        let runs = futures_util::future::join_all((0..8).map(|_| migrate::up(&database))).await;
        assert!(runs.iter().all(Result::is_ok), "{runs:?}");
        assert_eq!(bench.text("SELECT count(*) FROM _producer_migrations").await, "1");
    }
}

#[tokio::test]
async fn a_newer_releases_step_is_left_alone() {
    for bench in Bench::both_migrated().await {
        bench.run("ALTER TABLE entities ADD COLUMN later text").await;
        bench.run("ALTER TABLE event_log ADD COLUMN later text").await;
        let checksum = bench.sql("'\\x00'", "x'00'");
        bench
            .run(&format!(
                "INSERT INTO _producer_migrations (version, description, success, checksum, \
                 execution_time) VALUES (29990101000000, 'later', true, {checksum}, 0)"
            ))
            .await;
        migrate::up(&bench.database()).await.expect("this release still starts");
        let steps = migrate::status(&bench.database()).await.expect("steps");
        assert!(steps.last().is_some_and(|step| !step.known && step.description == "later"));
        let down = migrate::down(&bench.database(), 0).await;
        assert!(matches!(down, Err(MaintenanceError::Refused(_))), "{down:?}");
        bench.log("a", 1, 0, "{\"x\":1}").await;
        assert_eq!(bench.rebuild(true).await.0.repaired, 1);
    }
}

#[tokio::test]
async fn the_older_services_may_go_on_until_the_adoption() {
    for bench in Bench::both().await {
        migrate_like_the_older_services(&bench).await;
        bench
            .run("INSERT INTO car_entities VALUES ('a', 'Car', '2024-01-01 10:00:00', '2024-01-02 10:00:00', '{\"x\":1}')")
            .await;
        migrate::up(&bench.database()).await.expect("up");
        assert!(bench.database().has_older_table().await.expect("an answer"));
        migrate_like_the_older_services(&bench).await;
        bench.run("UPDATE car_entities SET entity_type = 'Car'").await;
        assert_eq!(bench.adopt().await.0.adopted, 1);
        assert_eq!(bench.text("SELECT count(*) FROM _sqlx_migrations").await, "1");
        assert!(!bench.database().has_older_table().await.expect("an answer"));
    }
}

/// What their start does: a migration numbered 1, recorded in sqlx's own table.
async fn migrate_like_the_older_services(bench: &Bench) {
    let sql = "CREATE TABLE IF NOT EXISTS car_entities (id varchar(255) PRIMARY KEY,
        entity_type varchar(255), created_at timestamp, updated_at timestamp, data text)";
    let migrator = Migrator::with_migrations(vec![Migration::new(
        1,
        Cow::Borrowed("init"),
        MigrationType::Simple,
        AssertSqlSafe(sql).into_sql_str(),
        false,
    )]);
    if bench.is_postgres() {
        migrator.run(&mut bench.postgres().await).await.expect("migrated");
    } else {
        migrator.run(&mut bench.sqlite().await).await.expect("migrated");
    }
}
