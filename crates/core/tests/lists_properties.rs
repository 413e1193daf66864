//! What holds of any list: it has what its filter says, in its order, with and without indexes, and what is
//! there all the while is in it once.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use producer_core::filter::{Facts, Filter, Scope, State};
use producer_core::model::Entity;
use producer_core::query::{Count, CountKind, ListOrder, ListRequest, OrderBy};
use producer_core::types::index_key::{EntityFacts, key};
use producer_core::types::{IndexDefinition, IndexPath};
use producer_core::{Event, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use support::lists::{Asked, ids, lists, of_type, pages};
use support::types::{build, cars, declare};
use support::{Db, START, apply_through, car, event};

on_all!(a_list_has_what_its_filter_says_in_its_order, what_is_there_all_the_while_is_listed_once,);

const INDEXES: &str =
    r#""data.a", ["data.b", "data.a"], ["data.a", "data.b", "createdAt"], "data.o.x", "updatedAt""#;

/// JSON values of all kinds, few different ones.
fn value() -> impl Strategy<Value = String> {
    let long = "x".repeat(255);
    prop_oneof![
        3 => prop_oneof![Just("0"), Just("1"), Just("1.0"), Just("-1"), Just("1e2"), Just("99.5")]
            .prop_map(str::to_owned),
        3 => prop_oneof![Just("\"\""), Just("\"a\""), Just("\"ab\""), Just("\"é\""), Just("\"b\"")]
            .prop_map(str::to_owned),
        // strings that an index does not tell apart
        1 => "[xy]{0,2}".prop_map(move |end| format!("\"{long}{end}\"")),
        1 => prop_oneof![Just("true"), Just("false"), Just("[1]"), Just("{}")].prop_map(str::to_owned),
    ]
}

/// Documents in which each of the paths is there or not.
fn document() -> impl Strategy<Value = String> {
    let member = || prop::option::weighted(0.8, value());
    (member(), member(), member()).prop_map(|(a, b, x)| {
        let x = x.map(|x| format!("{{\"x\":{x}}}"));
        let members = [("a", a), ("b", b), ("o", x)].into_iter();
        let members = members.filter_map(|(name, value)| Some(format!("\"{name}\":{}", value?)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

fn condition() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        4 => Just("data.a"), 3 => Just("data.b"), 2 => Just("data.o.x"),
    ];
    let comparison = prop_oneof![
        4 => Just("=="), 1 => Just("!="), 1 => Just("<"), 1 => Just("<="), 1 => Just(">"), 1 => Just(">="),
    ];
    let scalar = || value().prop_filter("a literal", |value| !value.starts_with(['[', '{']));
    let scalars = prop::collection::vec(scalar(), 1..4);
    prop_oneof![
        5 => (path.clone(), comparison, scalar()).prop_map(|(path, is, value)| format!("{path} {is} {value}")),
        2 => (path.clone(), scalars).prop_map(|(path, all)| format!("{path} in [{}]", all.join(","))),
        1 => (path, "[xab]{0,2}").prop_map(|(path, text)| format!("{path}.startsWith('{text}')")),
        1 => prop_oneof![
            Just("id >= '0100'"), Just("id in ['0007', '0150']"), Just("createdAt > now - duration('1h')"),
            Just("updatedAt == timestamp('2026-01-01T00:00:00Z')"), Just("version > 1"),
        ].prop_map(str::to_owned),
    ]
}

fn filter() -> impl Strategy<Value = String> {
    let conditions = prop::collection::vec(condition(), 1..4);
    (conditions, prop_oneof![4 => Just(" && "), 1 => Just(" || ")])
        .prop_map(|(conditions, joined)| conditions.join(joined))
}

fn order() -> impl Strategy<Value = Option<String>> {
    let by = prop_oneof![
        3 => Just("data.a"), 1 => Just("data.b"), 1 => Just("data.o.x"), 1 => Just("data.o"),
        1 => Just("createdAt"), 1 => Just("updatedAt"), 1 => Just("version"), 1 => Just("id"),
    ];
    let order = (by, any::<bool>())
        .prop_map(|(by, descending)| format!("{by}{}", if descending { " desc" } else { "" }));
    prop::option::of(order)
}

/// What a list of all these entities should have, in its order if it has one. Strings are ordered as in an
/// index of so many paths.
fn expected(
    entities: &[Entity],
    filter: Option<&str>,
    order: Option<&str>,
    paths: usize,
) -> Vec<String> {
    let filter = filter.map(|filter| Filter::parse(filter, Scope::Entity).unwrap());
    let order = order.map(|order| ListOrder::parse(order).unwrap());
    let mut found: Vec<_> = entities
        .iter()
        .filter(|entity| {
            let state = State {
                created_at: entity.created_at,
                updated_at: entity.updated_at,
                data: &entity.data,
            };
            let facts = Facts {
                entity_type: "Car",
                entity_id: entity.key.entity_id(),
                version: entity.version,
                state: Some(state),
                change: None,
                now: Timestamp::from_micros(START),
            };
            filter.as_ref().is_none_or(|filter| filter.matches(&facts))
        })
        .filter_map(|entity| {
            Some((sort_key(entity, order.as_ref(), paths)?, entity.key.entity_id()))
        })
        .collect();
    found.sort();
    if order.is_some_and(|order| order.descending) {
        found.reverse();
    }
    found.into_iter().map(|(_, id)| id.to_owned()).collect()
}

fn sort_key(entity: &Entity, order: Option<&ListOrder>, paths: usize) -> Option<Vec<u8>> {
    let Some(order) = order else { return Some(Vec::new()) };
    let path = match &order.by {
        OrderBy::Id => return Some(Vec::new()),
        OrderBy::Version => return Some(entity.version.to_be_bytes().into()),
        OrderBy::CreatedAt => IndexPath::CreatedAt,
        OrderBy::UpdatedAt => IndexPath::UpdatedAt,
        OrderBy::Data(path) => IndexPath::Data(path.clone()),
    };
    let Entity { created_at, updated_at, ref data, .. } = *entity;
    let facts = EntityFacts { created: created_at, updated: updated_at, data };
    // twice the same value is ordered as the value is
    key(&IndexDefinition { paths: vec![path; paths] }, facts)
}

fn asked(filter: Option<&str>, order: Option<&str>) -> ListRequest {
    let request = of_type("Car");
    let request = filter.map_or(request.clone(), |filter| request.filtered(filter));
    order.map_or(request.clone(), |order| request.ordered(order))
}

async fn a_list_has_what_its_filter_says_in_its_order(db: Db) {
    let mut runner = TestRunner::deterministic();
    let mut generated = |strategy: &dyn Fn(&mut TestRunner) -> String| strategy(&mut runner);
    let documents: Vec<String> = (0..200)
        .map(|_| generated(&|runner| document().new_tree(runner).unwrap().current()))
        .collect();
    let events: Vec<Event> =
        (1..).zip(&documents).map(|(n, document)| car(n, &format!("{n:04}"), document)).collect();
    apply_through(&mut *db.store.writer(), &events).await;
    // some are of another hour, and were updated
    let later = db.again(START - 7_200_000_000).await;
    for n in 1..20 {
        let event = car(1000 + n, &format!("{:04}", n * 9 + 300), r#"{"a":1,"b":"a","o":{"x":0}}"#);
        apply_through(&mut *later.writer(), &[event]).await;
        apply_through(&mut *db.store.writer(), &[car(2000 + n, &format!("{:04}", n * 9), "{}")])
            .await;
    }
    let cases: Vec<(Option<String>, Option<String>, u32)> = {
        let case = (prop::option::weighted(0.9, filter()), order(), 1..60_u32);
        (0..150).map(|_| case.new_tree(&mut runner).unwrap().current()).collect()
    };
    for indexes in ["", INDEXES] {
        declare(&db.store, indexes).await;
        build(&db).await;
        let (entities, lists) = (cars(&db).await, lists(&db));
        for (filter, order, size) in &cases {
            let (filter, order) = (filter.as_deref(), order.as_deref());
            let expected = |paths| expected(&entities, filter, order, paths);
            let request = asked(filter, order).sized(*size);
            let mut found = ids(&lists, request.clone()).await;
            let described = format!("{filter:?} by {order:?}, {size} with {indexes:?}");
            if order.is_none() {
                found.sort();
            }
            if found != expected(2) {
                assert_eq!(found, expected(1), "{described}");
            }
            let counted = ListRequest { count: Some(CountKind::Exact), ..request };
            let count = lists.page(counted).await.unwrap().count.unwrap();
            assert_eq!(count, Count { value: found.len() as u64, exact: true }, "{described}");
        }
    }
}

/// What writers do meanwhile to entities that are no part of the proof: they come, move, leave and come again.
async fn disturb(db: &Db, stop: &AtomicBool) {
    let store = db.again(START).await;
    let mut writer = store.writer();
    for n in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let id = format!("{:03} moves", n % 97);
        let value = n.wrapping_mul(2_654_435_761) % 1000;
        let batch: Vec<Event> = match n % 5 {
            4 => {
                let item = serde_json::json!(
                    {"entityType": "Car", "entityId": id, "operation": "delete"});
                vec![support::event_of(10_000_000 + u128::from(n), &[item])]
            }
            _ => vec![car(10_000_000 + u128::from(n), &id, &format!(r#"{{"v":{value},"w":1}}"#))],
        };
        apply_through(&mut *writer, &batch).await;
    }
}

async fn what_is_there_all_the_while_is_listed_once(db: Db) {
    let still: Vec<(String, String)> = (0..150)
        .map(|n| (format!("{n:03} stays"), format!(r#"{{"v":{},"w":1,"x":{n}}}"#, n * 7 % 50)))
        .collect();
    let updates: Vec<_> =
        still.iter().map(|(id, data)| ("Car", id.as_str(), data.as_str())).collect();
    db.apply(&[event(1, &updates)]).await;
    declare(&db.store, r#""data.v", ["data.w", "data.v"]"#).await;
    build(&db).await;
    let (lists, stop) = (lists(&db), AtomicBool::new(false));
    let read = async {
        for (filter, order) in [
            (None, None),
            (None, Some("id desc")),
            (None, Some("data.v")),
            (None, Some("data.v desc")),
            (Some("data.v >= 0"), None),
            (Some("data.w == 1"), Some("data.v")),
            (Some("data.w in [0, 1]"), Some("data.x desc")),
            (Some("data.v in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 40, 41, 42] || id != 'x'"), None),
        ] {
            for size in [1, 7, 40] {
                let mut seen = HashMap::<String, usize>::new();
                for page in pages(&lists, asked(filter, order).sized(size)).await {
                    for entity in page.entities {
                        *seen.entry(entity.key.entity_id().to_owned()).or_default() += 1;
                    }
                }
                for (id, _) in &still {
                    assert_eq!(seen.get(id), Some(&1), "{id}: {filter:?} by {order:?}, {size}");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(read, disturb(&db, &stop));
}
