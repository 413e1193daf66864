//! The merge against RFC 7396 and a plain implementation of it.

mod common;

use common::{merged, object, patch};
use producer_core::json::{Document, fold_flat, same_value};
use proptest::prelude::*;
use serde_json::{Value, json};

fn applied(document: &str, text: &str) -> Value {
    let patch = patch(text);
    let mut document = Document::parse(document).expect("a document");
    document.apply(&patch);
    serde_json::from_str(&document.to_json()).expect("JSON")
}

#[test]
fn the_cases_of_appendix_a_that_concern_objects() {
    for (document, patch, result) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, json!({"a":"c"})),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, json!({"a":"b","b":"c"})),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, json!({})),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, json!({"b":"c"})),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, json!({"a":"c"})),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, json!({"a":["b"]})),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, json!({"a":{"b":"d"}})),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, json!({"a":[1]})),
        (r#"{"e":null}"#, r#"{"a":1}"#, json!({"e":null,"a":1})),
        (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, json!({"a":{"bb":{}}})),
        (r#"{"a":"foo"}"#, r#"{"a":{"b":{"c":null,"d":1}}}"#, json!({"a":{"b":{"d":1}}})),
    ] {
        assert_eq!(applied(document, patch), result, "{document} {patch}");
    }
}

#[test]
fn a_patch_between_two_documents_says_no_more_than_it_must() {
    for (from, to, patch) in [
        (r#"{"a":1,"b":{"c":[1]}}"#, r#"{"b":{"c":[1.0]},"a":1e0}"#, "{}"),
        (r#"{"a":1,"b":{"c":1,"d":2}}"#, r#"{"b":{"c":3,"d":2}}"#, r#"{"a":null,"b":{"c":3}}"#),
        (r#"{"a":{"b":1}}"#, r#"{"a":{},"n":{"m":1}}"#, r#"{"a":{"b":null},"n":{"m":1}}"#),
        (r#"{"a":1,"b":{"c":1}}"#, r#"{"a":{"c":1},"b":1}"#, r#"{"a":{"c":1},"b":1}"#),
    ] {
        let (from, to) = (Document::parse(from).expect("one"), Document::parse(to).expect("two"));
        assert_eq!(from.patch_to(&to).to_json(), patch);
    }
}

#[test]
fn leaves_that_differ_are_listed_in_the_order_of_their_paths() {
    for (from, to, expected) in [
        (r#"{"a":1,"b":{"c":[1]}}"#, r#"{"b":{"c":[1.0]},"a":1e0}"#, &[][..]),
        ("{}", r#"{"a":{}}"#, &["data {} -", "data.a - {}"]),
        (r#"{"a":{"b":1,"c":2}}"#, r#"{"a":3}"#, &["data.a - 3", "data.a.b 1 -", "data.a.c 2 -"]),
        (r#"{"a":{"b":1}}"#, r#"{"a":{}}"#, &["data.a - {}", "data.a.b 1 -"]),
        (
            r#"{"z":1,"a":{"y":1}}"#,
            r#"{"a":{"x":[2]},"z":"1"}"#,
            &["data.a.x - [2]", "data.a.y 1 -", r#"data.z 1 "1""#],
        ),
    ] {
        let (from, to) = (Document::parse(from).expect("one"), Document::parse(to).expect("two"));
        let found = from.differences(&to, 1000).expect("room");
        let text = |raw: Option<&str>| raw.unwrap_or("-").to_owned();
        let shown = found.iter().map(|it| format!("{} {} {}", it.path, text(it.from), text(it.to)));
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }
    let (from, to) = (Document::parse(r#"{"a":1}"#), Document::parse(r#"{"a":2}"#));
    let (from, to) = (from.expect("one"), to.expect("two"));
    let bytes = size_of::<String>() + 1;
    assert_eq!(from.differences(&to, bytes).map(|found| found.len()), Some(1));
    assert_eq!(from.differences(&to, bytes - 1), None);
}

#[test]
fn numbers_and_strings_come_back_exactly() {
    let text = r#"{"n":24439.750000000000000001,"big":9007199254740993,"s":"é\u00e9\ud83d\ude00","a":[ 1.0e2 , "a b\" \\" ]}"#;
    let patch = patch(text);
    let mut document = Document::empty();
    document.apply(&patch);
    let expected = r#"{"a":[1.0e2,"a b\" \\"],"big":9007199254740993,"n":24439.750000000000000001,"s":"é\u00e9\ud83d\ude00"}"#;
    assert_eq!(document.to_json(), expected);
}

#[test]
fn sizes_count_numbers_written_out_and_strings_without_needless_escapes() {
    for (text, written) in [
        ("{ }", "{}"),
        (r#"{ "a" : [ 1 , 2 ] }"#, r#"{"a":[1,2]}"#),
        (r#"{"a":1e5,"b":-0,"c":1.50e1}"#, r#"{"a":100000,"b":0,"c":15.0}"#),
        (r#"{"\u0061":"\/\u000a\u0001\u00e9\ud83d\ude00"}"#, r#"{"a":"/\n\u0001é😀"}"#),
        (r#"{"a":{"b":{"c":[{"d":1E2}]}}}"#, r#"{"a":{"b":{"c":[{"d":100}]}}}"#),
    ] {
        assert_eq!(patch(text).size(), written.len(), "{text}");
        assert_eq!(Document::parse(text).expect("a document").size(), written.len(), "{text}");
    }
}

#[test]
fn values_are_equal_whatever_their_notation() {
    for (one, other) in [
        ("1", "1.0"),
        ("1", "10e-1"),
        ("-0", "0.0"),
        (r#""\u00e9\/""#, r#""é/""#),
        (r#"{"a":1,"b":[{"c":1,"d":2}]}"#, r#"{ "b" : [ {"d":2e0,"\u0063":1} ], "a":1.00 }"#),
        ("null", " null "),
    ] {
        assert!(same_value(one, other), "{one} {other}");
    }
    for (one, other) in [
        ("1", "\"1\""),
        ("9007199254740993", "9007199254740992"),
        ("0.1", "0.1000000000000000055"),
        ("[1,2]", "[2,1]"),
        ("{}", "[]"),
        (r#"{"a":null}"#, "{}"),
        ("true", "false"),
    ] {
        assert!(!same_value(one, other), "{one} {other}");
    }
}

#[test]
fn documents_are_equal_as_values() {
    let document = |text| Document::parse(text).expect("a document");
    assert_eq!(document(r#"{"a":{"b":1},"c":[1]}"#), document(r#"{"c":[1.0],"a":{"b":1e0}}"#));
    assert_ne!(document(r#"{"a":{"b":1}}"#), document(r#"{"a":{"b":2}}"#));
    assert_ne!(document(r#"{"a":{}}"#), document(r#"{"a":[]}"#));
}

#[test]
fn what_is_lacking_is_found_deep_and_nothing_is_overwritten() {
    let existing = r#"{"a":1,"o":{"x":1,"y":{}},"s":"kept"}"#;
    let older =
        r#"{"a":2,"b":3,"o":{"x":9,"z":4,"y":{"q":null}},"s":{"t":1},"n":null,"p":{"r":null}}"#;
    let existing = Document::parse(existing).expect("a document");
    let older = Document::parse(older).expect("a document");
    assert_eq!(existing.lacking(&older).to_json(), r#"{"b":3,"o":{"z":4},"p":{}}"#);
    assert!(existing.lacking(&existing).is_empty());
}

#[test]
fn what_is_no_document_is_refused() {
    for text in [
        "",
        "[]",
        "1",
        "{",
        r#"{"a":1,"a":2}"#,
        &format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65)),
    ] {
        assert!(Document::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn apply_is_rfc_7396(document in object(), changes in object()) {
        prop_assert_eq!(
            applied(&merged(&json!({}), &document).to_string(), &changes.to_string()),
            merged(&merged(&json!({}), &document), &changes)
        );
    }

    #[test]
    fn a_patch_applied_twice_changes_nothing_more(document in object(), changes in object()) {
        let once = applied(&document.to_string(), &changes.to_string());
        prop_assert_eq!(applied(&once.to_string(), &changes.to_string()), once);
    }

    #[test]
    fn folded_flat_patches_are_the_patches_one_by_one(
        document in object(),
        patches in prop::collection::vec(object(), 1..6),
    ) {
        let flat: Vec<_> =
            patches.iter().map(|p| patch(&p.to_string())).filter(|p| p.is_flat()).collect();
        prop_assume!(!flat.is_empty());
        let folded = fold_flat(&flat.iter().collect::<Vec<_>>());
        let mut one_by_one = document.clone();
        for patch in &flat {
            one_by_one = merged(&one_by_one, &serde_json::from_str(patch.text()).expect("JSON"));
        }
        prop_assert_eq!(applied(&document.to_string(), &folded), one_by_one.clone());
        // what `jsonb || jsonb` does with it
        let mut shallow = document;
        let folded: Value = serde_json::from_str(&folded).expect("JSON");
        for (key, value) in folded.as_object().expect("an object") {
            shallow[key] = value.clone();
        }
        prop_assert_eq!(shallow, one_by_one);
    }

    #[test]
    fn flat_means_no_object_and_no_null_among_the_members(value in object()) {
        let members = value.as_object().expect("an object");
        let flat = !members.values().any(|v| v.is_object() || v.is_null());
        prop_assert_eq!(patch(&value.to_string()).is_flat(), flat);
    }

    #[test]
    fn adding_what_is_lacking_gives_both_with_the_existing_on_top(a in object(), b in object()) {
        let (a, b) = (merged(&json!({}), &a), merged(&json!({}), &b));
        let (a_text, b_text) = (a.to_string(), b.to_string());
        let existing = Document::parse(&a_text).expect("a document");
        let lacking = existing.lacking(&Document::parse(&b_text).expect("a document")).to_json();
        prop_assert_eq!(applied(&a_text, &lacking), merged(&b, &a));
    }

    #[test]
    fn a_patch_between_two_documents_leads_from_one_to_the_other(a in object(), b in object()) {
        let (a, b) = (merged(&json!({}), &a), merged(&json!({}), &b));
        let (a_text, b_text) = (a.to_string(), b.to_string());
        let from = Document::parse(&a_text).expect("a document");
        let patch = from.patch_to(&Document::parse(&b_text).expect("a document")).to_json();
        prop_assert_eq!(applied(&a_text, &patch), b);
    }

    #[test]
    fn size_is_the_length_of_the_text_that_another_writer_makes(value in object()) {
        // these values hold no number that serde_json would write otherwise
        let length = value.to_string().len();
        let spaced = serde_json::to_string_pretty(&value).expect("JSON");
        prop_assert_eq!(patch(&spaced).size(), length);
        let document = Document::parse(&spaced).expect("a document");
        prop_assert_eq!(document.size(), length);
        prop_assert_eq!(document.to_json().len(), length);
    }

    #[test]
    fn equality_agrees_with_another_parser(a in object(), b in object()) {
        let spaced = serde_json::to_string_pretty(&a).expect("JSON");
        prop_assert!(same_value(&a.to_string(), &spaced));
        prop_assert_eq!(same_value(&a.to_string(), &b.to_string()), a == b);
    }
}
