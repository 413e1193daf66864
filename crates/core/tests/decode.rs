//! The door as a client meets it: what is an event, and every reason why something is none.

mod common;

use common::{clock, object, value};
use producer_core::decode::{EntityMethod, EntityRequest};
use producer_core::json::same_value;
use producer_core::{
    Condition, Event, Field, Header, Patch, Precondition, Problem, ProblemKind, decode, json,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(text: &str) -> Result<Event, Problem> {
    decode::event(text.as_bytes(), &clock())
}

fn sample() -> Value {
    json!({
        "eventHeader": {
            "uuid": "550E8400e29b41d4a716446655440000",
            "eventName": "LoanPaymentSubmitted",
            "eventType": "Loan",
            "createdDate": "2024-01-15T10:30:00Z",
            "savedDate": 1_705_314_605_000_i64
        },
        "eventBody": {"entities": [{
            "entityType": "Loan",
            "entityId": "loan-12345",
            "updatedAttributes": {"balance": 24439.75, "lastPaidDate": "2024-01-15T10:30:00Z"}
        }]}
    })
}

/// The sample with the value at `pointer` replaced by a text of JSON.
fn with(pointer: &str, text: &str) -> String {
    let mut event = sample();
    *event.pointer_mut(pointer).expect("a place of the sample") = json!("PLACE");
    event.to_string().replace("\"PLACE\"", text)
}

/// The sample without the member at `pointer`.
fn without(pointer: &str) -> String {
    let mut event = sample();
    let (parent, key) = pointer.rsplit_once('/').expect("a member");
    event.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").remove(key);
    event.to_string()
}

/// Every broken rule as `pointer detail`.
fn breaches(text: &str) -> Vec<String> {
    let problem = read(text).expect_err("a broken event");
    assert_eq!(problem.kind, ProblemKind::Validation, "{problem}");
    assert_eq!(problem.violations.count(), problem.violations.listed().len());
    let line = |v: &producer_core::Violation| format!("{} {}", v.location.pointer(), v.detail);
    problem.violations.listed().iter().map(line).collect()
}

fn assert_breaks(text: &str, expected: &[&str]) {
    assert_eq!(breaches(text), expected, "{text}");
}

#[test]
fn the_sample_is_read_whole() {
    let event = read(&serde_json::to_string_pretty(&sample()).expect("JSON")).expect("an event");
    assert_eq!(event.uuid().to_string(), "550e8400-e29b-41d4-a716-446655440000");
    assert_eq!(event.name(), "LoanPaymentSubmitted");
    assert_eq!(event.event_type(), Some("Loan"));
    assert_eq!(event.created().map(|t| t.to_string()).as_deref(), Some("2024-01-15T10:30:00Z"));
    assert_eq!(event.saved().map(|t| t.to_string()).as_deref(), Some("2024-01-15T10:30:05Z"));
    let [update] = event.updates() else { panic!("one update") };
    assert_eq!((update.key().entity_type(), update.key().entity_id()), ("Loan", "loan-12345"));
    let attributes = &sample()["eventBody"]["entities"][0]["updatedAttributes"];
    assert!(same_value(update.patch().text(), &attributes.to_string()));
    assert!(update.patch().is_flat());
}

#[test]
fn optional_fields_may_be_absent_or_null() {
    for field in ["uuid", "eventType", "createdDate", "savedDate"] {
        let pointer = format!("/eventHeader/{field}");
        for text in [with(&pointer, "null"), without(&pointer)] {
            assert!(read(&text).is_ok(), "{text}");
        }
    }
    let event = read(&without("/eventHeader/uuid")).expect("an event");
    assert_eq!(event.uuid().get_version_num(), 7);
    let event = read(&with("/eventHeader/eventType", "\"\"")).expect("an event");
    assert_eq!(event.event_type(), None);
}

#[test]
fn required_fields_may_be_neither_absent_nor_null() {
    for pointer in [
        "/eventHeader",
        "/eventHeader/eventName",
        "/eventBody",
        "/eventBody/entities",
        "/eventBody/entities/0/entityType",
        "/eventBody/entities/0/entityId",
        "/eventBody/entities/0/updatedAttributes",
    ] {
        let expected = format!("{pointer} is required");
        assert_breaks(&without(pointer), &[&expected]);
        assert_breaks(&with(pointer, "null"), &[&expected]);
    }
}

#[test]
fn a_member_with_its_name_in_grpc_is_named_where_the_right_one_is_missing() {
    assert_breaks(
        r#"{"event_header":{"event_name":"n"},"eventBody":{"entities":[
            {"entity_type":"T","entityId":"i","updated_attributes":{}},
            {"entityId":"i","updatedAttributes":{"entity_type":1}}]}}"#,
        &[
            "/eventBody/entities/0/entityType is required; found entity_type, REST uses entityType",
            "/eventBody/entities/0/updatedAttributes is required; \
             found updated_attributes, REST uses updatedAttributes",
            "/eventBody/entities/1/entityType is required",
            "/eventHeader is required; found event_header, REST uses eventHeader",
        ],
    );
    assert_breaks(
        r#"{"eventHeader":{"event_name":"n"},"event_body":{}}"#,
        &[
            "/eventHeader/eventName is required; found event_name, REST uses eventName",
            "/eventBody is required; found event_body, REST uses eventBody",
        ],
    );
    // beside the right one it is an unknown member, which is ignored
    let both = r#"{"eventHeader":{"event_name":1,"eventName":"n"},"eventBody":{"entities":[
        {"entity_id":1,"entityType":"T","entityId":"i","updatedAttributes":{}}]}}"#;
    assert!(read(both).is_ok());
}

