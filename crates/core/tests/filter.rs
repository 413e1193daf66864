//! What filters say, and which texts are none.

use producer_core::Timestamp;
use producer_core::filter::{ChangeFacts, Facts, Filter, Scope, State};

const DATA: &str = r#"{"total": 200, "big": 9007199254740993, "price": 0.10, "name": "Ann \"A\" Ä", "tags": ["x", "y"],
    "items": [{"price": 5, "sku": "a"}, {"price": 50.5, "sku": "b"}], "odd key": {"x.y": true},
    "none": [], "at": "2024-01-15T10:30:00+01:00", "millis": 1705311000000, "nulls": [null], "o": {"a": 1}}"#;

fn time(text: &str) -> Timestamp {
    Timestamp::from_text(text).expect("a time")
}

fn entity(data: &str) -> Facts<'_> {
    let state = State {
        created_at: time("2024-01-01T00:00:00Z"),
        updated_at: time("2024-02-01T00:00:00Z"),
        data,
    };
    Facts {
        entity_type: "Car",
        entity_id: "c-1",
        version: 3,
        state: Some(state),
        change: None,
        now: time("2024-02-02T00:00:00Z"),
    }
}

fn matches(filter: &str) -> bool {
    let parsed =
        Filter::parse(filter, Scope::Entity).unwrap_or_else(|error| panic!("{filter}: {error}"));
    parsed.matches(&entity(DATA))
}

#[test]
fn what_holds() {
    for filter in [
        "data.total == 200.0",
        "data.total == 2e2 && type == 'Car'",
        "data.big > 9007199254740992",
        "data.big != 9007199254740992",
        "data.price == 0.1",
        "0.05 < data.price",
        r#"data.name == "Ann \"A\" \u00c4""#,
        "data.name.startsWith('Ann') && data.name.endsWith('Ä') && data.name.contains('\"A\"')",
        "size(data.name) == 9 && size(data.tags) == 2 && size(data.o) == 1 && size(id) == 3",
        "data[\"odd key\"][\"x.y\"] == true",
        "data.items[1].price == 50.50",
        "data.items.exists(i, i.price > 50 && i.sku == 'b')",
        "data.items.all(i, i.price >= 5)",
        "data.tags.exists(x, x in ['z', 'y'])",
        "data.none.all(x, x == 1)",
        "data.nulls.exists(x, x == null)",
        "has(data.none) && !has(data.nothing) && has(data.o.a)",
        "!(data.missing == 1) && data.missing != 1",
        "data.total != '200'",
        "data.o != data.o",
        "timestamp(data.at) == timestamp('2024-01-15T09:30:00Z')",
        "timestamp(data.millis) == timestamp(data.at)",
        "createdAt < updatedAt && version == 3",
        "updatedAt >= now - duration('24h') && createdAt < now",
        "entityId in ['c-2', 'c-1'] || false == data.total",
        "data.total in [100, 200.00]",
        "data.items[0].price < data.items[1].price",
        "size(data) == 12",
    ] {
        assert!(matches(filter), "{filter}");
    }
}

#[test]
fn what_does_not_hold() {
    for filter in [
        "data.missing == 1",
        "data.missing < 1 || data.missing >= 1",
        "data.total > '100'",
        "data.total == timestamp('2024-01-15T09:30:00Z')",
        "data.o == data.o",
        "data.tags == data.tags",
        "data.missing == data.missing",
        "data.missing.all(x, x == 1)",
        "data.total.exists(x, x == 200)",
        "data.missing == null",
        "data.total in []",
        "data.none.exists(x, x != 1)",
        "size(data.total) >= 0",
        "timestamp(data.name) < now",
        "data.items[2].price != data.x && has(data.items[2])",
    ] {
        assert!(!matches(filter), "{filter}");
    }
}

