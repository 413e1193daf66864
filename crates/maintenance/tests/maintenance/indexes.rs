//! Maintenance keeps up the indexes that are declared.

use std::sync::Arc;
use std::time::Duration;

use producer_core::Clock;
use producer_core::model::Precondition;
use producer_core::store::{DatabaseSettings, Store, connect};
use producer_core::types::{Definition, StepOutcome, TypeChange};

use super::fixture::Fixture;

const LEASE: Duration = Duration::from_secs(60);

/// Declares an index of cars over `data.x`, and builds it.
async fn declare(store: &Arc<dyn Store>) {
    publish(store, r#"{"indexes":["data.x"]}"#).await;
    build(store).await;
}

/// Declares something about cars.
pub(crate) async fn publish(store: &Arc<dyn Store>, definition: &str) {
    let definition = Definition::parse(definition).expect("a definition");
    let change = TypeChange {
        entity_type: "Car",
        definition: Some(&definition),
        precondition: &Precondition::None,
        now: Clock::system().now(),
    };
    store.change_type(change).await.expect("declared");
}

/// Builds what is declared, and drops what is declared no more.
pub(crate) async fn build(store: &Arc<dyn Store>) {
    while let Some(mut job) = store.take_job(LEASE).await.expect("a look") {
        while store.step(&mut job, LEASE).await.expect("a step") != StepOutcome::Finished {}
    }
}

pub(crate) async fn store(fixture: &Fixture) -> Arc<dyn Store> {
    let url = Some(fixture.url());
    connect(&DatabaseSettings { url, ..DatabaseSettings::default() }).await.expect("a store")
}

/// The ids that the index has, in the order of their keys.
async fn indexed(fixture: &Fixture) -> String {
    let list = fixture.sql(
        "string_agg(entity_id, ' ' ORDER BY key)",
        "group_concat(entity_id, ' ' ORDER BY key)",
    );
    fixture
        .text(&format!("SELECT coalesce({list}, '') FROM entity_index WHERE key IS NOT NULL"))
        .await
}

#[tokio::test]
async fn rebuild_writes_the_keys_of_what_it_repairs() {
    for fixture in Fixture::both_migrated().await {
        fixture.log("missing", 1, 0, r#"{"x":3}"#).await;
        fixture.log("other", 1, 0, r#"{"x":2}"#).await;
        fixture.store("other", 1, r#"{"x":4}"#).await;
        fixture.log("without", 1, 0, r#"{"y":1}"#).await;
        fixture.store("without", 1, r#"{"x":1}"#).await;
        fixture.log("fine", 1, 0, r#"{"x":1}"#).await;
        fixture.store("fine", 1, r#"{"x":1}"#).await;
        declare(&store(&fixture).await).await;
        assert_eq!(indexed(&fixture).await.split(' ').count(), 3);
        fixture.rebuild(false).await;
        assert_eq!(indexed(&fixture).await.split(' ').count(), 3);
        assert_eq!(fixture.rebuild(true).await.0.repaired, 3);
        assert_eq!(indexed(&fixture).await, "fine other missing");
    }
}

#[tokio::test]
async fn adoption_writes_the_keys_of_what_it_adopts() {
    for fixture in Fixture::both_migrated().await {
        fixture.log("there", 1, 0, r#"{"y":1}"#).await;
        fixture.store("there", 1, r#"{"y":1}"#).await;
        declare(&store(&fixture).await).await;
        assert_eq!(indexed(&fixture).await, "");
        fixture.run("DROP VIEW car_entities").await;
        fixture
            .run(
                "CREATE TABLE car_entities (id varchar(255) PRIMARY KEY, entity_type varchar(255),
                     created_at timestamp, updated_at timestamp, data text)",
            )
            .await;
        for (id, data) in
            [("b", r#"{"x":2}"#), ("a", r#"{"x":1}"#), ("there", r#"{"x":3}"#), ("n", "{}")]
        {
            let values = format!("'{id}', 'Car', '2024-01-01 10:00:00', NULL, '{data}'");
            fixture.run(&format!("INSERT INTO car_entities VALUES ({values})")).await;
        }
        assert_eq!(fixture.adopt().await.0.adopted, 4);
        assert_eq!(indexed(&fixture).await, "a b there");
    }
}
