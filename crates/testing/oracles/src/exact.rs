//! JSON as `serde_json` reads it, by the contract's rules for all JSON, with exact numbers: level by
//! level through raw values, so that neither floats nor a recursion limit interfere.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

const MAX_DEPTH: usize = 64;
const MAX_DIGITS: usize = 400;
/// With a larger exponent a number has more digits than any input.
const LARGEST_EXPONENT: i64 = 1 << 20;

/// A JSON value that breaks no rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Exact {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl Exact {
    /// `None` if a rule is broken. `text` is JSON.
    pub(crate) fn read(text: &str) -> Option<Self> {
        Self::at_level(text.trim(), 1)
    }

    fn at_level(text: &str, level: usize) -> Option<Self> {
        Some(match text.as_bytes().first()? {
            b'{' | b'[' if level > MAX_DEPTH => return None,
            b'{' => Self::Object(
                members(text)?
                    .into_iter()
                    .map(|(key, value)| Some((key, Self::at_level(value, level + 1)?)))
                    .collect::<Option<_>>()?,
            ),
            b'[' => Self::Array(
                elements(text)?
                    .into_iter()
                    .map(|value| Self::at_level(value, level + 1))
                    .collect::<Option<_>>()?,
            ),
            b'"' => Self::String(string(text)?),
            b'n' => Self::Null,
            b't' | b'f' => Self::Bool(text == "true"),
            _ => Self::Number(Number::read(text)?),
        })
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// No object and no null among the members.
    pub(crate) fn is_flat(&self) -> bool {
        let Self::Object(members) = self else { return false };
        !members.values().any(|value| value.is_object() || *value == Self::Null)
    }

    /// As compact JSON, with numbers written out.
    pub(crate) fn written(&self) -> String {
        let quoted = |text: &str| serde_json::to_string(text).expect("a string");
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.0.clone(),
            Self::String(text) => quoted(text),
            Self::Array(values) => {
                let values: Vec<_> = values.iter().map(Self::written).collect();
                format!("[{}]", values.join(","))
            }
            Self::Object(members) => {
                let member = |(key, value): (&String, &Self)| quoted(key) + ":" + &value.written();
                let members: Vec<_> = members.iter().map(member).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    /// RFC 7396, section 2, word for word.
    pub(crate) fn merge_patch(self, patch: &Self) -> Self {
        let Self::Object(changes) = patch else { return patch.clone() };
        let Self::Object(mut target) = self else {
            return Self::Object(BTreeMap::new()).merge_patch(patch);
        };
        for (name, value) in changes {
            if *value == Self::Null {
                target.remove(name);
            } else {
                let before = target.remove(name).unwrap_or(Self::Null);
                target.insert(name.clone(), before.merge_patch(value));
            }
        }
        Self::Object(target)
    }
}

/// A number without exponent, as PostgreSQL's jsonb writes it; equal by value.
#[derive(Debug, Clone)]
pub(crate) struct Number(pub(crate) String);

impl Number {
    /// `None` if it needs too many digits.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let unsigned = text.trim_start_matches('-');
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (int, frac) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_zero = mantissa.bytes().all(|b| matches!(b, b'0' | b'.'));
        let overflow = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let mut point = match exponent.parse().unwrap_or(overflow) {
            positive @ 0.. if is_zero => positive.min(i64::try_from(frac.len()).ok()?),
            exponent => exponent,
        };
        if point.unsigned_abs() > LARGEST_EXPONENT.unsigned_abs() {
            return None;
        }
        let mut digits = format!("{int}{frac}");
        point += i64::try_from(int.len()).ok()?;
        // so many zeros that the point is between two digits
        digits.insert_str(0, &"0".repeat(usize::try_from(1 - point).unwrap_or(0)));
        let point = usize::try_from(point.max(1)).ok()?;
        digits.push_str(&"0".repeat(point.saturating_sub(digits.len())));
        let (int, frac) = digits.split_at(point);
        let int = Some(int.trim_start_matches('0')).filter(|int| !int.is_empty()).unwrap_or("0");
        let sign = if text.starts_with('-') && !is_zero { "-" } else { "" };
        let dot = if frac.is_empty() { "" } else { "." };
        (int.len() + frac.len() <= MAX_DIGITS).then(|| Self(format!("{sign}{int}{dot}{frac}")))
    }

    fn value(&self) -> &str {
        if self.0.contains('.') {
            self.0.trim_end_matches('0').trim_end_matches('.')
        } else {
            &self.0
        }
    }

    /// Its value, if it is an integer.
    pub(crate) fn whole(&self) -> Option<&str> {
        Some(self.value()).filter(|value| !value.contains('.'))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

/// Whether `serde_json` accepts `bytes` as JSON, by no other rules.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// The members of an object; `None` if it is none, or a key breaks a rule or is duplicate.
pub(crate) fn members(object: &str) -> Option<BTreeMap<String, &str>> {
    let all = all_members(object)?;
    let count = all.len();
    let members: BTreeMap<_, _> = all.into_iter().collect();
    (members.len() == count && !members.keys().any(|key| key.contains('\0'))).then_some(members)
}

/// The members of an object with duplicates; `None` if it is none, or a key is not text.
pub(crate) fn all_members(object: &str) -> Option<Vec<(String, &str)>> {
    let Members(members) = serde_json::from_str(object).ok()?;
    Some(members.into_iter().map(|(key, value)| (key, value.get())).collect())
}

/// The elements of an array; `None` if it is none.
pub(crate) fn elements(array: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(array).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// A string; `None` if it is none or breaks a rule.
pub(crate) fn string(text: &str) -> Option<String> {
    serde_json::from_str::<String>(text).ok().filter(|text| !text.contains('\0'))
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EveryMember)
    }
}

struct EveryMember;

impl<'de> Visitor<'de> for EveryMember {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    #[test]
    fn numbers_are_written_out_as_postgresql_does() {
        for (text, written) in [
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("0e-3", "0.000"),
            ("0.00e1", "0.0"),
            ("0e99999999999999999999", "0"),
            ("-12.50", "-12.50"),
            ("1.0e2", "100"),
            ("12.345e1", "123.45"),
            ("0.001e2", "0.1"),
            ("1e-2", "0.01"),
            ("1.0e-1", "0.10"),
        ] {
            assert_eq!(
                Number::read(text).map(|number| number.0).as_deref(),
                Some(written),
                "{text}"
            );
        }
        assert_eq!(Number::read("1e399").map(|number| number.0.len()), Some(400));
        for text in ["1e400", "1e-400", "1e9999999999999999999", "0e-99999999999999999999"] {
            assert_eq!(Number::read(text), None, "{text}");
        }
    }
}
