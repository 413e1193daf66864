//! Equality of JSON texts as values: the order of keys, white space, escapes and the notation of
//! numbers don't count.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::lexer::Malformed;
use super::number::Decimal;
use super::scanner::{Kind, MAX_DEPTH, Scanner};
use super::violation::Violations;

/// A JSON value in a form that is the same for all of its texts.
#[derive(PartialEq)]
enum Value<'a> {
    Object(BTreeMap<Cow<'a, str>, Self>),
    Array(Vec<Self>),
    String(Cow<'a, str>),
    Number(Decimal),
    /// `true`, `false` or `null`
    Word(&'a str),
}

/// Whether two JSON texts mean the same value. Numbers are compared exactly.
///
/// Texts that are no JSON by the contract's rules are the same only byte by byte.
pub fn same_value(a: &str, b: &str) -> bool {
    a == b || read(a).is_some_and(|a| read(b).is_some_and(|b| a == b))
}

fn read(text: &str) -> Option<Value<'_>> {
    let mut reader = Reader { scan: Scanner::new(text), violations: Violations::default() };
    let value = reader.value(0).ok().flatten()?;
    reader.scan.lexer.end().ok()?;
    reader.violations.is_empty().then_some(value)
}

struct Reader<'a> {
    scan: Scanner<'a>,
    violations: Violations,
}

impl<'a> Reader<'a> {
    /// `None` where it is too deep. `depth` containers are open.
    fn value(&mut self, depth: usize) -> Result<Option<Value<'a>>, Malformed> {
        Ok(Some(match self.scan.next_kind()? {
            Kind::Object | Kind::Array if depth == MAX_DEPTH => return Ok(None),
            Kind::Object => return self.object(depth),
            Kind::Array => return self.array(depth),
            Kind::String => Value::String(self.scan.string(&mut self.violations)?.decoded()),
            Kind::Number => {
                Value::Number(Decimal::new(self.scan.number(&mut self.violations)?.raw))
            }
            Kind::Null | Kind::Bool => Value::Word(self.scan.value(&mut self.violations)?.raw),
        }))
    }

    fn object(&mut self, depth: usize) -> Result<Option<Value<'a>>, Malformed> {
        let mut members = Vec::new();
        self.scan.enter_object();
        while self.scan.next_member(&mut self.violations)? {
            let key = self.scan.current_key().clone();
            let Some(value) = self.value(depth + 1)? else {
                return Ok(None);
            };
            members.push((key, value));
        }
        Ok(Some(Value::Object(members.into_iter().collect())))
    }

    fn array(&mut self, depth: usize) -> Result<Option<Value<'a>>, Malformed> {
        let mut elements = Vec::new();
        self.scan.enter_array();
        while self.scan.next_element()? {
            let Some(value) = self.value(depth + 1)? else {
                return Ok(None);
            };
            elements.push(value);
        }
        Ok(Some(Value::Array(elements)))
    }
}
