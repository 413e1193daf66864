//! What `migrate down` says before it deletes, and whom it stops for.

use producer_core::store::{DatabaseSettings, Pooler, SERVICE_PING, connect};
use producer_maintenance::migrate::{self, OtherSessions, Rows, TableSize};
use producer_maintenance::{Database, MaintenanceError};
use producer_test_support::{PgBouncer, Postgres};

use crate::fixture::Fixture;

#[tokio::test]
async fn a_plan_names_steps_and_tables_with_their_rows_and_changes_nothing() {
    for fixture in Fixture::both().await {
        let database = fixture.database();
        if !fixture.is_postgres() {
            fixture.run("CREATE TABLE other (id)").await;
        }
        let plan = migrate::plan_down(&database, 0).await.expect("a plan");
        assert!(plan.steps.is_empty() && plan.tables.is_empty(), "{plan:?}");
        let record = "SELECT 1 FROM _producer_migrations";
        assert!(fixture.try_run(record).await.is_err(), "not even the record's table is made");

        migrate::up(&database).await.expect("up");
        fixture.log("a", 1, 0, "{}").await;
        fixture.log("a", 2, 0, "{}").await;
        fixture.store("a", 2, "{}").await;
        let plan = migrate::plan_down(&database, 0).await.expect("a plan");
        assert_eq!(plan.steps.len(), 1);
        for (name, rows) in [("entities", 1), ("event_log", 2)] {
            let size = TableSize { name: name.into(), rows: Rows::Exactly(rows) };
            assert!(plan.tables.contains(&size), "{size:?} in {plan:?}");
        }
        assert_eq!(plan.sessions, Vec::<String>::new());
        assert_eq!(fixture.text("SELECT count(*) FROM event_log").await, "2");
        let none = migrate::plan_down(&database, plan.steps[0].version).await.expect("a plan");
        assert!(none.steps.is_empty(), "nothing is above it");
    }
}

#[tokio::test]
async fn many_rows_are_estimated() {
    let [fixture, _] = Fixture::both_migrated().await;
    fixture
        .run(
            "INSERT INTO entities
                 (entity_type, entity_id, version, size, data, created_at, updated_at)
             SELECT 'Car', n::text, 1, 2, '{}', now(), now() FROM generate_series(1, 100001) n",
        )
        .await;
    fixture.run("UPDATE pg_class SET reltuples = -1 WHERE relname = 'entities'").await;
    let rows = async || {
        let plan = migrate::plan_down(&fixture.database(), 0).await.expect("a plan");
        plan.tables.into_iter().find(|table| table.name == "entities").map(|table| table.rows)
    };
    assert_eq!(rows().await, Some(Rows::MoreThan(100_000)));
    fixture.run("UPDATE pg_class SET reltuples = 123456 WHERE relname = 'entities'").await;
    assert_eq!(rows().await, Some(Rows::About(123_456)));
}

/// A service's store, as it is when nobody sends it anything.
#[tokio::test]
async fn a_database_in_use_is_not_reverted_unless_forced() {
    for fixture in Fixture::both_migrated().await {
        let database = fixture.database();
        let settings = DatabaseSettings { url: Some(fixture.url()), ..DatabaseSettings::default() };
        let service = connect(&settings).await.expect("a store");
        service.ping().await.expect("it is up");
        let refused = migrate::down(&database, 0, OtherSessions::Refuse).await;
        let Err(MaintenanceError::Refused(text)) = refused else { panic!("{refused:?}") };
        let who = fixture.sql(r#"application "producer", client 127.0.0.1"#, "another process");
        assert!(text.contains(who) && text.contains("--force"), "{text}");
        let plan = migrate::plan_down(&database, 0).await.expect("a plan");
        assert_eq!(plan.sessions.len(), 1, "{plan:?}");
        service.ping().await.expect("it is still up");

        service.close().await;
        migrate::down(&database, 0, OtherSessions::Refuse).await.expect("it has left");
        migrate::up(&database).await.expect("up");
        let service = connect(&settings).await.expect("a store");
        service.ping().await.expect("it is up");
        migrate::down(&database, 0, OtherSessions::Ignore).await.expect("forced");
        service.ping().await.expect_err("its tables are gone");
    }
}

#[tokio::test]
async fn sessions_are_named_through_pgbouncer_too() {
    let server = Postgres::shared();
    let bouncer = PgBouncer::before(server, &[]);
    let database = server.fresh_database().await;
    let url = bouncer.url(database.name());
    let parsed = producer_core::store::DatabaseUrl::parse(Some(&url)).expect("a URL");
    let pooled = Database::from(parsed).through(Pooler::Transaction);
    migrate::up(&pooled).await.expect("up");
    let direct =
        DatabaseSettings { url: Some(database.url().into()), ..DatabaseSettings::default() };
    let through = DatabaseSettings {
        url: Some(url),
        pooler: Pooler::Transaction,
        ..DatabaseSettings::default()
    };
    for settings in [direct, through] {
        let service = connect(&settings).await.expect("a store");
        service.ping().await.expect("it is up");
        // as a service does when nobody else asks
        let pings = async {
            loop {
                tokio::time::sleep(SERVICE_PING).await;
                service.ping().await.expect("it is still up");
            }
        };
        let refused = tokio::select! {
            refused = migrate::down(&pooled, 0, OtherSessions::Refuse) => refused,
            () = pings => unreachable!("it pings without end"),
        };
        let text = refused.expect_err("it is in use").to_string();
        assert!(text.contains(r#"application "producer""#), "{text}");
        service.close().await;
    }
    // the pooler keeps the sessions of clients that have left
    migrate::down(&pooled, 0, OtherSessions::Refuse).await.expect("nobody uses it");
}
