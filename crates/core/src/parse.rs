//! From bytes to [`Event`]s: one scanner over the raw JSON that finds every breach of the contract
//! with its place, in one pass, without recursion.

mod event;
mod lexer;
pub(crate) mod number;
pub(crate) mod scanner;
pub(crate) mod text;

use std::borrow::Cow;

use uuid::Uuid;

use crate::bulk::LISTED_VIOLATIONS;
use crate::event::Patch;
use crate::{Clock, Event, Location, Problem, ProblemKind, Violations};
pub(crate) use lexer::{Lexer, Malformed};
use scanner::{Kind, Scanner};
pub use text::write_string;

/// Items that a bulk array may have.
const MAX_EVENTS: usize = 10_000;

/// Reads one event.
///
/// # Errors
/// `Malformed` with line and column where the body is not UTF-8 or not JSON, `Validation` with all
/// broken rules where it is JSON but no event.
pub fn event(body: &[u8], clock: &Clock) -> Result<Event, Problem> {
    let mut scan = Scanner::new(utf8(body)?);
    let draft = event::read(&mut scan)?;
    scan.lexer.end()?;
    draft.finish(clock)
}

/// Reads a JSON array of 1 to 10,000 events. An item that is JSON but no event is an `Err` in its
/// place, with locations relative to the item.
///
/// # Errors
/// `Malformed` where the body as a whole is not UTF-8 or not JSON, `Validation` where it is no
/// array, or one of no or too many items.
pub fn events(body: &[u8], clock: &Clock) -> Result<Vec<Result<Event, Problem>>, Problem> {
    let mut scan = Scanner::new(utf8(body)?);
    if scan.lexer.is_at_end() {
        return Err(not_events("must be a JSON array of 1 to 10,000 events"));
    }
    if scan.next_kind()? != Kind::Array {
        let mut violations = Violations::one(Location::default(), "must be a JSON array of events");
        scan.value(&mut violations)?;
        scan.lexer.end()?;
        return Err(Problem::validation(violations));
    }
    let events = items(&mut scan, clock)?;
    scan.lexer.end()?;
    if events.is_empty() {
        return Err(not_events("must have at least one item"));
    }
    Ok(events)
}

/// The array's own steps are taken here and not by the scanner, so that its places begin at the
/// item.
fn items(scan: &mut Scanner<'_>, clock: &Clock) -> Result<Vec<Result<Event, Problem>>, Problem> {
    let mut events = Vec::new();
    let mut listed = LISTED_VIOLATIONS;
    scan.lexer.bump();
    if scan.lexer.peek() == b']' {
        scan.lexer.bump();
        return Ok(events);
    }
    loop {
        if events.len() == MAX_EVENTS {
            return Err(not_events("must have at most 10,000 items"));
        }
        let item = event::read(scan)?.finish(clock);
        events.push(item.map_err(|problem| problem.list_at_most(&mut listed)));
        match scan.lexer.peek() {
            b',' => scan.lexer.bump(),
            b']' => break scan.lexer.bump(),
            _ => return Err(scan.lexer.malformed("expected ',' or ']'").into()),
        }
    }
    Ok(events)
}

fn not_events(detail: &'static str) -> Problem {
    Problem::validation(Violations::one(Location::default(), detail))
}

/// Reads attributes from a text of their own: one JSON object that obeys every rule of
/// `updatedAttributes`.
///
/// # Errors
/// The broken rules, with locations relative to the object; a text that is no JSON is one of them.
pub fn attributes(text: &str) -> Result<Patch, Violations> {
    let mut violations = Violations::default();
    let patch = whole_patch(text, &mut violations).map_err(|malformed| {
        Violations::one(Location::default(), format!("must be a JSON object: {malformed}"))
    })?;
    match patch {
        Some(patch) if violations.is_empty() => Ok(patch),
        _ => Err(violations),
    }
}

fn whole_patch(text: &str, violations: &mut Violations) -> Result<Option<Patch>, Malformed> {
    let mut scan = Scanner::new(text);
    let patch = if scan.next_kind()? == Kind::Object {
        Some(patch_of(&mut scan, violations)?)
    } else {
        violations.add(Location::default, "must be a JSON object");
        scan.value(violations)?;
        None
    };
    scan.lexer.end()?;
    Ok(patch)
}

/// The object that comes next as a patch; it is one only if no violation was added.
fn patch_of(scan: &mut Scanner<'_>, violations: &mut Violations) -> Result<Patch, Malformed> {
    scan.lexer.saw_odd_zero = false;
    let object = scan.value(violations)?;
    let text = if scan.lexer.saw_odd_zero { plain_zeros(object.raw) } else { object.raw.into() };
    Ok(Patch { text, size: object.size, flat: object.flat })
}

/// Writes `0` for zeros whose exponent PostgreSQL would not read, such as `0e9999999999`.
#[cold]
fn plain_zeros(object: &str) -> Box<str> {
    let mut out = String::with_capacity(object.len());
    let mut rest = Lexer::new(object);
    let mut copied = 0;
    while let Some(byte) = rest.peek_raw() {
        let start = rest.at();
        rest.saw_odd_zero = false;
        let passed = match byte {
            b'"' => rest.string().is_ok(),
            b'-' | b'0'..=b'9' => rest.number().is_ok(),
            _ => false,
        };
        if rest.saw_odd_zero {
            out.push_str(&object[copied..start]);
            out.push('0');
            copied = rest.at();
        }
        if !passed {
            rest.bump();
        }
    }
    out.push_str(&object[copied..]);
    out.into()
}

/// A JSON object whose members are all strings.
pub fn object_of_strings<'s>(members: impl IntoIterator<Item = (&'s str, &'s str)>) -> String {
    let mut out = String::from("{");
    for (key, value) in members {
        if out.len() > 1 {
            out.push(',');
        }
        write_string(&mut out, key);
        out.push(':');
        write_string(&mut out, value);
    }
    out.push('}');
    out
}

/// A UUID in one of the two forms of the contract: hyphenated or 32 hexadecimal digits, in either
/// case.
pub fn uuid(text: &str) -> Option<Uuid> {
    // the parser also takes braces and urn:uuid:, which are longer
    matches!(text.len(), 32 | 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

fn utf8(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|error| {
        let (valid, _) = body.split_at(error.valid_up_to());
        let before = String::from_utf8_lossy(valid);
        Malformed::at(&before, before.len(), "the text is not UTF-8").into()
    })
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        let detail = format!("the body is not valid JSON: {malformed}");
        Self::new(ProblemKind::Malformed, Cow::Owned(detail))
    }
}
