use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;
use crate::json::write_string;

/// A JSON value that may stand at an indexed path.
#[derive(Debug, Clone, PartialEq)]
enum Sample {
    Bool(bool),
    /// Sign, digits, and the power of ten of the last digit.
    Number(bool, Vec<u8>, i32),
    String(String),
}

impl Sample {
    fn json(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Number(negative, digits, exponent) => {
                let sign = if *negative { "-" } else { "" };
                let digits: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
                let digits = match digits.trim_start_matches('0') {
                    "" => "0",
                    digits => digits,
                };
                format!("{sign}{digits}e{exponent}")
            }
            Self::String(text) => {
                let mut json = String::new();
                write_string(&mut json, text);
                json
            }
        }
    }

    fn scalar(json: &str) -> Scalar<'_> {
        Scalar::from_json(json).expect("a scalar")
    }

    /// The order of values, by means of their own: numbers as digits that are aligned by hand.
    fn order(&self, other: &Self) -> Ordering {
        let kind = |sample: &Self| match sample {
            Self::Bool(false) => 0,
            Self::Bool(true) => 1,
            Self::Number(..) => 2,
            Self::String(_) => 3,
        };
        match (self, other) {
            (Self::Number(..), Self::Number(..)) => self.aligned().cmp(&other.aligned()),
            (Self::String(a), Self::String(b)) => a.chars().cmp(b.chars()),
            _ => kind(self).cmp(&kind(other)),
        }
    }

    /// 1,000 digits, of which 500 are behind the point, as if in ten's complement.
    fn aligned(&self) -> Vec<i16> {
        let Self::Number(negative, digits, exponent) = self else { return Vec::new() };
        let mut aligned = vec![0; 1000];
        let first = 500 - exponent - i32::try_from(digits.len()).expect("few digits");
        for (place, digit) in digits.iter().enumerate() {
            let digit = i16::from(*digit);
            aligned[usize::try_from(first).expect("room") + place] =
                if *negative { -digit } else { digit };
        }
        aligned
    }
}

fn samples() -> impl Strategy<Value = Sample> {
    let digits = prop_oneof![
        3 => prop::collection::vec(0..10_u8, 1..5),
        1 => prop::collection::vec(0..10_u8, 200),
    ];
    let near_the_cut = (254..258_usize, "[ab]{0,2}").prop_map(|(n, end)| "x".repeat(n) + &end);
    prop_oneof![
        1 => any::<bool>().prop_map(Sample::Bool),
        4 => (any::<bool>(), digits, -150..150_i32).prop_map(|(sign, digits, e)| Sample::Number(sign, digits, e)),
        2 => (any::<bool>(), prop::collection::vec(0..10_u8, 1..4), -2..3_i32)
            .prop_map(|(sign, digits, e)| Sample::Number(sign, digits, e)),
        3 => "[\\x01a-bé\u{ffff}😀]{0,4}".prop_map(Sample::String),
        1 => near_the_cut.prop_map(Sample::String),
    ]
}

fn index(paths: &[&str]) -> IndexDefinition {
    let paths = paths.iter().map(|path| IndexPath::parse(path).expect("a path")).collect();
    IndexDefinition { paths }
}

fn facts(data: &str) -> EntityFacts<'_> {
    let time = Timestamp::from_micros(0);
    EntityFacts { created: time, updated: time, data }
}

