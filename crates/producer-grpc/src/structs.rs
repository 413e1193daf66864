//! `google.protobuf.Struct` to the text of a JSON object and back.

use std::fmt::Write;

use producer_core::{Location, Step, Violations};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// Levels that a Struct may have, itself the first. prost refuses more than 33 inside an
/// `EventRequest`: each level of JSON is three of protobuf.
pub(crate) const MAX_LEVELS: usize = 30;

/// Writes a Struct as JSON. A number is the shortest decimal that reads back as the same double.
///
/// # Errors
/// Every value without a kind, number that JSON doesn't have, and value too deep, with its place.
pub(crate) fn to_json(attributes: &Struct) -> Result<String, Violations> {
    let mut writer = Writer::default();
    writer.object(attributes, 1);
    if writer.violations.is_empty() { Ok(writer.text) } else { Err(writer.violations) }
}

#[derive(Default)]
struct Writer {
    text: String,
    place: Vec<Step>,
    violations: Violations,
}

impl Writer {
    // The recursion ends at MAX_LEVELS.
    fn object(&mut self, object: &Struct, level: usize) {
        if level > MAX_LEVELS {
            return self.refuse("must not be nested deeper than 30 levels");
        }
        self.text.push('{');
        for (i, (key, value)) in object.fields.iter().enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            string(&mut self.text, key);
            self.text.push(':');
            self.place.push(Step::Key(key.clone().into()));
            self.value(value, level);
            self.place.pop();
        }
        self.text.push('}');
    }

    fn list(&mut self, list: &ListValue, level: usize) {
        if level > MAX_LEVELS {
            return self.refuse("must not be nested deeper than 30 levels");
        }
        self.text.push('[');
        for (i, value) in list.values.iter().enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            self.place.push(Step::Index(i));
            self.value(value, level);
            self.place.pop();
        }
        self.text.push(']');
    }

    fn value(&mut self, value: &Value, level: usize) {
        match &value.kind {
            None => self.refuse("must have a kind"),
            Some(Kind::NullValue(_)) => self.text.push_str("null"),
            Some(Kind::BoolValue(value)) => {
                self.text.push_str(if *value { "true" } else { "false" })
            }
            Some(Kind::NumberValue(number)) if number.is_finite() => {
                push_number(&mut self.text, *number)
            }
            Some(Kind::NumberValue(_)) => self.refuse("must be a finite number"),
            Some(Kind::StringValue(text)) => string(&mut self.text, text),
            Some(Kind::StructValue(object)) => self.object(object, level + 1),
            Some(Kind::ListValue(list)) => self.list(list, level + 1),
        }
    }

    fn refuse(&mut self, detail: &'static str) {
        self.violations.add(|| Location(self.place.clone()), detail);
    }
}

/// Rust's own notations are the shortest that read back the same; the one without exponent writes
/// all zeros out.
fn push_number(text: &mut String, number: f64) {
    let size = number.abs();
    let written = if size != 0.0 && !(1e-6..1e21).contains(&size) {
        write!(text, "{number:e}")
    } else {
        write!(text, "{number}")
    };
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// Writes a JSON string (RFC 8259, section 7).
pub(crate) fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        out.push_str(&text[plain_from..at]);
        plain_from = at + 1;
        let written = match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
                Ok(())
            }
            _ => write!(out, "\\u{byte:04x}"),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

/// Why a document can't be told as a Struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoStruct {
    /// More levels than [`MAX_LEVELS`].
    TooDeep,
    /// A number beyond a double's range.
    Number,
}

/// Reads a stored document into a Struct.
pub(crate) fn from_json(text: &str) -> Result<Struct, NoStruct> {
    // what is stored is JSON that the scanner passed: nothing but a number can be wrong with it,
    // and its depth of 64 is within serde_json's 128
    let document: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| NoStruct::Number)?;
    from_object(document, 1)
}

fn from_object(
    object: serde_json::Map<String, serde_json::Value>,
    level: usize,
) -> Result<Struct, NoStruct> {
    if level > MAX_LEVELS {
        return Err(NoStruct::TooDeep);
    }
    let fields = object
        .into_iter()
        .map(|(key, value)| Ok((key, from_value(value, level)?)))
        .collect::<Result<_, _>>()?;
    Ok(Struct { fields })
}

fn from_array(values: Vec<serde_json::Value>, level: usize) -> Result<ListValue, NoStruct> {
    if level > MAX_LEVELS {
        return Err(NoStruct::TooDeep);
    }
    let values =
        values.into_iter().map(|value| from_value(value, level)).collect::<Result<_, _>>()?;
    Ok(ListValue { values })
}

fn from_value(value: serde_json::Value, level: usize) -> Result<Value, NoStruct> {
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().ok_or(NoStruct::Number)?),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => Kind::ListValue(from_array(values, level + 1)?),
        Json::Object(object) => Kind::StructValue(from_object(object, level + 1)?),
    };
    Ok(Value { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Kind::NullValue(0)),
            any::<bool>().prop_map(Kind::BoolValue),
            (proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO)
                .prop_map(Kind::NumberValue),
            any::<i32>().prop_map(|number| Kind::NumberValue(number.into())),
            any::<String>().prop_map(Kind::StringValue),
        ];
        leaf.prop_map(value).prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5)
                    .prop_map(|values| value(Kind::ListValue(ListValue { values }))),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|fields| value(Kind::StructValue(Struct { fields }))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            fields in prop::collection::btree_map(any::<String>(), any_value(), 0..5)
        ) {
            let given = Struct { fields };
            let text = to_json(&given).expect("nothing to refuse");
            prop_assert_eq!(from_json(&text), Ok(given));
        }
    }

    fn of(kind: Option<Kind>) -> Struct {
        Struct { fields: [("a/b".to_owned(), Value { kind })].into() }
    }

    fn nested(levels: usize) -> Struct {
        (1..levels).fold(Struct::default(), |inner, _| of(Some(Kind::StructValue(inner))))
    }

    #[test]
    fn a_number_is_its_shortest_decimal() {
        for (number, text) in [
            (1.0, "1"),
            (-0.5, "-0.5"),
            (24439.75, "24439.75"),
            (0.1 + 0.2, "0.30000000000000004"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (1e21, "1e21"),
            (5e-324, "5e-324"),
        ] {
            let json = to_json(&of(Some(Kind::NumberValue(number)))).expect("a number");
            assert_eq!(json, format!(r#"{{"a/b":{text}}}"#));
        }
    }

    #[test]
    fn what_json_has_not_is_refused_with_its_place() {
        let bad = [None, Some(Kind::NumberValue(f64::NAN)), Some(Kind::NumberValue(f64::INFINITY))];
        for kind in bad {
            let violations = to_json(&of(kind)).expect_err("no JSON");
            assert_eq!(violations.listed()[0].location.pointer(), "/a~1b");
        }
    }

    #[test]
    fn thirty_levels_pass_both_ways_and_one_more_does_not() {
        let text = to_json(&nested(MAX_LEVELS)).expect("30 levels");
        assert_eq!(from_json(&text), Ok(nested(MAX_LEVELS)));
        assert_eq!(to_json(&nested(MAX_LEVELS + 1)).expect_err("31 levels").count(), 1);
        let deeper = format!(r#"{{"a":{text}}}"#);
        assert_eq!(from_json(&deeper), Err(NoStruct::TooDeep));
        assert_eq!(from_json(r#"{"a":1e399}"#), Err(NoStruct::Number));
    }
}
