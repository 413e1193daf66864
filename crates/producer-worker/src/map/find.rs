//! What a message has at a pointer.

use std::borrow::Cow;

use producer_core::json::CheckedJson;
use producer_core::{Location, Step, Violations};

use super::pointer::Pointer;
use crate::source::Body;

/// A message that pointers lead into.
pub(super) enum Document<'a> {
    /// One JSON value.
    Json(CheckedJson<'a>),
    /// Named texts.
    Fields(&'a [(String, Vec<u8>)]),
}

/// What is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// The characters of a text.
    Text(Cow<'a, str>),
    /// Another JSON value, as its text.
    Json(Cow<'a, str>),
}

impl<'a> Document<'a> {
    /// # Errors
    /// It is no JSON, or JSON that breaks a rule.
    pub(super) fn read(body: &'a Body) -> Result<Self, Violations> {
        match body {
            Body::Bytes(bytes) => {
                let text =
                    utf8(bytes).map_err(|detail| Violations::one(Location::default(), detail))?;
                Ok(Self::Json(CheckedJson::parse(text)?))
            }
            Body::Fields(fields) => Ok(Self::Fields(fields)),
            Body::Gone => Ok(Self::Fields(&[])),
        }
    }

    /// What is at the pointer; `None` where there is nothing.
    ///
    /// # Errors
    /// A text on the way holds no JSON, or JSON that breaks a rule.
    pub(super) fn find(&self, pointer: &Pointer) -> Result<Option<Found<'a>>, Violations> {
        match (self, pointer.steps()) {
            (Self::Json(value), steps) => walk(*value, pointer, steps),
            (Self::Fields(fields), []) => all_fields(fields).map(Some),
            (Self::Fields(fields), [name, rest @ ..]) => {
                let Some((_, bytes)) = fields.iter().find(|(known, _)| known == name) else {
                    return Ok(None);
                };
                let text =
                    utf8(bytes).map_err(|detail| Violations::one(pointer.location(1), detail))?;
                into_text(Cow::Borrowed(text), pointer, rest)
            }
        }
    }
}

/// A text has what its JSON has, for as long as there are steps.
fn into_text<'a>(
    text: Cow<'a, str>,
    pointer: &Pointer,
    rest: &[String],
) -> Result<Option<Found<'a>>, Violations> {
    if rest.is_empty() {
        return Ok(Some(Found::Text(text)));
    }
    let place = || pointer.location(pointer.steps().len() - rest.len());
    match text {
        Cow::Borrowed(text) => walk(parse(text, &place())?, pointer, rest),
        Cow::Owned(text) => {
            Ok(walk(parse(&text, &place())?, pointer, rest)?.map(Found::into_owned))
        }
    }
}

fn parse<'t>(text: &'t str, place: &Location) -> Result<CheckedJson<'t>, Violations> {
    CheckedJson::parse(text).map_err(|violations| violations.below(place))
}

fn walk<'a>(
    mut value: CheckedJson<'a>,
    pointer: &Pointer,
    steps: &[String],
) -> Result<Option<Found<'a>>, Violations> {
    for (taken, step) in steps.iter().enumerate() {
        if let Some(text) = value.string() {
            return into_text(text, pointer, &steps[taken..]);
        }
        match value.step(step) {
            Some(inner) => value = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(match value.string() {
        Some(text) => Found::Text(text),
        None => Found::Json(Cow::Borrowed(value.text())),
    }))
}

/// All fields, as an object of texts.
fn all_fields<'a>(fields: &[(String, Vec<u8>)]) -> Result<Found<'a>, Violations> {
    let mut texts = Vec::with_capacity(fields.len());
    for (name, bytes) in fields {
        let place = || Location(vec![Step::Key(name.clone().into())]);
        let text = utf8(bytes).map_err(|detail| Violations::one(place(), detail))?;
        texts.push((name.as_str(), text));
    }
    Ok(Found::Json(producer_core::json::object_of_strings(texts).into()))
}

