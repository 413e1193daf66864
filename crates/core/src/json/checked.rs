//! A JSON text that keeps every rule, and steps into it by its text alone.

use std::borrow::Cow;

use super::lexer::Malformed;
use super::scanner::Scanner;
use super::select::{elements, members, value_end};
use super::text::decode;
use super::violation::{Location, Violations};

/// One JSON value that keeps every rule of the contract, as its text.
///
/// ```
/// # use producer_core::json::CheckedJson;
/// let message = CheckedJson::parse(r#"{"data":[{"price":1.10}]}"#).expect("JSON");
/// let price = message.step("data").and_then(|data| data.step("0")).and_then(|item| item.step("price"));
/// assert_eq!(price.map(CheckedJson::text), Some("1.10"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedJson<'a>(&'a str);

impl<'a> CheckedJson<'a> {
    /// Checks a text.
    ///
    /// # Errors
    /// The broken rules, with locations relative to the value; a text that is no JSON is one of them.
    pub fn parse(text: &'a str) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        match Self::read(text, &mut violations) {
            Ok(value) if violations.is_empty() => Ok(value),
            Ok(_) => Err(violations),
            Err(malformed) => {
                Err(Violations::one(Location::default(), format!("must be JSON: {malformed}")))
            }
        }
    }

    fn read(text: &'a str, violations: &mut Violations) -> Result<Self, Malformed> {
        let mut scan = Scanner::new(text);
        let value = scan.value(violations)?;
        scan.lexer.end()?;
        Ok(Self(value.raw))
    }

    /// Its text, without white space around it.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// A step of a JSON Pointer (RFC 6901): the object's member of this name, or the array's element with this
    /// index; `None` where there is none.
    pub fn step(self, step: &str) -> Option<Self> {
        let raw = match self.0.as_bytes().first()? {
            b'{' => self.member(step),
            b'[' => elements(self.0).nth(index(step)?),
            _ => None,
        };
        raw.map(Self)
    }

    /// The characters of a string; `None` of another value.
    pub fn string(self) -> Option<Cow<'a, str>> {
        let raw = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(decode(raw))
    }

    /// An object without these members; another value as it is.
    pub fn without(self, names: &[String]) -> Cow<'a, str> {
        if !self.0.starts_with('{') || !names.iter().any(|name| self.member(name).is_some()) {
            return Cow::Borrowed(self.0);
        }
        let mut out = String::with_capacity(self.0.len());
        self.each_member(|key, value| {
            if !names.iter().any(|name| *name == decode(key)) {
                out.push(if out.is_empty() { '{' } else { ',' });
                for part in ["\"", key, "\":", value] {
                    out.push_str(part);
                }
            }
            true
        });
        out.push_str(if out.is_empty() { "{}" } else { "}" });
        Cow::Owned(out)
    }

    fn member(self, name: &str) -> Option<&'a str> {
        let mut found = None;
        self.each_member(|key, value| {
            found = (decode(key) == name).then_some(value);
            found.is_none()
        });
        found
    }

    /// Calls `read` for the members of an object, with the raw key and the raw value, as long as it returns
    /// true.
    fn each_member(self, mut read: impl FnMut(&'a str, &'a str) -> bool) {
        members(self.0, 1, |key, at| {
            let end = value_end(self.0.as_bytes(), at)?;
            read(key, self.0.get(at..end)?).then_some(end)
        });
    }
}

/// An index as RFC 6901 has it: without zeros before it.
fn index(step: &str) -> Option<usize> {
    let is_index =
        step == "0" || !step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit());
    is_index.then(|| step.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn checked(text: &str) -> CheckedJson<'_> {
        CheckedJson::parse(text).expect(text)
    }

    #[test]
    fn steps_lead_into_objects_and_arrays() {
        let value = checked(r#" {"a" : [10, {"\u0062":"x\"y"}, null], "0": {}, "": 1e2} "#);
        let text = |steps: &[&str]| {
            let end = steps.iter().try_fold(value, |value, step| value.step(step));
            end.map(CheckedJson::text)
        };
        assert_eq!(text(&["a", "0"]), Some("10"));
        assert_eq!(text(&["a", "1", "b"]), Some(r#""x\"y""#));
        assert_eq!(text(&["a", "2"]), Some("null"));
        assert_eq!(text(&["0"]), Some("{}"));
        assert_eq!(text(&[""]), Some("1e2"));
        for missing in [
            &["b"][..],
            &["a", "3"],
            &["a", "00"],
            &["a", "-"],
            &["a", "+1"],
            &["a", ""],
            &["a", "0", "x"],
        ] {
            assert_eq!(text(missing), None, "{missing:?}");
        }
        let string = value.step("a").and_then(|a| a.step("1")).and_then(|one| one.step("b"));
        assert_eq!(string.and_then(CheckedJson::string).as_deref(), Some("x\"y"));
        assert_eq!(value.string(), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[a\\\\\"{}\\[\\],:/~ é]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab0\"\\\\/~1]{0,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn steps_find_what_a_parsed_value_has(
            value in value(),
            steps in prop::collection::vec("[ab0\"\\\\/~1]{0,2}|[0-3]", 0..4),
        ) {
            let text = serde_json::to_string_pretty(&value).expect("JSON");
            let found = steps.iter().try_fold(checked(&text), |value, step| value.step(step));
            let escaped = |step: &String| format!("/{}", step.replace('~', "~0").replace('/', "~1"));
            let pointer: String = steps.iter().map(escaped).collect();
            let found = found.map(|found| serde_json::from_str::<Value>(found.text()).expect("JSON"));
            prop_assert_eq!(found.as_ref(), value.pointer(&pointer));
            let mut without = value.clone();
            if let Value::Object(members) = &mut without {
                members.retain(|name, _| !steps.contains(name));
            }
            let left = checked(&text).without(&steps).into_owned();
            prop_assert_eq!(serde_json::from_str::<Value>(&left).expect("JSON"), without);
        }
    }

    #[test]
    fn members_are_left_out() {
        let names = ["a".to_owned(), "c".to_owned()];
        for (text, expected) in [
            (r#"{"a":1,"b":{"a":2.50},"\u0063":[]}"#, r#"{"b":{"a":2.50}}"#),
            (r#"{"a":1}"#, "{}"),
            (r#"{ "b" : 1 }"#, r#"{ "b" : 1 }"#),
            ("{}", "{}"),
            (r#"["a"]"#, r#"["a"]"#),
        ] {
            assert_eq!(checked(text).without(&names), expected, "{text}");
        }
    }

    #[test]
    fn broken_rules_and_texts_that_are_no_json_are_reported() {
        let first = |text: &str| {
            let violations = CheckedJson::parse(text).expect_err(text);
            let first = violations.first().expect("a violation");
            (first.location.pointer(), first.detail.clone().into_owned())
        };
        assert_eq!(first(r#"{"a":{"b":1,"b":2}}"#).0, "/a/b");
        let (pointer, detail) = first("{\"a\":");
        assert_eq!(pointer, "");
        assert!(detail.starts_with("must be JSON: the text ends too early"), "{detail}");
        assert!(first("1 2").1.starts_with("must be JSON: "));
    }
}
