//! `google.protobuf.Struct`, read from the wire as the text of a JSON object, and back.

use std::collections::BTreeMap;
use std::fmt::Write;

use producer_core::{Location, Step, Violations, json};
use prost_types::value::Kind as ProstKind;
use prost_types::{ListValue, Struct, Value};

use super::fields::{DecodeError, fields, messages};

/// Levels that a Struct may have. Its own is the first.
pub(crate) const MAX_LEVELS: usize = 30;
/// Levels of messages that protobuf's parsers accept.
const READ_DEPTH: usize = 100;
const FIELDS: u32 = 1;
const KEY: u32 = 1;
const VALUE: u32 = 2;
const VALUES: u32 = 1;

/// The undecoded entries of a Struct by key; the last one of a duplicate key.
type Members<'a> = BTreeMap<&'a str, &'a [u8]>;

/// A message may come in several pieces, which merge.
type Pieces<'a> = Vec<&'a [u8]>;

/// The kind of a `Value`.
#[derive(Debug, Clone)]
enum Kind<'a> {
    Absent,
    Null,
    Number(f64),
    Text(&'a str),
    Bool(bool),
    Struct(Pieces<'a>),
    List(Pieces<'a>),
}

/// Whether a Struct has any field.
pub(crate) fn has_fields(object: &[u8]) -> bool {
    messages(object, FIELDS).next().is_some()
}

/// Writes a Struct, which may come in pieces, as JSON. A number is the shortest decimal that reads
/// back as the same double. `depth` is the Struct's level below the whole message, which is level 0.
///
/// # Errors
/// Outer: the bytes are no Struct, even where a later value replaces them. Inner: the locations of
/// values without a kind, of numbers that JSON doesn't have, and of values that are too deep.
pub(crate) fn to_json<'a>(
    object: impl Iterator<Item = Result<&'a [u8], DecodeError>>,
    depth: usize,
) -> Result<Result<String, Violations>, DecodeError> {
    let mut writer = Writer::default();
    writer.object(&object.collect::<Result<Pieces<'_>, _>>()?, 1, depth)?;
    Ok(if writer.violations.is_empty() { Ok(writer.text) } else { Err(writer.violations) })
}

/// `depth` is the level of the message in question, here and in the functions below.
fn members<'a>(object: &[&'a [u8]], depth: usize) -> Result<Members<'a>, DecodeError> {
    let mut members = Members::new();
    for piece in object {
        for entry in messages(piece, FIELDS) {
            let entry = entry?;
            if let Some(replaced) = members.insert(key(entry)?, entry) {
                check_entry(replaced, depth + 1)?;
            }
        }
    }
    Ok(members)
}

fn key(entry: &[u8]) -> Result<&str, DecodeError> {
    let mut key = "";
    for field in fields(entry) {
        let field = field?;
        match field.number {
            KEY => key = field.text()?,
            VALUE => _ = field.message()?,
            _ => {}
        }
    }
    Ok(key)
}

/// The last one of several kinds. Successive pieces of a Struct or list count as one.
fn kind<'a>(
    value: impl Iterator<Item = Result<&'a [u8], DecodeError>>,
    depth: usize,
) -> Result<Kind<'a>, DecodeError> {
    let mut kind = Kind::Absent;
    for piece in value {
        check_depth(depth)?;
        for field in fields(piece?) {
            let field = field?;
            let next = match (field.number, &mut kind) {
                (1, _) => field.varint().map(|_| Kind::Null)?,
                (2, _) => Kind::Number(field.double()?),
                (3, _) => Kind::Text(field.text()?),
                (4, _) => Kind::Bool(field.varint()? != 0),
                (5, Kind::Struct(pieces)) | (6, Kind::List(pieces)) => {
                    pieces.push(field.message()?);
                    continue;
                }
                (5, _) => Kind::Struct(vec![field.message()?]),
                (6, _) => Kind::List(vec![field.message()?]),
                _ => continue,
            };
            check(&std::mem::replace(&mut kind, next), depth)?;
        }
    }
    if matches!(kind, Kind::Struct(_) | Kind::List(_)) {
        check_depth(depth + 1)?;
    }
    Ok(kind)
}

/// Checks that a value that isn't used can be decoded.
fn check(value: &Kind<'_>, depth: usize) -> Result<(), DecodeError> {
    match value {
        Kind::Struct(object) => {
            entries(object, FIELDS).try_for_each(|entry| check_entry(entry?, depth + 2))
        }
        Kind::List(list) => entries(list, VALUES)
            .try_for_each(|value| check(&kind(std::iter::once(value), depth + 2)?, depth + 2)),
        _ => Ok(()),
    }
}

fn check_entry(entry: &[u8], depth: usize) -> Result<(), DecodeError> {
    check_depth(depth)?;
    key(entry)?;
    check(&kind(messages(entry, VALUE), depth + 1)?, depth + 1)
}