#[test]
fn every_field_has_its_type() {
    for (pointer, other, rule) in [
        ("/eventHeader", "[]", "must be a JSON object"),
        ("/eventHeader/uuid", "1", "must be a string"),
        ("/eventHeader/eventName", "{}", "must be a string"),
        ("/eventHeader/eventType", "true", "must be a string"),
        ("/eventHeader/createdDate", "[]", "must be a string or a number"),
        ("/eventHeader/savedDate", "1.5", "must be a whole number of Unix milliseconds"),
        ("/eventBody", "\"x\"", "must be a JSON object"),
        ("/eventBody/entities", "{}", "must be a JSON array"),
        ("/eventBody/entities", "[]", "must have at least one item"),
        ("/eventBody/entities/0", "7", "must be a JSON object"),
        ("/eventBody/entities/0/entityType", "7", "must be a string"),
        ("/eventBody/entities/0/updatedAttributes", "[]", "must be a JSON object"),
    ] {
        assert_breaks(&with(pointer, other), &[&format!("{pointer} {rule}")]);
    }
    assert_breaks("[]", &[" must be a JSON object"]);
}

#[test]
fn names_and_ids_have_up_to_255_code_points() {
    for pointer in [
        "/eventHeader/eventName",
        "/eventHeader/eventType",
        "/eventBody/entities/0/entityType",
        "/eventBody/entities/0/entityId",
    ] {
        assert!(read(&with(pointer, &format!("\"{}\"", "😀".repeat(255)))).is_ok());
        let long = format!("\"{}\"", "é".repeat(256));
        let rule = format!("{pointer} must have at most 255 characters");
        assert_breaks(&with(pointer, &long), &[&rule]);
    }
    for pointer in ["/eventBody/entities/0/entityType", "/eventBody/entities/0/entityId"] {
        assert_breaks(&with(pointer, "\"\""), &[&format!("{pointer} must not be empty")]);
        assert_breaks(&with(pointer, "\".\""), &[&format!("{pointer} must not be . or ..")]);
        assert_breaks(&with(pointer, "\"\\u002e.\""), &[&format!("{pointer} must not be . or ..")]);
        assert!(read(&with(pointer, "\"...\"")).is_ok());
    }
}

