//! From bytes to [`Event`]s: one pass over the raw JSON finds every broken rule and its location,
//! without recursion.

mod draft;
mod entity_write;
mod event;
mod fields;
mod idempotency_key;
mod locations;
mod uuid;

use ::uuid::Uuid;
pub use draft::{Defaults, Draft};
pub use entity_write::{EntityMethod, EntityRequest, EntityWrite};
pub use fields::{EntityFields, Field, Header};
pub use idempotency_key::IdempotencyKey;
pub use uuid::uuid;

use crate::json::{Kind, Location, Malformed, Patch, Scanner, Violations};
use crate::model::{CALL_VIOLATIONS, Clock, Event, Problem, ProblemKind};

/// Items that a bulk array may have.
const MAX_EVENTS: usize = 10_000;

/// Reads one event.
///
/// # Errors
/// `Malformed` with line and column where the body is not UTF-8 or not JSON, `Validation` with all
/// broken rules where it is JSON but no event.
pub fn event(body: &[u8], clock: &Clock) -> Result<Event, Problem> {
    let mut draft = Draft::new();
    read(body, &mut draft)?;
    draft.finish(clock)
}

/// Reads one event whose uuid was given by an idempotency key.
///
/// # Errors
/// As [`event()`], and `Malformed` where the event has a uuid too.
pub fn event_with_uuid(body: &[u8], uuid: Uuid, clock: &Clock) -> Result<Event, Problem> {
    let mut draft = Draft::new();
    read(body, &mut draft)?;
    draft.with_uuid(Some(uuid))?.finish(clock)
}

/// Reads one event, which gets what it lacks from `defaults`.
///
/// # Errors
/// As [`event()`].
pub fn event_with_defaults(
    body: &[u8],
    defaults: Defaults<'_>,
    clock: &Clock,
) -> Result<Event, Problem> {
    let mut draft = Draft::new();
    read(body, &mut draft)?;
    draft.with_defaults(defaults).finish(clock)
}

/// Reads a body that is the attributes of one entity alone. The inner error has the broken rules, with
/// locations relative to the body.
///
/// # Errors
/// `Malformed` with line and column where the body is not UTF-8 or not JSON.
pub fn attributes(body: &[u8]) -> Result<Result<Patch, Violations>, Problem> {
    Ok(Patch::read_whole(utf8(body)?)?)
}

/// Reads one event from a line of NDJSON; `number` is the line's number in the body, from 1.
///
/// # Errors
/// As [`event()`]; each names the line.
pub fn line(text: &[u8], number: usize, clock: &Clock) -> Result<Event, Problem> {
    let mut draft = Draft::new();
    read(text, &mut draft).map_err(|malformed| malformed.below_line(number))?;
    draft.finish(clock).map_err(|problem| problem.in_line(number))
}

fn read(text: &[u8], draft: &mut Draft) -> Result<(), Malformed> {
    let mut scan = Scanner::new(utf8(text)?);
    event::read(&mut scan, draft)?;
    scan.lexer.end()
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
    let mut listed = CALL_VIOLATIONS;
    scan.lexer.bump();
    if scan.lexer.peek() == b']' {
        scan.lexer.bump();
        return Ok(events);
    }
    loop {
        if events.len() == MAX_EVENTS {
            return Err(not_events("must have at most 10,000 items"));
        }
        let mut draft = Draft::new();
        event::read(scan, &mut draft)?;
        let item = draft.finish(clock);
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

/// A body as text.
///
/// # Errors
/// `Malformed` with line and column where it is not UTF-8.
pub fn text(body: &[u8]) -> Result<&str, Problem> {
    Ok(utf8(body)?)
}

fn utf8(body: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(body).map_err(|error| {
        let (valid, _) = body.split_at(error.valid_up_to());
        let before = String::from_utf8_lossy(valid);
        Malformed::at(&before, before.len(), "the text is not UTF-8")
    })
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::new(ProblemKind::Malformed, malformed.in_body())
    }
}
