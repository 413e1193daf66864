//! Clients of the routes of single entities. Each write has an idempotency key, as each event has a
//! uuid. Which entities they meet:
//! - GET, PUT and PATCH: one of [`Keys::Set`], which exist throughout; so an answer that says
//!   otherwise is an error.
//! - DELETE alone: each of [`Keys::Once`] once. They are prepared, so that nothing but deletes is
//!   measured.
//! - Of a mix, an event makes a new entity, and DELETE removes the last one that its client made.
//! - PATCH with `If-Match`: one of those that events of this cell made, with the version that the
//!   latest answer about it had. Clients share what they know, so two may meet: one of them gets 412.

use std::cell::{Cell as Count, RefCell};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;

use fastrand::Rng;

use super::clients::{Clients, template};
use super::http::{Connection, Response};
use super::rest::{is_success, open, request, to_text};
use super::schedule::Schedule;
use crate::Result;
use crate::cells::{Cell, Requests};
use crate::events::{self, Keys, Template};
use crate::meter::{Meter, SendTime};

#[cfg(test)]
mod tests;

/// How many entities [`Known`] has: enough that few patches meet, and few enough to be soon there.
const KNOWN_ENTITIES: usize = 1000;

/// The distance of successive numbers of [`Unused`]: without a common factor with their count, so
/// that none comes twice, and far, so that they are spread as random keys are.
const STRIDE: u64 = 309_017;

pub(super) async fn start(
    clients: &mut Clients,
    cell: &Cell,
    requests: Requests,
    address: SocketAddr,
    meter: &Meter,
    schedule: impl FnOnce() -> Schedule,
) -> Result<()> {
    let (unused, known) = (Unused::default(), Known::default());
    let event = Cell { keys: Keys::New, ..*cell };
    let connections = open(cell, address).await?;
    let schedule = schedule();
    for connection in connections {
        let mut random = Rng::with_seed(crate::next_seed());
        let sequence = sequence(requests);
        let sender = Sender {
            sequence,
            next: random.usize(..sequence.len()),
            event: template(request(&event), &event),
            attributes: events::attributes(cell.size),
            buffer: String::new(),
            random,
            made: None,
            unused: unused.clone(),
            known: known.clone(),
        };
        clients.spawn(client(connection, sender, meter.clone(), schedule.clone()));
    }
    Ok(())
}

async fn client(mut connection: Connection, mut sender: Sender, meter: Meter, schedule: Schedule) {
    loop {
        let Some(call) = sender.next_call() else {
            return meter.record_error(|| {
                "every prepared entity is deleted: measure fewer seconds".to_owned()
            });
        };
        let time = schedule.next().await;
        match connection.call(sender.render(call)).await {
            Ok(response) => sender.take(call, time, &response, &meter),
            Err(error) => return meter.record_error(|| format!("connection error: {error}")),
        }
    }
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// POST of an event that makes a new entity.
    Event,
    Get,
    Put,
    Patch,
    /// PATCH with `If-Match`.
    PatchIfMatch,
    /// DELETE of a prepared entity.
    Delete,
    /// DELETE of the entity that the client's last event made.
    DeleteMade,
}

/// The operations that a client repeats; it begins at a random one.
fn sequence(requests: Requests) -> &'static [Operation] {
    use Operation::{Delete, DeleteMade, Event, Get, Patch, PatchIfMatch, Put};
    match requests {
        Requests::Get => &[Get],
        Requests::Put => &[Put],
        Requests::Patch => &[Patch],
        Requests::Delete => &[Delete],
        Requests::Mixed => &[
            Event, Get, Patch, Get, Put, Get, Get, Patch, Get, Put, DeleteMade, Get, Patch, Get,
            Get, Patch, Get, Put, Get, Patch,
        ],
        Requests::Match => &[
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            Event,
            PatchIfMatch,
        ],
    }
}

/// A request and the entity that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    operation: Operation,
    /// The number in the entity's key.
    entity: u64,
    /// Of `If-Match`: the place among the known entities, and the version.
    expected: Option<(usize, u64)>,
}

/// Makes the requests of one client, and takes their responses.
struct Sender {
    sequence: &'static [Operation],
    next: usize,
    event: Template,
    /// The body of PUT and PATCH.
    attributes: String,
    buffer: String,
    random: Rng,
    /// The entity that the last event made, unless it is deleted.
    made: Option<u64>,
    unused: Unused,
    known: Known,
}

impl Sender {
    /// `None` where a prepared entity is needed and there is none left.
    fn next_call(&mut self) -> Option<Call> {
        let operation = self.sequence[self.next];
        self.next = (self.next + 1) % self.sequence.len();
        let call = |entity| Some(Call { operation, entity, expected: None });
        match operation {
            Operation::Event => Some(self.event()),
            Operation::Get | Operation::Put | Operation::Patch => {
                call(self.random.u64(Keys::Set.numbers()))
            }
            Operation::Delete => call(self.unused.take()?),
            // instead of the first one of a client that has made no entity yet
            Operation::DeleteMade => self.made.take().map_or_else(|| Some(self.event()), call),
            Operation::PatchIfMatch => {
                let known = self.known.choose(&mut self.random);
                Some(known.map_or_else(
                    || self.event(),
                    |(place, entity, version)| Call {
                        operation,
                        entity,
                        expected: Some((place, version)),
                    },
                ))
            }
        }
    }

    fn event(&mut self) -> Call {
        let entity = self.random.u64(Keys::New.numbers());
        Call { operation: Operation::Event, entity, expected: None }
    }

