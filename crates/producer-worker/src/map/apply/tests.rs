use producer_core::Timestamp;
use toml::de::DeTable;
use uuid::Uuid;

use super::*;

const SHOP: &str = r#"map = { entityType = "Order", entityId = "/data/id", eventName = "/event_type",
    attributes = "/data", createdDate = { path = "/timestamp", unit = "s" }, omit = ["id", "secret"],
    uuid = "/uuid", actor = "/by", eventType = "/event_type",
    operation = { path = "/event_type", values = { "order.deleted" = "delete" }, else = "merge" } }"#;

fn map(text: &str) -> Map {
    let table = DeTable::parse(text).expect("TOML");
    let (_, map) = table.get_ref().iter().next().expect("a key");
    Map::parse(map, &|text| Ok(text.to_owned())).expect("a map")
}

fn event(map: &Map, body: &Body) -> Result<Event, Problem> {
    let defaults = Defaults { uuid: Uuid::from_u128(7), source: "shop" };
    map.event(body, defaults, &Clock::from_fn(|| Timestamp::from_micros(0)))
}

fn json(text: &str) -> Body {
    Body::Bytes(text.into())
}

fn fields(fields: &[(&str, &str)]) -> Body {
    Body::Fields(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

/// Where and why a message is refused.
fn broken(map: &Map, body: &Body) -> Vec<(String, String)> {
    let problem = event(map, body).expect_err("a broken rule");
    let listed = problem.violations.listed();
    listed.iter().map(|one| (one.location.pointer(), one.detail.to_string())).collect()
}

#[test]
fn fields_of_a_stream_become_an_event() {
    let body = fields(&[
        ("event_type", "order.paid"),
        ("timestamp", "1705314605.5"),
        ("data", r#"{"id":"o-1","total":1.10,"n":9007199254740993,"secret":"x","lines":[null]}"#),
    ]);
    let event = event(&map(SHOP), &body).expect("an event");
    assert_eq!((event.name(), event.event_type()), ("order.paid", Some("order.paid")));
    assert_eq!((event.uuid(), event.source()), (Uuid::from_u128(7), Some("shop")));
    assert_eq!(event.created(), Some(Timestamp::from_micros(1_705_314_605_500_000)));
    let [update] = event.updates() else { panic!("{event:?}") };
    assert_eq!((update.key().entity_type(), update.key().entity_id()), ("Order", "o-1"));
    assert_eq!(update.patch().text(), r#"{"total":1.10,"n":9007199254740993,"lines":[null]}"#);
    assert_eq!(update.operation(), Operation::Merge);
}

#[test]
fn a_json_message_becomes_an_event_with_its_own_uuid() {
    let body = json(
        r#"{"event_type":"order.made","uuid":"00000000-0000-0000-0000-000000000009","by":null,
            "timestamp":"2024-01-15T10:30:05Z","data":{"id":12345678901234567890}}"#,
    );
    let event = event(&map(SHOP), &body).expect("an event");
    assert_eq!((event.uuid(), event.actor()), (Uuid::from_u128(9), None));
    assert_eq!(event.created(), Some(Timestamp::from_micros(1_705_314_605_000_000)));
    assert_eq!(event.updates()[0].key().entity_id(), "12345678901234567890");
    assert_eq!(event.updates()[0].patch().text(), "{}");
}

#[test]
fn a_delete_takes_no_attributes() {
    for data in [r#"{"id":"o-1","total":1}"#, r#"{"id":"o-1"}"#] {
        let body = fields(&[("event_type", "order.deleted"), ("data", data)]);
        let event = event(&map(SHOP), &body).expect("an event");
        assert_eq!(event.updates()[0].operation(), Operation::Delete);
        assert_eq!(event.updates()[0].patch().text(), "{}");
    }
}

#[test]
fn broken_rules_are_located_in_the_message() {
    let required = |pointer: &str| (pointer.to_owned(), "is required".to_owned());
    let missing = ["/event_type", "/data/id", "/data"].map(required);
    let mut found = broken(&map(SHOP), &json("{}"));
    found.sort();
    let mut expected = missing.to_vec();
    expected.sort();
    assert_eq!(found, expected);

    let body = json(r#"{"event_type":"a","uuid":"x","data":{"id":1.5},"timestamp":"soon"}"#);
    let found = broken(&map(SHOP), &body);
    assert_eq!(found, [("/timestamp".to_owned(), NO_TIME.to_owned())]);
    let body = json(
        r#"{"event_type":"","uuid":"x","data":{"id":1.5,"a":{"b":1}},"timestamp":"2024-1-1"}"#,
    );
    let places: Vec<_> = broken(&map(SHOP), &body).into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, ["/uuid", "/event_type", "/timestamp", "/data/id"]);
}

#[test]
fn attributes_keep_their_rules() {
    let body = fields(&[("event_type", "a"), ("data", r#"{"id":"1","x":{"y":1e999}}"#)]);
    let found = broken(&map(SHOP), &body);
    assert_eq!(found[0].0, "/data/x/y");
    let body = json(r#"{"event_type":"a","data":[{"id":"1"}]}"#);
    let found = broken(&map(SHOP), &body);
    assert!(found.contains(&("/data".into(), "must be a JSON object".into())), "{found:?}");
}

#[test]
fn what_the_map_does_not_name_is_refused_without_an_else() {
    let choosy = map(
        r#"map = { entityType = { path = "/kind", values = { o = "Order", 7 = "Seven" } }, entityId = "/id",
            eventName = "Came", attributes = "" }"#,
    );
    let event = event(&choosy, &json(r#"{"kind":7,"id":"1"}"#)).expect("an event");
    assert_eq!(event.updates()[0].key().entity_type(), "Seven");
    assert_eq!(event.updates()[0].patch().text(), r#"{"kind":7,"id":"1"}"#);
    let refused = broken(&choosy, &json(r#"{"kind":"x","id":"1"}"#));
    assert_eq!(refused, [("/kind".to_owned(), NO_CHOICE.to_owned())]);
    let missing = broken(&choosy, &json(r#"{"id":"1"}"#));
    assert_eq!(missing, [("/kind".to_owned(), "is required".to_owned())]);
}

#[test]
fn messages_that_are_no_json_or_gone_are_refused() {
    assert!(broken(&map(SHOP), &json("order"))[0].1.starts_with("must be JSON: "));
    assert_eq!(broken(&map(SHOP), &Body::Bytes(vec![0xff]))[0].1, "must be UTF-8");
    assert!(broken(&map(SHOP), &Body::Gone).len() > 1);
    let not_json = fields(&[("event_type", "a"), ("data", "{")]);
    // it is looked at for the id and for the attributes, and reported once
    let found = broken(&map(SHOP), &not_json);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "/data");
}