#[test]
fn what_is_no_filter_names_the_column() {
    for (filter, column, says) in [
        ("", 1, "condition"),
        ("data.a", 7, "comparison"),
        ("data.a = 1", 8, "=="),
        ("data.a == 1 AND data.b == 2", 13, "&&"),
        ("data.a == 1 or data.b == 2", 13, "||"),
        ("NOT data.a == 1", 1, "!"),
        ("version == '3'", 12, "a number"),
        ("createdAt > '2024'", 13, "a time"),
        ("id == 3", 7, "a string"),
        ("created == true", 1, "nearest is createdAt"),
        ("total == 1", 1, "data.total"),
        ("data.a == ", 11, "a value"),
        ("data.a in [1, data.b]", 15, "no names"),
        ("(data.a == 1", 13, ")"),
        ("data.a == 1)", 12, "none is open"),
        ("1 == 1", 1, "a name or a path"),
        ("data.a < null", 10, "order"),
        ("data.a == 'x", 13, "'"),
        ("data.a == '\\ud800'", 12, "surrogate"),
        ("data.a.exists(x, x.b.exists(y, y == 1))", 22, "within"),
        ("data.a.matches('x')", 8, "startsWith"),
        ("patch.a == 1", 1, "changes"),
        ("data.ä == 1", 6, ""),
        ("data == 1", 1, "member"),
        ("data[-1] == 1", 6, "index"),
        ("data.a <> 1", 8, "!="),
        ("now > 3", 1, "a name or a path"),
        ("((((((((((1 == data.a))))))))))", 10, "8 levels"),
    ] {
        let error = Filter::parse(filter, Scope::Entity).expect_err(filter);
        assert_eq!(error.column, column, "{filter}: {error}");
        assert!(error.detail.contains(says), "{filter}: {error}");
    }
    let long = format!("data.a == '{}'", "x".repeat(4096));
    assert!(Filter::parse(&long, Scope::Entity).is_err());
    let many = vec!["data.a == 1"; 33].join("||");
    assert!(Filter::parse(&many, Scope::Entity).is_err());
    for (filter, scope) in [
        ("committedAt > now", Scope::Change),
        ("data.a == 1", Scope::History),
        ("createdAt == updatedAt", Scope::History),
    ] {
        assert!(Filter::parse(filter, scope).is_err(), "{filter}");
    }
}

#[test]
fn changes_have_more_names() {
    let change = ChangeFacts {
        operation: "merge",
        is_total: false,
        created: false,
        committed_at: time("2024-02-01T00:00:00Z"),
        event_name: "Paid",
        event_type: None,
        event_source: Some("shop"),
        event_actor: None,
        patch: r#"{"total": 200, "o": {"a": null}}"#,
    };
    let facts = Facts { change: Some(change), ..entity(DATA) };
    let parsed = |filter| {
        Filter::parse(filter, Scope::Change).unwrap_or_else(|error| panic!("{filter}: {error}"))
    };
    for filter in [
        "operation == 'merge' && created == false && eventName.startsWith('P')",
        "eventSource == 'shop' && !has(eventType) && eventActor != 'x'",
        "patch.total == 200 && has(patch.o) && !has(patch.name)",
        "touches('data.o.a.b') && touches('data.o') && touches('data') && !touches('data.name')",
        "data.total == patch.total && committedAt == updatedAt",
    ] {
        assert!(parsed(filter).matches(&facts), "{filter}");
    }
    assert!(parsed("type == 'Car' && data.total == 1").reads_key_and_data_only());
    assert!(!parsed("data.total == 1 && version > 1").reads_key_and_data_only());
    assert!(!parsed("patch.total == 1").reads_key_and_data_only());
    let gone = Facts { state: None, ..facts };
    assert!(
        !parsed("!has(data.x)").matches(&gone) && parsed("operation == 'merge'").matches(&gone)
    );
    assert!(parsed("data.o.a == 1").is_touched_by(change.patch));
    assert!(!parsed("data.name == 'x'").is_touched_by(change.patch));
}
