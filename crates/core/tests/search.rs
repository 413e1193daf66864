//! Full-text search on every store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

#[path = "suites/search.rs"]
mod suite;

use serde_json::json;
use suite::*;
use support::Db;
use support::search::{declare, find, load, request};
use support::types::build;

on_all!(
    books_are_found_by_their_words,
    what_an_answered_write_did_is_found,
    heavier_paths_come_first,
    words_are_found_by_their_stems,
    fragments_are_marked_and_escaped,
    facets_count_the_hits,
    facets_count_alike_with_and_without_a_filter,
    types_have_languages_of_their_own,
    what_cannot_be_searched_is_refused,
    no_text_is_too_much,
    words_of_every_script,
    a_search_that_is_declared_no_more_leaves_nothing,
);

async fn a_search_that_is_declared_no_more_leaves_nothing(db: Db) {
    let rows = async || db.texts("SELECT entity_id FROM entity_search").await.len();
    declare(&db, "Car", r#""data.t":1"#, "simple").await;
    build(&db).await;
    let documents: Vec<_> =
        (0..1500).map(|n: usize| json!({"id": n.to_string(), "t": "x"})).collect();
    load(&db, "Car", 1, &documents).await;
    assert_eq!(rows().await, 1500);
    // another language is another search
    declare(&db, "Car", r#""data.t":1"#, "english").await;
    build(&db).await;
    assert_eq!((rows().await, find(&db, request("x")).await.total.value), (1500, 1500));
    let types = support::types::types(&db.store);
    assert!(types.delete("Car", &producer_core::Precondition::None).await.unwrap());
    build(&db).await;
    assert_eq!(rows().await, 0);
    if db.url.starts_with("sqlite") {
        for table in ["simple", "english"] {
            let query = format!("SELECT CAST(id AS TEXT) FROM entity_search_{table}_docsize");
            assert_eq!(db.texts(&query).await.len(), 0, "{table}");
        }
    }
}