impl<'f> Found<'f> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Json(text) => text,
        }
    }

    pub(super) fn into_text(self) -> Cow<'f, str> {
        match self {
            Self::Text(text) | Self::Json(text) => text,
        }
    }

    fn into_owned<'a>(self) -> Found<'a> {
        match self {
            Self::Text(text) => Found::Text(text.into_owned().into()),
            Self::Json(text) => Found::Json(text.into_owned().into()),
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, &'static str> {
    str::from_utf8(bytes).map_err(|_| "must be UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &Body, pointer: &str) -> Option<Found<'static>> {
        let document = Document::read(body).expect("a message");
        let pointer = Pointer::parse(pointer).expect("a pointer");
        document.find(&pointer).expect("JSON").map(Found::into_owned)
    }

    fn text(text: &str) -> Option<Found<'_>> {
        Some(Found::Text(text.into()))
    }

    fn json(text: &str) -> Option<Found<'_>> {
        Some(Found::Json(text.into()))
    }

    fn fields(fields: &[(&str, &[u8])]) -> Body {
        Body::Fields(fields.iter().map(|(name, value)| ((*name).into(), value.to_vec())).collect())
    }

    #[test]
    fn pointers_lead_into_json_and_into_texts_that_hold_json() {
        let body = Body::Bytes(
            br#"{"a":[{"b":1.10}],"t":"{\"x\":[\"{\\\"y\\\":\\\"z\\\"}\"]}","n":null}"#.to_vec(),
        );
        assert_eq!(found(&body, "/a/0/b"), json("1.10"));
        assert_eq!(found(&body, "/n"), json("null"));
        assert_eq!(found(&body, "/a/1"), None);
        assert_eq!(found(&body, "/a/0/b/c"), None);
        assert_eq!(found(&body, "/t/x/0/y"), text("z"));
        assert_eq!(found(&body, "/t/x/0"), text(r#"{"y":"z"}"#));
    }

    #[test]
    fn the_first_step_names_a_field() {
        let body = fields(&[("data", br#"{"id":"o-1"}"#), ("n", b"1"), ("n", b"2"), ("a/b", b"{")]);
        assert_eq!(found(&body, "/data/id"), text("o-1"));
        assert_eq!(found(&body, "/data"), text(r#"{"id":"o-1"}"#));
        assert_eq!(found(&body, "/n"), text("1"));
        assert_eq!(found(&body, "/a~1b"), text("{"));
        assert_eq!(found(&body, "/x"), None);
        let body = fields(&[("id", b"1"), ("name", "ä".as_bytes())]);
        assert_eq!(found(&body, ""), json(r#"{"id":"1","name":"ä"}"#));
    }

    #[test]
    fn what_is_no_json_is_reported_with_its_place() {
        let place = |body: &Body, pointer: &str| {
            let pointer = Pointer::parse(pointer).expect("a pointer");
            let found = Document::read(body).and_then(|document| document.find(&pointer).map(drop));
            let violations = found.expect_err("no JSON");
            let first = violations.first().expect("one");
            (first.location.pointer(), first.detail.to_string())
        };
        let body = fields(&[("data", b"order.created"), ("raw", b"\xff")]);
        let (pointer, detail) = place(&body, "/data/id");
        assert_eq!(pointer, "/data");
        assert!(detail.starts_with("must be JSON: "), "{detail}");
        assert_eq!(place(&body, "/raw"), ("/raw".into(), "must be UTF-8".into()));
        assert_eq!(place(&body, ""), ("/raw".into(), "must be UTF-8".into()));
        let body = Body::Bytes(br#"{"a":{"t":"{\"x\":1,\"x\":2}"}}"#.to_vec());
        assert_eq!(place(&body, "/a/t/x").0, "/a/t/x");
        assert_eq!(place(&Body::Bytes(b"\xff".to_vec()), "").1, "must be UTF-8");
        assert!(place(&Body::Bytes(Vec::new()), "").1.starts_with("must be JSON: "));
    }
}