fn check_depth(depth: usize) -> Result<(), DecodeError> {
    if depth > READ_DEPTH { Err(DecodeError::new("it is nested too deeply")) } else { Ok(()) }
}

/// The messages in the field of this number, over all pieces.
fn entries<'a>(
    pieces: &[&'a [u8]],
    number: u32,
) -> impl Iterator<Item = Result<&'a [u8], DecodeError>> {
    pieces.iter().flat_map(move |piece| messages(piece, number))
}

#[derive(Default)]
struct Writer {
    text: String,
    place: Vec<Step>,
    violations: Violations,
}

impl Writer {
    // The recursion ends at MAX_LEVELS.
    fn object(&mut self, object: &[&[u8]], level: usize, depth: usize) -> Result<(), DecodeError> {
        self.text.push('{');
        for (i, (key, entry)) in members(object, depth)?.into_iter().enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            json::write_string(&mut self.text, key);
            self.text.push(':');
            self.place.push(Step::Key(key.to_owned().into()));
            self.value(kind(messages(entry, VALUE), depth + 2)?, level, depth + 2)?;
            self.place.pop();
        }
        self.text.push('}');
        Ok(())
    }

    fn list(&mut self, list: &[&[u8]], level: usize, depth: usize) -> Result<(), DecodeError> {
        self.text.push('[');
        for (i, value) in entries(list, VALUES).enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            self.place.push(Step::Index(i));
            self.value(kind(std::iter::once(value), depth + 1)?, level, depth + 1)?;
            self.place.pop();
        }
        self.text.push(']');
        Ok(())
    }

    fn value(&mut self, value: Kind<'_>, level: usize, depth: usize) -> Result<(), DecodeError> {
        match &value {
            Kind::Absent => self.violation("must have a kind"),
            Kind::Null => self.text.push_str("null"),
            Kind::Bool(value) => self.text.push_str(if *value { "true" } else { "false" }),
            Kind::Number(number) if number.is_finite() => push_number(&mut self.text, *number),
            Kind::Number(_) => self.violation("must be a finite number"),
            Kind::Text(text) => json::write_string(&mut self.text, text),
            Kind::Struct(_) | Kind::List(_) if level == MAX_LEVELS => {
                self.violation("must not be nested deeper than 30 levels");
                return check(&value, depth);
            }
            Kind::Struct(object) => return self.object(object, level + 1, depth + 1),
            Kind::List(list) => return self.list(list, level + 1, depth + 1),
        }
        Ok(())
    }

    fn violation(&mut self, detail: &'static str) {
        self.violations.add(|| Location(self.place.clone()), detail);
    }
}

/// Rust's notations are the shortest that read back the same, but the one without exponent writes
/// all zeros.
fn push_number(text: &mut String, number: f64) {
    let size = number.abs();
    let written = if size != 0.0 && !(1e-6..1e21).contains(&size) {
        write!(text, "{number:e}")
    } else {
        write!(text, "{number}")
    };
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// Why a document can't be represented as a Struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StructError {
    /// More levels than [`MAX_LEVELS`].
    TooDeep,
    /// A number beyond a double's range.
    Number,
}

/// Reads a stored document into a Struct.
pub(crate) fn from_json(text: &str) -> Result<Struct, StructError> {
    // stored documents are valid JSON of at most 64 levels, within serde_json's limit of 128: only a
    // number can be out of range
    let document: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| StructError::Number)?;
    from_object(document, 1)
}

fn from_object(
    object: serde_json::Map<String, serde_json::Value>,
    level: usize,
) -> Result<Struct, StructError> {
    if level > MAX_LEVELS {
        return Err(StructError::TooDeep);
    }
    let fields = object
        .into_iter()
        .map(|(key, value)| Ok((key, from_value(value, level)?)))
        .collect::<Result<_, _>>()?;
    Ok(Struct { fields })
}

fn from_array(values: Vec<serde_json::Value>, level: usize) -> Result<ListValue, StructError> {
    if level > MAX_LEVELS {
        return Err(StructError::TooDeep);
    }
    let values =
        values.into_iter().map(|value| from_value(value, level)).collect::<Result<_, _>>()?;
    Ok(ListValue { values })
}