    /// The bytes of a request.
    fn render(&mut self, call: Call) -> &[u8] {
        let (method, content_type) = match call.operation {
            Operation::Event => return self.event.with_key(call.entity),
            Operation::Get => ("GET", None),
            Operation::Put => ("PUT", Some("application/json")),
            Operation::Patch | Operation::PatchIfMatch => {
                ("PATCH", Some("application/merge-patch+json"))
            }
            Operation::Delete | Operation::DeleteMade => ("DELETE", None),
        };
        let (entity_type, prefix) = (events::ENTITY_TYPE, events::KEY_PREFIX);
        self.buffer.clear();
        // writing to a string can't fail
        let _ = write!(
            self.buffer,
            "{method} /api/v1/entities/{entity_type}/{prefix}{} HTTP/1.1\r\nhost: 127.0.0.1\r\n",
            call.entity
        );
        if call.operation != Operation::Get {
            let uuid = events::random_uuid(&mut self.random);
            let _ = write!(self.buffer, "idempotency-key: {uuid}\r\n");
        }
        if let Some((_, version)) = call.expected {
            let _ = write!(self.buffer, "if-match: \"{version}\"\r\n");
        }
        if let Some(content_type) = content_type {
            let length = self.attributes.len();
            let _ = write!(
                self.buffer,
                "content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{}",
                self.attributes
            );
        } else {
            self.buffer.push_str("\r\n");
        }
        self.buffer.as_bytes()
    }

    /// Counts a response, and keeps what it says about an entity.
    fn take(&mut self, call: Call, time: SendTime, response: &Response<'_>, meter: &Meter) {
        let error =
            || meter.record_error(|| format!("{:?}: {}", call.operation, to_text(response)));
        let body = response.body;
        match (call.operation, response.status) {
            (_, 503) => meter.refusal(time, || to_text(response)),
            (Operation::Event, _) if is_success(response) => {
                meter.success(time, 1);
                self.made = Some(call.entity);
                self.learn(call.entity, body);
            }
            (Operation::Get, 200) if is_entity(body, call.entity) => meter.read(time),
            (Operation::PatchIfMatch, 412) => match member(body, "currentVersion") {
                Some(version) => {
                    meter.precondition(false);
                    self.correct(call, version);
                }
                None => error(),
            },
            (Operation::PatchIfMatch, 200) if is_applied(body) => match member(body, "version") {
                Some(version) => {
                    meter.success(time, 1);
                    meter.precondition(true);
                    self.correct(call, version);
                }
                None => error(),
            },
            // 201 would mean that PUT has met no entity
            (Operation::Event | Operation::Get | Operation::PatchIfMatch, _) => error(),
            (_, 200) if is_applied(body) => meter.success(time, 1),
            _ => error(),
        }
    }

    /// Keeps the version of a new entity where a later request needs it.
    fn learn(&mut self, entity: u64, body: &[u8]) {
        if self.sequence.contains(&Operation::PatchIfMatch)
            && !self.known.is_full()
            && let Some(version) = member(body, "version")
        {
            self.known.add(entity, version);
        }
    }

    fn correct(&self, call: Call, version: u64) {
        if let Some((place, _)) = call.expected {
            self.known.correct(place, version);
        }
    }
}

/// The answer to a write that was applied and is no duplicate.
fn is_applied(body: &[u8]) -> bool {
    const START: &[u8] = br#"{"eventId":""#;
    let after_id = body.get(START.len() + events::UUID.len()..).unwrap_or_default();
    body.starts_with(START) && after_id.starts_with(br#"","duplicate":false,"#)
}

/// The answer to a GET of this entity.
fn is_entity(body: &[u8], number: u64) -> bool {
    let (entity_type, prefix) = (events::ENTITY_TYPE, events::KEY_PREFIX);
    let start =
        format!(r#"{{"entityType":"{entity_type}","entityId":"{prefix}{number}","version":"#);
    body.starts_with(start.as_bytes())
}

/// The whole number that is the value of the first member with this name, in JSON without white
/// space.
fn member(body: &[u8], name: &str) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, value) = text.split_once(&format!("\"{name}\":"))?;
    let end = value.find(|c: char| !c.is_ascii_digit())?;
    value[..end].parse().ok()
}

/// The prepared entities that are not deleted yet. Cheap to clone; for one thread.
#[derive(Clone, Default)]
struct Unused(Rc<Count<u64>>);

impl Unused {
    /// The number of one of them; `None` behind the last.
    fn take(&self) -> Option<u64> {
        let numbers = Keys::Once.numbers();
        let (count, taken) = (numbers.end - numbers.start, self.0.get());
        self.0.set(taken + 1);
        (taken < count).then(|| numbers.start + taken * STRIDE % count)
    }
}

/// Entities and their versions as far as answers have them. Cheap to clone; for one thread.
#[derive(Clone, Default)]
struct Known(Rc<RefCell<Vec<(u64, u64)>>>);

impl Known {
    fn is_full(&self) -> bool {
        self.0.borrow().len() >= KNOWN_ENTITIES
    }

    fn add(&self, entity: u64, version: u64) {
        self.0.borrow_mut().push((entity, version));
    }

    /// The place, entity and version of one of them; `None` where there is none.
    fn choose(&self, random: &mut Rng) -> Option<(usize, u64, u64)> {
        let known = self.0.borrow();
        let place = random.usize(..known.len().max(1));
        known.get(place).map(|&(entity, version)| (place, entity, version))
    }

    /// Takes over a version unless a later one is known: answers may come in another order.
    fn correct(&self, place: usize, version: u64) {
        if let Some((_, known)) = self.0.borrow_mut().get_mut(place) {
            *known = version.max(*known);
        }
    }
}