#[test]
fn uuids_have_two_forms() {
    for text in [
        "{550e8400-e29b-41d4-a716-446655440000}",
        "urn:uuid:550e8400-e29b-41d4-a716-446655440000",
        "550e8400-e29b41d4-a716-4466554400000",
        "550e8400e29b41d4a71644665544000g",
        "",
    ] {
        let rule = "/eventHeader/uuid must be a UUID, hyphenated or as 32 hexadecimal digits";
        assert_breaks(&with("/eventHeader/uuid", &json!(text).to_string()), &[rule]);
    }
}

#[test]
fn a_refusal_names_the_event_where_its_uuid_is_good() {
    let refusal = |text: String| read(&text).expect_err("a broken event").event_id;
    assert!(refusal(with("/eventBody/entities", "[]")).is_some());
    assert!(refusal(without("/eventHeader/uuid").replace("loan-12345", "")).is_none());
}

#[test]
fn the_rules_for_all_json_hold_in_ignored_fields_too() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let cases = [
        (r#""a\u0000b""#.to_owned(), "", "must not contain the character U+0000"),
        (r#"{"\u0000":1}"#.to_owned(), "/\0", "must not contain the character U+0000"),
        (r#"["\ud800"]"#.to_owned(), "/0", "must not contain a lone surrogate"),
        (r#"["\ude00\ud83d"]"#.to_owned(), "/0", "must not contain a lone surrogate"),
        ("1e400".to_owned(), "", "must not need more than 400 digits when written out"),
        ("[0,-1e-400]".to_owned(), "/1", "must not need more than 400 digits when written out"),
        (r#"{"a":1,"b":2,"\u0061":3}"#.to_owned(), "/a", "must not occur twice in one object"),
        (deep(65), &"/0".repeat(64), "must not be nested deeper than 64 levels"),
    ];
    for (value, inner, rule) in cases {
        let attribute = "/eventBody/entities/0/updatedAttributes/balance";
        if !value.starts_with('[') || value.len() < 130 {
            assert_breaks(&with(attribute, &value), &[&format!("{attribute}{inner} {rule}")]);
        }
        let ignored = format!(r#"{{"x":{value},{}"#, &sample().to_string()[1..]);
        assert_breaks(&ignored, &[&format!("/x{inner} {rule}")]);
    }
}

#[test]
fn what_is_just_allowed_passes() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let attribute = "/eventBody/entities/0/updatedAttributes/balance";
    for value in ["1e399", "-1e-399", "0e999999999999", r#""\ud83d\ude00""#, &deep(63)] {
        assert!(read(&with(attribute, value)).is_ok(), "{value}");
    }
    assert!(read(&format!(r#"{{"x":{},{}"#, deep(64), &sample().to_string()[1..])).is_ok());
    assert_breaks(
        &with(attribute, &deep(64)),
        &[&format!("{attribute}{} must not be nested deeper than 64 levels", "/0".repeat(63))],
    );
}

#[test]
fn zeros_that_a_database_may_not_read_are_written_plainly() {
    let text = r#"{"a":-0.0e9999999999,"s":"0e9999999999","b":[0e12345],"c":1}"#;
    let patch = Patch::parse(text).expect("attributes");
    assert_eq!(patch.text(), r#"{"a":0,"s":"0e9999999999","b":[0],"c":1}"#);
    assert_eq!(patch.size(), patch.text().len());
}

#[test]
fn duplicate_keys_are_found_in_large_objects() {
    let members = |n: usize| (0..n).map(|i| format!("\"key{i}\":{{\"a\":1}}")).collect::<Vec<_>>();
    for n in [31, 32, 33, 34, 1000] {
        let object = members(n).join(",");
        assert!(Patch::parse(&format!("{{{object}}}")).is_ok(), "{n}");
        for repeated in [0, n / 2, n - 1] {
            let again = format!("{{{object},\"key{repeated}\":2,\"last\":{{\"b\":1,\"b\":2}}}}");
            let violations = Patch::parse(&again).expect_err("a duplicate key");
            let pointers: Vec<_> =
                violations.listed().iter().map(|v| v.location.pointer()).collect();
            assert_eq!(pointers, [format!("/key{repeated}"), "/last/b".into()], "{n}");
        }
    }
}

#[test]
fn all_breaches_are_found_in_document_order() {
    let text = r#"{"eventBody":{"entities":[{"entityId":5,"updatedAttributes":{"a":"\u0000","b":1e999},"entityType":"."},
        3,{"entityType":"T"}],"x":{"y":1,"y":2}},"eventHeader":{"eventType":1,"createdDate":"soon"}}"#;
    assert_breaks(
        text,
        &[
            "/eventBody/entities/0/entityId must be a string",
            "/eventBody/entities/0/updatedAttributes/a must not contain the character U+0000",
            "/eventBody/entities/0/updatedAttributes/b must not need more than 400 digits when written out",
            "/eventBody/entities/0/entityType must not be . or ..",
            "/eventBody/entities/1 must be a JSON object",
            "/eventBody/entities/2/entityId is required",
            "/eventBody/entities/2/updatedAttributes is required",
            "/eventBody/x/y must not occur twice in one object",
            "/eventHeader/eventType must be a string",
            "/eventHeader/createdDate must be an RFC 3339 date and time or Unix milliseconds",
            "/eventHeader/eventName is required",
        ],
    );
}

#[test]
fn places_in_a_list_that_stands_twice_are_those_of_its_own_items() {
    let text = r#"{"eventHeader":{"eventName":"n"},"eventBody":{
        "entities":[{"entityType":"T","entityId":"i","updatedAttributes":{}},{"entityType":"."}],
        "entities":[{"entityType":".","entityId":"i","updatedAttributes":{}}]}}"#;
    assert_breaks(
        text,
        &[
            "/eventBody/entities/1/entityType must not be . or ..",
            "/eventBody/entities/1/entityId is required",
            "/eventBody/entities/1/updatedAttributes is required",
            "/eventBody/entities must not occur twice in one object",
            "/eventBody/entities/0/entityType must not be . or ..",
        ],
    );
}

#[test]
fn a_hundred_breaches_are_listed_and_all_are_counted() {
    let text = format!("{{{}}}", vec!["\"a\":1"; 1000].join(","));
    let violations = Patch::parse(&text).expect_err("duplicate keys");
    assert_eq!((violations.count(), violations.listed().len()), (999, 100));
}

#[test]
fn an_event_has_up_to_1000_entities() {
    let entity = sample()["eventBody"]["entities"][0].to_string();
    let entities = |n: usize| format!("[{}]", vec![entity.as_str(); n].join(","));
    let event = read(&with("/eventBody/entities", &entities(1000))).expect("an event");
    assert_eq!(event.updates().len(), 1000);
    let rule = "/eventBody/entities must have at most 1,000 items";
    assert_breaks(&with("/eventBody/entities", &entities(1001)), &[rule]);
}

#[test]
fn a_condition_that_is_no_filter_is_malformed_with_its_column() {
    let event = |conditions: &[&str]| {
        let item = |condition: &&str| {
            let rest = r#""entityType":"T","entityId":"i","updatedAttributes":{}"#;
            format!(r#"{{"condition":{condition},{rest}}}"#)
        };
        let items: Vec<_> = conditions.iter().map(item).collect();
        with("/eventBody/entities", &format!("[{}]", items.join(",")))
    };
    let filter = read(&event(&[r#""data.n == 1 && has(data[\"\u00e9\"])""#])).expect("an event");
    let condition = filter.updates()[0].condition().map(Condition::text);
    assert_eq!(condition, Some("data.n == 1 && has(data[\"é\"])"));
    assert_eq!(read(&event(&["null"])).expect("an event").updates()[0].condition(), None);

    // it counts in the queue
    let long = format!("\"data.a == '{}'\"", "x".repeat(4000));
    let weight = |condition: &str| read(&event(&[condition])).expect("an event").weight();
    assert_eq!(weight(&long), weight("null") + long.len() - 2);

    // the text that can't be read decides the kind, and every broken rule is listed
    let problem = read(&event(&["{}", r#""data.é == 1""#, "1"])).expect_err("no filter");
    assert_eq!(problem.kind, ProblemKind::Malformed);
    let broken: Vec<_> = problem.violations.listed().iter().map(ToString::to_string).collect();
    let [object, filter, number] = broken.as_slice() else { panic!("{broken:?}") };
    assert_eq!(object, "/eventBody/entities/0/condition must be a string");
    assert!(filter.starts_with("/eventBody/entities/1/condition column 6: "), "{filter}");
    assert_eq!(number, "/eventBody/entities/2/condition must be a string");
    assert_eq!(read(&event(&["{}"])).expect_err("no text").kind, ProblemKind::Validation);

    // also where it is not listed any more, and in an array or a line
    let mut many = vec!["1"; 150];
    many.push(r#""=""#);
    let text = event(&many);
    let problem = read(&text).expect_err("no filter");
    assert_eq!((problem.kind, problem.violations.count()), (ProblemKind::Malformed, 151));
    let items = decode::events(format!("[{text}]").as_bytes(), &clock()).expect("an array");
    assert_eq!(items[0].as_ref().expect_err("no filter").kind, ProblemKind::Malformed);
    let line = decode::line(event(&["\"\""]).as_bytes(), 7, &clock()).expect_err("no filter");
    assert_eq!(line.kind, ProblemKind::Malformed);
    let place = "line 7 of the body: /eventBody/entities/0/condition column 1: expected ";
    assert!(line.detail.starts_with(place), "{line}");
}

#[test]
fn what_is_no_json_is_malformed_with_line_and_column() {
    for (text, line, column, what) in [
        ("", 1, 1, "the text ends too early"),
        ("{\"a\":1,\n \"é\": x}", 2, 7, "expected a JSON value"),
        ("{\"a\":1,}", 1, 8, "expected a key in quotes"),
        ("{\"a\" 1}", 1, 6, "expected ':'"),
        ("{\"a\":1 2}", 1, 8, "expected ',' or '}'"),
        ("{\"a\":[1 2]}", 1, 9, "expected ',' or ']'"),
        ("{\"a\":01}", 1, 7, "expected ',' or '}'"),
        ("{\"a\":1.}", 1, 8, "expected a digit"),
        ("{\"a\":\"\t\"}", 1, 7, "a control character in a string"),
        ("{\"a\":\"\\x\"}", 1, 8, "an unknown escape in a string"),
        ("{\"a\":\"\\u12g4\"}", 1, 9, "expected four hexadecimal digits"),
        ("{} {}", 1, 4, "unexpected text"),
        ("{\"a\":tru}", 1, 6, "expected a JSON value"),
        ("\u{feff}{}", 1, 1, "expected a JSON value"),
    ] {
        let problem = read(text).expect_err("no JSON");
        assert_eq!(problem.kind, ProblemKind::Malformed, "{text}");
        let place = format!("line {line} of the body, column {column}");
        assert_eq!(problem.detail, format!("{place}: not valid JSON, {what}"), "{text}");
    }
    let problem = decode::event(b"{\"a\":\n\"\xff\"}", &clock()).expect_err("no UTF-8");
    assert_eq!(problem.kind, ProblemKind::Malformed);
    let detail = "line 2 of the body, column 2: not valid JSON, the text is not UTF-8";
    assert_eq!(problem.detail, detail);
}

#[test]
fn an_array_that_is_no_json_is_malformed_with_line_and_column() {
    let text = format!("[\n  {},\n  {{\"eventHeader\" 1}}\n]", sample());
    let problem = decode::events(text.as_bytes(), &clock()).expect_err("no JSON");
    assert_eq!(problem.kind, ProblemKind::Malformed);
    assert_eq!(problem.detail, "line 3 of the body, column 18: not valid JSON, expected ':'");
}

#[test]
fn every_problem_of_a_line_names_it() {
    let detail = |text: &[u8]| decode::line(text, 7, &clock()).expect_err("no event").detail;
    assert_eq!(detail(b"{\"a\" 1}"), "line 7 of the body, column 6: not valid JSON, expected ':'");
    let not_utf8 = "line 7 of the body, column 3: not valid JSON, the text is not UTF-8";
    assert_eq!(detail(b" \"\xff\""), not_utf8);
    assert_eq!(detail(b"7"), "line 7 of the body: the value must be a JSON object");
}

#[test]
fn places_stay_small_whatever_the_keys_are() {
    let key = "k".repeat(100_000);
    let text = format!("{{\"{key}\":{{\"{key}\":1,\"{key}\":2}}}}");
    let violations = Patch::parse(&text).expect_err("a duplicate key");
    assert!(violations.listed()[0].location.pointer().len() < 1200);
}

#[test]
fn endless_nesting_is_refused_and_harmless() {
    let levels = 200_000;
    let text = format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(breaches(&text).len(), 3);
    let open = "{\"a\":".repeat(levels);
    assert_eq!(read(&open).expect_err("no JSON").kind, ProblemKind::Malformed);
}

#[test]
fn a_bulk_array_is_read_item_by_item() {
    let sample = sample().to_string();
    let body = format!(" [ {sample} , 5, {}, {{}} ] ", sample.replace("loan-12345", ""));
    let items = decode::events(body.as_bytes(), &clock()).expect("an array");
    assert_eq!(items.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, false]);
    let problem = items[2].as_ref().expect_err("a broken event");
    assert_eq!(problem.detail, "/eventBody/entities/0/entityId must not be empty");
    assert!(problem.event_id.is_some());
}

#[test]
fn a_bulk_body_that_is_no_array_of_events_is_refused_whole() {
    let many = format!("[{}]", vec!["1"; 10_001].join(","));
    for (body, kind) in [
        ("", ProblemKind::Validation),
        (" \n", ProblemKind::Validation),
        ("[]", ProblemKind::Validation),
        ("{}", ProblemKind::Validation),
        (many.as_str(), ProblemKind::Validation),
        ("[{}", ProblemKind::Malformed),
        ("[{},]", ProblemKind::Malformed),
        ("[{}]]", ProblemKind::Malformed),
        ("{", ProblemKind::Malformed),
    ] {
        let problem = decode::events(body.as_bytes(), &clock()).expect_err("no array of events");
        assert_eq!(problem.kind, kind, "{problem}");
    }
    let most = format!("[{}]", vec!["1"; 10_000].join(","));
    assert_eq!(decode::events(most.as_bytes(), &clock()).expect("an array").len(), 10_000);
}

#[test]
fn strings_become_attributes() {
    let text = json::object_of_strings([("a\"", "1"), ("é", "line\n")]);
    assert_eq!(text, r#"{"a\"":"1","é":"line\n"}"#);
    let nul = json::object_of_strings([("k", "\0")]);
    let violations = Patch::parse(&nul).expect_err("a NUL");
    assert_eq!(violations.listed()[0].location.pointer(), "/k");
}

/// JSON-like bytes: mostly well-formed pieces in any order.
fn scraps() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\"a\":", "1", "-", ".", "e", "0",
        "null", "true", " ", "\n", "\\u0041", "\\ud83d", "\\ude00", "é", "\t", "12.5e3",
        "\"x\\n\"",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// Whether the door takes `text` as JSON, whatever it holds.
fn is_json(text: &str) -> bool {
    !matches!(read(text), Err(problem) if problem.kind == ProblemKind::Malformed)
}

/// `IgnoredAny` has no limit on numbers; duplicate keys are fine for it too.
fn serde_takes(text: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn another_parser_takes_the_same_texts(text in scraps()) {
        prop_assert_eq!(is_json(&text), serde_takes(&text), "{}", text);
    }

    #[test]
    fn another_parser_takes_the_same_mutations(
        value in value(),
        at in any::<prop::sample::Index>(),
        scrap in scraps(),
    ) {
        let mut text = value.to_string();
        let at = text.floor_char_boundary(at.index(text.len() + 1));
        text.insert_str(at, &scrap);
        prop_assert_eq!(is_json(&text), serde_takes(&text), "{}", text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::event(&bytes, &clock());
        let _ = decode::events(&bytes, &clock());
    }

    #[test]
    fn no_mutation_of_an_event_makes_it_panic(
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
        scrap in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = format!("[{}]", sample()).into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + cut).min(bytes.len()), scrap);
        let _ = decode::event(&bytes, &clock());
        let _ = decode::events(&bytes, &clock());
    }

    #[test]
    fn attributes_keep_their_values(attributes in object(), extra in value()) {
        let mut event = sample();
        event["eventBody"]["entities"][0]["updatedAttributes"] = attributes.clone();
        event["extra"] = extra;
        let pretty = serde_json::to_string_pretty(&event).expect("JSON");
        let event = read(&pretty).expect("an event");
        let kept: Value = serde_json::from_str(event.updates()[0].patch().text()).expect("JSON");
        prop_assert_eq!(kept, attributes);
    }
}

#[test]
fn attributes_alone_are_malformed_or_break_rules_of_their_own() {
    let patch = decode::attributes(br#" {"a": 1} "#).expect("JSON").expect("no broken rule");
    assert_eq!(patch.text(), r#"{"a": 1}"#);
    for (body, detail) in [
        (&b""[..], "line 1 of the body, column 1: not valid JSON, the text ends too early"),
        (b"{\n\"a\" 1}", "line 2 of the body, column 5: not valid JSON, expected ':'"),
        (b"{} 1", "line 1 of the body, column 4: not valid JSON, unexpected text"),
        (b"{\"\xff\"}", "line 1 of the body, column 3: not valid JSON, the text is not UTF-8"),
    ] {
        let problem = decode::attributes(body).expect_err("no JSON");
        assert_eq!((problem.kind, &*problem.detail), (ProblemKind::Malformed, detail));
    }
    for (body, pointer) in [("[]", ""), ("null", ""), (r#"{"a":{"b":"\u0000"}}"#, "/a/b")] {
        let broken = decode::attributes(body.as_bytes()).expect("JSON").expect_err("a broken rule");
        assert_eq!(broken.listed()[0].location.pointer(), pointer, "{body}");
    }
}

/// Found by fuzzing: over gRPC it was malformed, in JSON it broke a rule.
#[test]
fn a_condition_that_no_text_can_be_is_malformed() {
    for condition in ["data.a == '\0'", "data.a = 1"] {
        let mut event = sample();
        event["eventBody"]["entities"][0]["condition"] = json!(condition);
        let problem = read(&event.to_string()).expect_err("no filter");
        let place = problem.violations.first().expect("a violation").location.pointer();
        assert_eq!(problem.kind, ProblemKind::Malformed, "{condition:?}");
        assert_eq!(place, "/eventBody/entities/0/condition");
    }
}

#[test]
fn a_creation_that_names_versions_never_holds() {
    let created = |precondition: Precondition| {
        let write = EntityRequest {
            method: EntityMethod::Create,
            entity_type: "Loan",
            entity_id: "",
            header: Header::default(),
            key: None,
            precondition,
            condition: Field::Absent,
            attributes: Patch::parse("{}"),
        };
        let write = write.into_write(&clock()).expect("a write");
        write.event().updates()[0].precondition().clone()
    };
    for precondition in [Precondition::None, Precondition::Absent] {
        assert_eq!(created(precondition), Precondition::Absent);
    }
    for precondition in [Precondition::Exists, Precondition::Versions([1].into())] {
        assert_eq!(created(precondition), Precondition::Versions([].into()));
    }
}