fn key_of(value: &str) -> Vec<u8> {
    key(&index(&["data.a"]), facts(&format!(r#"{{"a":{value}}}"#))).expect("a key")
}

fn fits(range: &Option<Range>, key: &[u8]) -> bool {
    range.as_ref().is_some_and(|range| range.from.as_slice() <= key && key < range.to.as_slice())
}

proptest! {
    #[test]
    fn keys_are_ordered_as_their_values(a in samples(), b in samples()) {
        let order = key_of(&a.json()).cmp(&key_of(&b.json()));
        let expected = a.order(&b);
        let both_are_long = [&a, &b].iter().all(|it| matches!(it, Sample::String(text) if text.len() >= 256));
        prop_assert!(order == expected || both_are_long, "{a:?} {b:?}: {order:?}");
    }

    #[test]
    fn ranges_miss_nothing(
        literal in samples(), value in samples(), other in samples(), several in any::<bool>(),
        cut in 0..260_usize,
    ) {
        let paths: &[&str] = if several { &["data.b", "data.a", "createdAt"] } else { &["data.a"] };
        let index = index(paths);
        let (a, b) = (value.json(), other.json());
        let data = format!(r#"{{"a":{a},"b":{b}}}"#);
        let key = key(&index, facts(&data)).expect("a key");
        prop_assert!(key.len() <= MAX_KEY_BYTES);
        let equal: &[IndexValue<'_>] = if several { &[Sample::scalar(&b).into()] } else { &[] };
        let json = literal.json();
        let wanted = || IndexValue::from(Sample::scalar(&json));
        let same_kind = match (&literal, &value) {
            (Sample::Bool(_), Sample::Bool(_)) => true,
            _ => std::mem::discriminant(&literal) == std::mem::discriminant(&value),
        };
        let order = value.order(&literal);
        for (condition, holds) in [
            (Condition::Any, true),
            (Condition::Equal(wanted()), same_kind && order.is_eq()),
            (Condition::Less(wanted()), same_kind && order.is_lt()),
            (Condition::AtMost(wanted()), same_kind && order.is_le()),
            (Condition::Greater(wanted()), same_kind && order.is_gt()),
            (Condition::AtLeast(wanted()), same_kind && order.is_ge()),
        ] {
            let range = range(&index, equal, &condition);
            prop_assert!(!holds || fits(&range, &key), "{condition:?} {value:?}");
            // what is short is found exactly
            let is_short = |sample: &Sample| !matches!(sample, Sample::String(text) if text.chars().count() > 100);
            if is_short(&literal) && is_short(&value) {
                prop_assert!(holds || !fits(&range, &key), "{condition:?} {value:?}");
            }
        }
        if let Sample::String(text) = &value {
            let start: String = text.chars().take(cut).collect();
            prop_assert!(fits(&range(&index, equal, &Condition::StartsWith(&start)), &key));
        }
    }
}

#[test]
fn every_notation_of_a_number_has_one_key() {
    for notations in [
        &["1", "1.0", "1e0", "0.1e1", "10e-1"][..],
        &["0", "-0", "0.000", "0e9", "-0.0e-9"],
        &["-1.5", "-15e-1", "-1.50"],
        &["1e399", "10e398"],
        &["24439.750000000000000001", "24439750000000000000001e-18"],
    ] {
        let keys: Vec<_> = notations.iter().map(|text| key_of(text)).collect();
        assert!(keys.iter().all(|key| *key == keys[0]), "{notations:?}");
    }
    let ascending = [
        "-1e399",
        "-123",
        "-12.4",
        "-12.31",
        "-12.3",
        "-1e-399",
        "0",
        "1e-399",
        "0.1",
        "0.10001",
        "1",
        "9.99",
        "10",
        "9007199254740992",
        "9007199254740993",
        "1e399",
        "1e4000",
        "1e99999999999999999999",
    ];
    assert!(ascending.is_sorted_by(|a, b| key_of(a) < key_of(b)));
}

#[test]
fn what_is_no_scalar_is_absent() {
    let index = index(&["data.a", "createdAt"]);
    for data in ["{}", r#"{"a":null}"#, r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#, r#"{"b":1}"#, "no JSON"]
    {
        assert_eq!(key(&index, facts(data)), None, "{data}");
    }
    assert!(key(&index, facts(r#"{"a":""}"#)).is_some());
}

#[test]
fn times_are_in_their_order_and_are_asked_of_times_alone() {
    let index = index(&["createdAt", "data.a", "updatedAt"]);
    let at =
        |micros| EntityFacts { created: Timestamp::from_micros(micros), ..facts(r#"{"a":"x"}"#) };
    let times = [-62_135_596_800_000_000, -1, 0, 1, 253_402_300_799_999_999];
    let keys = times.map(|micros| key(&index, at(micros)).expect("a key"));
    assert!(keys.is_sorted());
    let time = |micros| IndexValue::from(Timestamp::from_micros(micros));
    for (condition, found) in [
        (Condition::Any, [true; 5]),
        (Condition::Less(time(0)), [true, true, false, false, false]),
        (Condition::AtMost(time(0)), [true, true, true, false, false]),
        (Condition::Equal(time(0)), [false, false, true, false, false]),
        (Condition::Greater(time(0)), [false, false, false, true, true]),
        (Condition::AtLeast(time(0)), [false, false, true, true, true]),
    ] {
        let range = range(&index, &[], &condition);
        assert_eq!(keys.each_ref().map(|key| fits(&range, key)), found, "{condition:?}");
    }
    let x = || IndexValue::from(Scalar::String("x".into()));
    let found = range(&index, &[time(0), x()], &Condition::Any);
    assert_eq!(keys.each_ref().map(|key| fits(&found, key)), [false, false, true, false, false]);
    assert_eq!(prefix(&index, &[x()]), None);
    assert_eq!(prefix(&index, &[time(0), time(0)]), None);
    assert_eq!(range(&index, &[], &Condition::StartsWith("x")), None);
    assert_eq!(range(&index, &[time(0), x(), time(0)], &Condition::Any), None);
}

#[test]
fn the_longest_values_stay_within_a_page() {
    let long = "😀".repeat(1 << 18);
    let data = format!(r#"{{"a":"{long}","b":"{long}b","c":-1e-399}}"#);
    for paths in [&["data.a"][..], &["data.a", "data.b"], &["data.a", "data.b", "data.c"]] {
        let key = key(&index(paths), facts(&data)).expect("a key");
        assert!(key.len() <= MAX_KEY_BYTES, "{}", key.len());
    }
    let three = index(&["data.a", "data.b", "createdAt"]);
    assert_eq!(key(&three, facts(&data)).map(|key| key.len()), Some(2 * (128 * 4 + 2) + 8));
}

#[test]
fn one_pass_makes_the_keys_of_all_indexes() {
    let indexes = [
        index(&["data.a"]),
        index(&["data.b", "data.a"]),
        index(&["updatedAt"]),
        index(&["data.c"]),
    ];
    let facts = facts(r#"{"a":1,"b":"two"}"#);
    let keys = KeyMaker::new(&indexes).keys(facts);
    let one_by_one: Vec<_> = indexes.iter().map(|index| key(index, facts)).collect();
    assert_eq!(keys, one_by_one);
    assert_eq!(keys.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false]);
}
