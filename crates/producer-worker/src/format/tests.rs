use producer_core::model::{EntryKind, Operation};
use serde_json::{Value, json};

use super::*;
use crate::config::{Part, Template, TimeUnit};
use crate::update::Cause;
use crate::update::samples::{change, change_of, entry, format, state};

const EVENT: &str = "00000000-0000-0000-0000-000000000007";

fn cloudevents() -> Formatter {
    Formatter::new(&format())
}

fn plain() -> Formatter {
    Formatter::new(&Format { form: Form::Plain, ..format() })
}

fn deleted() -> Update {
    let entry = producer_core::model::LogEntry {
        operation: Operation::Delete,
        patch: "{}".into(),
        ..entry(3)
    };
    Update { cause: Cause::Change(change_of(entry)), state: None }
}

fn left() -> Update {
    Update { cause: Cause::Left(change_of(entry(2))), state: Some(state(2)) }
}

fn snapshot() -> Update {
    Update { cause: Cause::Snapshot(state(4)), state: Some(state(4)) }
}

fn read(text: &str) -> Value {
    assert!(!text.contains('\n'), "{text}");
    serde_json::from_str(text).expect(text)
}

#[test]
fn a_cloud_event_has_the_change_with_its_state() {
    let mut update = change(2);
    // the state as it is when it is sent, not as it was read with the change
    update.state = Some(state(5));
    let event = read(&cloudevents().structured(&update));
    let token = match &update.cause {
        Cause::Change(change) => change.token_text().to_owned(),
        _ => String::new(),
    };
    let expected = json!({
        "specversion": "1.0", "id": format!("{EVENT}/0"), "source": "/producer",
        "type": "producer.entity.updated", "subject": "Order/o-1",
        "time": "2024-01-15T10:30:05.123456Z", "partitionkey": "Order/o-1",
        "sequence": "00000000000000000002", "datacontenttype": "application/json",
        "data": {
            "kind": "change", "token": token, "entityType": "Order", "entityId": "o-1", "version": 2,
            "operation": "merge", "created": false, "eventId": EVENT, "ordinal": 0,
            "eventName": "OrderPaid", "eventSource": "shop",
            "committedAt": "2024-01-15T10:30:05.123456Z", "patch": {"n": 2},
            "data": {"n": 5, "price": 1.10}, "dataVersion": 5,
        },
    });
    assert_eq!(event, expected);
    assert!(
        cloudevents().structured(&update).contains(r#""price":1.10}"#),
        "numbers stay as they are"
    );
}

#[test]
fn the_type_says_what_happened() {
    let replaced = producer_core::model::LogEntry { operation: Operation::Replace, ..entry(2) };
    let replaced = Update { cause: Cause::Change(change_of(replaced)), state: Some(state(2)) };
    for (update, cloud, plainly) in [
        (change(1), "created", "created"),
        (change(2), "updated", "updated"),
        (replaced, "replaced", "updated"),
        (deleted(), "deleted", "deleted"),
        (left(), "left", "left"),
        (snapshot(), "snapshot", "updated"),
    ] {
        let (by_cloudevents, by_plain) = (cloudevents(), plain());
        let attributes = by_cloudevents.attributes(&update);
        assert_eq!(attributes.event_type, format!("producer.entity.{cloud}"));
        let message = read(&by_plain.structured(&update));
        assert_eq!(message["event_type"], format!("order.{plainly}"));
    }
}

#[test]
fn a_template_sets_the_type_of_both_forms() {
    let template =
        Template::parse("{type}.{eventName}", &[Part::Type, Part::EventName]).expect("one");
    for form in [Form::CloudEvents, Form::Plain] {
        let formatter =
            Formatter::new(&Format { form, event_type: Some(template.clone()), ..format() });
        let message = read(&formatter.structured(&change(2)));
        let name = if form == Form::Plain { "event_type" } else { "type" };
        assert_eq!(message[name], "Order.OrderPaid");
    }
}

#[test]
fn ids_are_the_same_on_each_try_and_of_each_change_another() {
    let id = |update: &Update| cloudevents().attributes(update).id;
    assert_eq!(id(&change(2)), format!("{EVENT}/0"));
    assert_eq!(id(&snapshot()), "snapshot/Order/o-1/4");
    let detached =
        producer_core::model::LogEntry { kind: EntryKind::Detached, ordinal: -1, ..entry(2) };
    let detached = Update { cause: Cause::Change(change_of(detached)), state: None };
    assert_eq!(id(&detached), "change/Order/o-1/2");
}

#[test]
fn snapshots_and_what_left_have_the_feeds_items() {
    let data = read(&cloudevents().data(&snapshot()));
    let expected = json!({
        "kind": "snapshot", "entityType": "Order", "entityId": "o-1", "version": 4,
        "updatedAt": "2024-01-15T10:30:05.123456Z", "data": {"n": 4, "price": 1.10},
    });
    assert_eq!(data, expected);
    let data = read(&cloudevents().data(&left()));
    assert_eq!((&data["kind"], &data["data"]), (&json!("left"), &Value::Null));
}

#[test]
fn the_plain_object_has_the_state() {
    let expected = json!({
        "event_type": "order.updated", "entity_type": "Order", "entity_id": "o-1", "version": 2,
        "data": {"n": 2, "price": 1.10}, "timestamp": 1_705_314_605_123_i64,
    });
    assert_eq!(read(&plain().structured(&change(2))), expected);
    let seconds = Format { form: Form::Plain, timestamp_unit: TimeUnit::Seconds, ..format() };
    let message = read(&Formatter::new(&seconds).structured(&change(2)));
    assert_eq!(message["timestamp"], 1_705_314_605_i64);
    for gone in [deleted(), left()] {
        assert_eq!(read(&plain().structured(&gone))["data"], Value::Null);
    }
    // the entity was made again after this change had deleted it
    let made_again = Update { state: Some(state(4)), ..deleted() };
    assert_eq!(plain().data(&made_again), "null");
}

#[test]
fn fields_are_the_members_as_texts() {
    let (formatter, update) = (cloudevents(), change(2));
    let structured = read(&formatter.structured(&update));
    let fields = formatter.fields(&update);
    assert_eq!(fields.len(), structured.as_object().expect("an object").len());
    for (name, value) in fields {
        let expected = &structured[name];
        let as_json = if name == "data" { read(&value) } else { json!(value) };
        assert_eq!(&as_json, expected, "{name}");
    }
    let (formatter, update) = (plain(), deleted());
    let fields = formatter.fields(&update);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    let expected = [
        ("event_type", "order.deleted"),
        ("entity_type", "Order"),
        ("entity_id", "o-1"),
        ("version", "3"),
        ("data", "null"),
        ("timestamp", "1705314605123"),
    ];
    assert_eq!(fields, expected);
}
