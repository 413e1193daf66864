//! The examples of docs/filters.md: each is a filter, and holds of the document that it is about.

use producer_core::Timestamp;
use producer_core::filter::{Facts, Filter, Scope, State};

const PAGE: &str = include_str!("../../../docs/filters.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let blocks = PAGE.split(&fence).skip(1);
    blocks.map(|rest| rest.split("```").next().expect("a block").trim()).collect()
}

#[test]
fn every_example_holds_of_a_car_or_a_book() {
    let (documents, filters) = (blocks("json"), blocks("cel"));
    let time = |text| Timestamp::from_text(text).expect("a time");
    assert_eq!((documents.len(), filters.len()), (2, 6));
    for text in filters {
        let filter = Filter::parse(text, Scope::Entity).expect(text);
        let holds = documents.iter().zip(["Car", "Book"]).any(|(data, entity_type)| {
            let created_at = time("2024-01-01T00:00:00Z");
            let state = State { created_at, updated_at: time("2024-02-01T00:00:00Z"), data };
            filter.matches(&Facts {
                entity_type,
                entity_id: "1",
                version: 1,
                state: Some(state),
                change: None,
                now: time("2024-02-01T12:00:00Z"),
            })
        });
        assert!(holds, "{text}");
    }
}