fn from_value(value: serde_json::Value, level: usize) -> Result<Value, StructError> {
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => ProstKind::NullValue(0),
        Json::Bool(value) => ProstKind::BoolValue(value),
        Json::Number(number) => ProstKind::NumberValue(number.as_f64().ok_or(StructError::Number)?),
        Json::String(text) => ProstKind::StringValue(text),
        Json::Array(values) => ProstKind::ListValue(from_array(values, level + 1)?),
        Json::Object(object) => ProstKind::StructValue(from_object(object, level + 1)?),
    };
    Ok(Value { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use prost_types::value::Kind;

    use super::{Value, *};

    /// The level of a Struct in an `EventRequest`, below the event's body and the entity.
    const IN_EVENT: usize = 3;

    fn to_json(object: &Struct) -> Result<String, Violations> {
        super::to_json(std::iter::once(Ok(&*object.encode_to_vec())), IN_EVENT).expect("a Struct")
    }

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
            let text = to_json(&given).expect("no violations");
            prop_assert_eq!(from_json(&text), Ok(given));
        }
    }

    /// A field of the length-delimited type.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("a short one");
        [&[number << 3 | 2, length], content].concat()
    }

    fn entry(value: &[u8]) -> Vec<u8> {
        field(1, &[field(1, b"a"), value.to_vec()].concat())
    }

    fn read(object: &[u8]) -> Result<Result<String, Violations>, DecodeError> {
        let ours = super::to_json(std::iter::once(Ok(object)), IN_EVENT);
        assert_eq!(ours.is_ok(), Struct::decode(object).is_ok());
        ours
    }

    #[test]
    fn values_that_come_in_pieces_merge_as_protobuf_specifies() {
        let struct_of = |key: &str| {
            let fields = [(key.to_owned(), value(Kind::BoolValue(true)))].into();
            value(Kind::StructValue(Struct { fields })).encode_to_vec()
        };
        let list_of = |text: &str| {
            let values = vec![value(Kind::StringValue(text.to_owned()))];
            value(Kind::ListValue(ListValue { values })).encode_to_vec()
        };
        let [x, y, one, two] = [struct_of("x"), struct_of("y"), list_of("1"), list_of("2")];
        for (pieces, json) in [
            ([field(2, &x), field(2, &y)].concat(), r#"{"a":{"x":true,"y":true}}"#),
            (field(2, &[x.clone(), y].concat()), r#"{"a":{"x":true,"y":true}}"#),
            (field(2, &[one.clone(), two.clone()].concat()), r#"{"a":["1","2"]}"#),
            (field(2, &[x, one].concat()), r#"{"a":["1"]}"#),
        ] {
            assert_eq!(read(&entry(&pieces)), Ok(Ok(json.into())));
        }
        let again = [entry(&field(2, &two)), entry(&field(2, &field(3, b"last")))].concat();
        assert_eq!(read(&again), Ok(Ok(r#"{"a":"last"}"#.into())));
    }

    #[test]
    fn what_a_later_value_replaces_must_be_valid_too() {
        let bad_text = field(5, &entry(&field(2, &field(3, &[0xff]))));
        let good = field(3, b"good");
        assert!(read(&entry(&field(2, &good))).is_ok());
        for object in [
            entry(&field(2, &[bad_text.clone(), good.clone()].concat())),
            [entry(&field(2, &bad_text)), entry(&field(2, &good))].concat(),
        ] {
            assert!(read(&object).is_err());
        }
    }

    #[test]
    fn lists_may_be_nested_as_deep_as_protobuf_reads_them() {
        let nested = |levels: usize| {
            let inner = (0..levels).fold(value(Kind::BoolValue(true)), |inner, _| {
                value(Kind::ListValue(ListValue { values: vec![inner] }))
            });
            Struct { fields: [("a".to_owned(), inner)].into() }
        };
        for (levels, is_read) in [(29, true), (30, true), (47, true), (48, false)] {
            let bytes = nested(levels).encode_to_vec();
            let ours = super::to_json(std::iter::once(Ok(&*bytes)), IN_EVENT);
            assert_eq!(ours.is_ok(), is_read, "{levels}");
            assert_eq!(ours.is_ok_and(|json| json.is_ok()), levels < MAX_LEVELS, "{levels}");
        }
    }

    fn struct_with(kind: Option<Kind>) -> Struct {
        Struct { fields: [("a/b".to_owned(), Value { kind })].into() }
    }

    fn nested(levels: usize) -> Struct {
        (1..levels).fold(Struct::default(), |inner, _| struct_with(Some(Kind::StructValue(inner))))
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
            let json = to_json(&struct_with(Some(Kind::NumberValue(number)))).expect("a number");
            assert_eq!(json, format!(r#"{{"a/b":{text}}}"#));
        }
    }

    #[test]
    fn values_that_json_lacks_are_violations_with_their_location() {
        let bad = [None, Some(Kind::NumberValue(f64::NAN)), Some(Kind::NumberValue(f64::INFINITY))];
        for kind in bad {
            let violations = to_json(&struct_with(kind)).expect_err("no JSON");
            assert_eq!(violations.listed()[0].location.pointer(), "/a~1b");
        }
    }

    #[test]
    fn thirty_levels_convert_both_ways_and_one_more_does_not() {
        let text = to_json(&nested(MAX_LEVELS)).expect("30 levels");
        assert_eq!(from_json(&text), Ok(nested(MAX_LEVELS)));
        assert_eq!(to_json(&nested(MAX_LEVELS + 1)).expect_err("31 levels").count(), 1);
        let deeper = format!(r#"{{"a":{text}}}"#);
        assert_eq!(from_json(&deeper), Err(StructError::TooDeep));
        assert_eq!(from_json(r#"{"a":1e399}"#), Err(StructError::Number));
    }
}
