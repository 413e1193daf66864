//! What the property tests share: random JSON, and a merge too plain to be wrong.
#![allow(dead_code, reason = "each test file uses some of it")]

use producer_core::{Clock, Patch, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// A clock that is stopped.
pub(crate) fn clock() -> Clock {
    Clock::from_fn(|| Timestamp::from_micros(1_705_314_605_000_000))
}

/// A patch of a text that is one.
pub(crate) fn patch(text: &str) -> Patch {
    Patch::parse(text).expect("a patch")
}

/// RFC 7396, section 2, word by word.
pub(crate) fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else {
        return patch.clone();
    };
    let mut members = target.as_object().cloned().unwrap_or_default();
    for (key, value) in changes {
        if value.is_null() {
            members.remove(key);
        } else {
            let old = members.get(key).cloned().unwrap_or(Value::Null);
            members.insert(key.clone(), merged(&old, value));
        }
    }
    Value::Object(members)
}

/// Few different keys, so that objects meet.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-e]", 1 => "[ -~é😀\n\t\u{1}]{0,9}"]
}

/// JSON values whose numbers every parser and writer treats alike.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1_000_000..1_000_000_i32).prop_map(|n| Value::from(f64::from(n) / 8.0 + 0.0625)),
        "[ -~é😀\n\u{8}\u{1f}]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => members(inner),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec((key(), value), 0..6)
        .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
}

/// JSON objects.
pub(crate) fn object() -> impl Strategy<Value = Value> {
    members(value())
}
