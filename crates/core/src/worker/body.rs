//! The bodies of requests that steer a sink: JSON objects with one text.

use std::borrow::Cow;

use crate::json::{Kind, Location, Malformed, Scanner, Step, Violations};
use crate::model::Problem;

/// Reads a JSON object that has the member `name`, a string, and no other.
///
/// # Errors
/// `Malformed` with line and column where the body is no JSON, else `Validation` with all broken rules.
pub fn read_only_text(body: &str, name: &'static str) -> Result<String, Problem> {
    let mut reader = Reader { scan: Scanner::new(body), violations: Violations::default() };
    let text = reader.object(name)?;
    reader.scan.lexer.end()?;
    match text {
        Some(text) if reader.violations.is_empty() => Ok(text),
        _ => Err(Problem::validation(reader.violations)),
    }
}

struct Reader<'a> {
    scan: Scanner<'a>,
    violations: Violations,
}

impl Reader<'_> {
    /// The text; `None` where a rule was broken.
    fn object(&mut self, name: &'static str) -> Result<Option<String>, Malformed> {
        if self.scan.next_kind()? != Kind::Object {
            self.refuse("must be a JSON object")?;
            return Ok(None);
        }
        let (mut text, mut is_given) = (None, false);
        self.scan.enter_object();
        while self.scan.next_member(&mut self.violations)? {
            if self.scan.current_key() != name {
                self.refuse(format!("is unknown; the only member is {name}"))?;
                continue;
            }
            is_given = true;
            text = self.text()?;
        }
        if !is_given {
            let place = Location(vec![Step::Key(name.into())]);
            self.violations.add(|| place, "is required");
        }
        Ok(text)
    }

    fn text(&mut self) -> Result<Option<String>, Malformed> {
        if self.scan.next_kind()? != Kind::String {
            self.refuse("must be a string")?;
            return Ok(None);
        }
        let text = self.scan.string(&mut self.violations)?;
        Ok(text.flaw.is_none().then(|| text.decoded().into_owned()))
    }

    /// Reports the next value and skips it.
    fn refuse(&mut self, detail: impl Into<Cow<'static, str>>) -> Result<(), Malformed> {
        self.violations.add(|| self.scan.location(), detail);
        self.scan.value(&mut self.violations).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProblemKind;

    #[test]
    fn the_object_has_one_text() {
        assert_eq!(read_only_text(r#" {"from": "no\u0077"} "#, "from"), Ok("now".into()));
        for (body, detail) in [
            ("[]", "the value must be a JSON object"),
            ("null", "the value must be a JSON object"),
            ("{}", "/from is required"),
            (r#"{"from":null}"#, "/from must be a string"),
            (r#"{"from":["now"]}"#, "/from must be a string"),
            (r#"{"from":"a","from":"b"}"#, "/from must not occur twice in one object"),
            (r#"{"from":"\u0000"}"#, "/from must not contain the character U+0000"),
            (r#"{"From":"now"}"#, "/From is unknown; the only member is from (and 1 more)"),
            (r#"{"from":"now","to":{"a":[1]}}"#, "/to is unknown; the only member is from"),
        ] {
            let problem = read_only_text(body, "from").expect_err(body);
            assert_eq!((problem.kind, &*problem.detail), (ProblemKind::Validation, detail));
        }
        for body in ["", "{", "{\"from\" \"now\"}", "{} {}", "now"] {
            let problem = read_only_text(body, "from").expect_err(body);
            assert_eq!(problem.kind, ProblemKind::Malformed, "{body}");
            assert!(problem.detail.starts_with("line 1 of the body, column "), "{problem}");
        }
    }
}
