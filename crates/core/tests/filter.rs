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
    let parsed = Filter::parse(filter, Scope::Entity).expect(filter);
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

/// Found by fuzzing.
#[test]
fn space_around_a_document_means_nothing() {
    let filter = Filter::parse("size(data) == 2", Scope::Entity).expect("a filter");
    for data in [r#"{"a":1,"b":2}"#, " \n{\"a\": 1, \"b\": 2} "] {
        assert!(filter.matches(&entity(data)), "{data:?}");
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
        ("!data.a == 1", 2, "!(data.total == 100)"),
        ("!id in ['x']", 2, "!(data.total == 100)"),
        ("(1 == data)", 7, "member"),
        ("timestamp(data) == now", 11, "member"),
        ("createdAt > now - duration('2000y')", 28, "1,000 years"),
        ("x.a == 1", 1, "nearest"),
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

/// Each text is what somebody writes who comes from SQL, JavaScript, Python or the whole of CEL.
#[test]
fn errors_say_what_to_write_instead() {
    let cases = [
        ("data.a === 1", 8, "expected =="),
        ("data.a !== 1", 8, "expected !="),
        ("data.a <> 1", 8, "expected !="),
        ("data.a = 1", 8, "expected =="),
        ("data.a => 1", 8, "expected >="),
        ("data.a =~ 'x.*'", 8, "no regular expressions"),
        ("data.a !~ 'x.*'", 8, "no regular expressions"),
        ("data.a ~ 'x.*'", 8, "no meaning"),
        ("data.a & data.b", 8, "expected &&"),
        ("data.a == 1 | data.b == 1", 13, "expected ||"),
        ("data.a == 1 And data.b == 1", 13, "expected &&"),
        ("data.a IS NULL", 8, "!has(data.total)"),
        ("data.a IS NOT NULL", 8, "!has(data.total)"),
        ("data.a == NULL", 11, "null in lower case"),
        ("data.a == None", 11, "!has(data.total)"),
        ("data.a == undefined", 11, "!has(data.total)"),
        ("data.a == True", 11, "true in lower case"),
        ("data.a LIKE '%x%'", 8, ".contains"),
        ("data.a NOT IN [1]", 8, "!(data.total in [1, 2])"),
        ("data.a contains 'x'", 8, ".contains(\"x\")"),
        ("data.a BETWEEN 1 AND 2", 8, ">= and <="),
        ("data.name.matches('^x')", 11, "no regular expressions"),
        ("matches(data.name, '^x')", 1, "no regular expressions"),
        ("data.a == /x/", 11, "no regular expressions"),
        ("data.name.length() > 3", 11, "size(data.name)"),
        ("len(data.name) > 3", 1, "size(data.name)"),
        ("data.name.startswith('x')", 11, ".startsWith"),
        ("data.name.toLowerCase() == 'x'", 11, "startsWith, endsWith"),
        ("lower(data.name) == 'x'", 1, "has, size, timestamp"),
        ("contains(data.name, 'x')", 1, "data.name.contains"),
        ("data.items[*].price > 5", 12, "data.items.exists"),
        ("data.items.0.price > 5", 12, "[0]"),
        ("data.tags.some(t, t == 'x')", 11, ".exists"),
        ("'red' in data.tags", 1, "data.tags.exists"),
        ("data.a in data.tags", 11, "data.tags.exists"),
        ("data.a in (1, 2)", 11, "expected ["),
        ("data.active", 12, "add == true"),
        ("!data.active", 13, "add == true"),
        ("data.a && data.b == 1", 8, "add == true"),
        ("true", 5, "a value alone"),
        ("has(data.a) == true", 13, "true or false by itself"),
        ("data.a == data.b == data.c", 18, "true or false by itself"),
        ("data.a + 1 > 2", 8, "no arithmetic"),
        ("data.a - 1 > 2", 8, "no arithmetic"),
        ("data.a % 2 == 0", 8, "no arithmetic"),
        ("createdAt > now + duration('1h')", 17, "no arithmetic"),
        ("createdAt > duration('1h')", 13, "behind now -"),
        ("createdAt > now - '1h'", 19, "duration(\"24h\")"),
        ("data.a > 1 ? true : false", 12, "a ? b : c"),
        ("$.a == 1", 1, "data.total"),
        ("data.größe == 1", 8, "data[\"größe\"]"),
        ("data.odd key == 1", 10, "expected"),
        ("data.a == “x”", 11, "straight quotes"),
        ("data.a == `x`", 11, "straight quotes"),
        ("data.a == 'it's'", 17, "that begins at column 16"),
        ("data.a == \"x", 13, "that begins at column 11"),
        ("data.a == '\\d'", 12, "escape"),
        ("data.a == 10kg", 13, "quotes"),
        ("data.a == .5", 11, "a value"),
        ("data.a == 01", 12, "end here"),
        ("has('data.a')", 5, "without quotes"),
        ("data.a < null", 10, "order"),
        ("eventType == 'x'", 1, "nearest"),
    ];
    let wrong = cases.into_iter().filter_map(|(filter, column, says)| {
        let error = Filter::parse(filter, Scope::Entity).expect_err(filter);
        let is_right = error.column == column
            && error.detail.starts_with("expected")
            && error.detail.contains(says);
        (!is_right).then(|| format!("{filter}: {error}\n"))
    });
    assert_eq!(wrong.collect::<String>(), "");
    let name = "x".repeat(4000);
    for text in [format!("{name} == 1"), format!("{name}(1)"), format!("data.a.{name}(1)")] {
        let error = Filter::parse(&text, Scope::Entity).expect_err("no name");
        assert!(error.detail.len() < 300, "{error}");
    }
}

/// An entity that does not exist fulfils no condition, also none that reads no state.
#[test]
fn what_does_not_exist_matches_nothing() {
    let gone = Facts { state: None, ..entity(DATA) };
    for filter in ["type == 'Car'", "version != 1", "!has(data.a)", "!(createdAt < now)"] {
        assert!(!Filter::parse(filter, Scope::Entity).expect(filter).matches(&gone), "{filter}");
    }
}

/// None of these may read a long value or a long list again for every element of a large array.
#[test]
fn a_large_document_takes_no_time_in_proportion_to_its_square() {
    let ones = format!("[{}1]", "1,".repeat(50_000));
    let (long, number) = ("y".repeat(500_000), format!("1e{}1", "0".repeat(500_000)));
    let data = format!(r#"{{"a":{ones},"s":"\n{long}","n":{number}}}"#);
    let list: Vec<_> = (2..1900).map(|i| (i % 10).to_string()).collect();
    for (filter, expected) in [
        ("data.a.exists(x, data.s.contains('z') || size(data.s) == x || data.s == x)", false),
        ("data.a.exists(x, timestamp(data.s) == timestamp(x))", false),
        ("data.a.all(x, x < data.n)", true),
        (&format!("data.a.exists(x, x in [2, {}])", list.join(",").replace('1', "2")), false),
    ] {
        let parsed = Filter::parse(filter, Scope::Entity).expect(filter);
        let started = std::time::Instant::now();
        assert_eq!(parsed.matches(&entity(&data)), expected, "{filter}");
        assert!(started.elapsed().as_secs() < 30, "{filter}: {:?}", started.elapsed());
    }
    let touches = vec![format!("touches('data{}')", ".a".repeat(60)); 25].join("&&");
    let parsed = Filter::parse(&touches, Scope::Change).expect("a filter");
    assert!(!parsed.is_touched_by(&data));
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
    let parsed = |filter| Filter::parse(filter, Scope::Change).expect(filter);
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
