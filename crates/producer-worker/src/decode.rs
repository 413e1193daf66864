//! From a message of a source to an event.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use producer_core::decode::{Defaults, event_with_defaults};
use producer_core::json::CheckedJson;
use producer_core::{Clock, Event, Location, Problem, ProblemKind, Step, Violations};
use uuid::{Uuid, uuid};

use crate::map::Map;
use crate::source::{Body, Message, Place};

/// The namespace of the uuids of messages that have none (UUIDv5, RFC 9562). Never changes: the same message
/// has the same uuid for ever.
const MESSAGES: Uuid = uuid!("5895ddcb-dcb4-4318-9fc9-ec9076825258");
/// The field of a flat message, and the member of a CloudEvent, that has the event.
const DATA: &str = "data";

/// Makes events of a source's messages.
#[derive(Debug, Clone)]
pub struct Decoder {
    source: String,
    map: Option<Map>,
    max_bytes: usize,
    clock: Clock,
}

impl Decoder {
    /// A decoder for the source of this name, whose messages have at most `max_bytes` bytes.
    pub fn new(source: &str, map: Option<Map>, max_bytes: usize, clock: Clock) -> Self {
        Self { source: source.to_owned(), map, max_bytes, clock }
    }

    /// The event that a message is.
    ///
    /// # Errors
    /// Why it is none: `Malformed`, `Validation` with locations in the message, `TooLarge`, or `Gone`.
    pub fn event(&self, message: &Message) -> Result<Event, Problem> {
        if message.body == Body::Gone {
            let detail = "the message was trimmed from its stream before it could be read";
            return Err(Problem::new(ProblemKind::Gone, detail));
        }
        if message.body.bytes() > self.max_bytes {
            let detail = format!("the message has more than {} bytes", self.max_bytes);
            return Err(Problem::new(ProblemKind::TooLarge, detail));
        }
        let uuid = self.uuid(&message.place);
        let defaults = Defaults { uuid, source: &self.source };
        match (&self.map, &message.body) {
            (Some(map), body) => map.event(body, defaults, &self.clock),
            (None, Body::Bytes(bytes)) => self.unmapped(bytes, defaults),
            (None, Body::Fields(fields)) => {
                let data = fields.iter().find(|(name, _)| name == DATA);
                let (_, data) = data.ok_or_else(|| broken("is required"))?;
                self.unmapped(data, defaults).map_err(in_data)
            }
            (None, Body::Gone) => Err(broken("is required")),
        }
    }

    /// The uuid of a message that has none.
    fn uuid(&self, place: &Place) -> Uuid {
        let name = format!("{}\0{}\0{}", self.source, place.stream, place.id);
        Uuid::new_v5(&MESSAGES, name.as_bytes())
    }

    /// An event, or a CloudEvent whose data is one.
    fn unmapped(&self, bytes: &[u8], defaults: Defaults<'_>) -> Result<Event, Problem> {
        let problem = match event_with_defaults(bytes, defaults, &self.clock) {
            Err(problem) if problem.kind == ProblemKind::Validation => problem,
            event => return event,
        };
        match data_of_cloud_event(bytes)? {
            Some(data) => event_with_defaults(&data, defaults, &self.clock).map_err(in_data),
            None => Err(problem),
        }
    }
}

/// The data of a CloudEvent in its JSON format; `None` of another message.
fn data_of_cloud_event(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, Problem> {
    let message = str::from_utf8(bytes).ok().and_then(|text| CheckedJson::parse(text).ok());
    let Some(message) = message.filter(|message| message.step("specversion").is_some()) else {
        return Ok(None);
    };
    if let Some(data) = message.step(DATA) {
        return Ok(Some(match data.string() {
            Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
            None => Cow::Borrowed(data.text().as_bytes()),
        }));
    }
    let encoded = message.step("data_base64").and_then(CheckedJson::string);
    let data = encoded.map(|text| STANDARD.decode(&*text)).transpose();
    data.map(|data| data.map(Cow::Owned)).map_err(|_| broken("must be base64"))
}

/// A rule that is broken at the message's data.
fn broken(detail: &'static str) -> Problem {
    Problem::validation(Violations::one(data_place(), detail))
}

/// The same problem with locations in the message instead of in its data.
fn in_data(problem: Problem) -> Problem {
    problem.map_violations(|violations| violations.below(&data_place()))
}

fn data_place() -> Location {
    Location(vec![Step::Key(DATA.into())])
}

#[cfg(test)]
mod tests {
    use producer_core::Timestamp;

    use super::*;

    const EVENT: &str = r#"{"eventHeader":{"eventName":"Paid"},"eventBody":{"entities":
        [{"entityType":"Order","entityId":"o-1","updatedAttributes":{"n":1.10}}]}}"#;

    fn decoder(source: &str) -> Decoder {
        let clock = Clock::from_fn(|| Timestamp::from_micros(0));
        Decoder::new(source, None, 1000, clock)
    }

    fn message(body: Body, id: &str) -> Message {
        let place = Place { stream: "orders/3".into(), id: id.into() };
        Message { place, body, deliveries: 1 }
    }

    fn event(body: Body) -> Result<Event, Problem> {
        decoder("shop").event(&message(body, "7"))
    }

    fn bytes(text: &str) -> Body {
        Body::Bytes(text.into())
    }

    fn data(text: &str) -> Body {
        Body::Fields(vec![("id".into(), b"1".to_vec()), ("data".into(), text.into())])
    }

    #[test]
    fn an_event_comes_as_it_is_or_as_the_data_of_a_cloud_event() {
        let quoted = serde_json::to_string(EVENT).expect("JSON");
        let encoded = STANDARD.encode(EVENT);
        for body in [
            bytes(EVENT),
            data(EVENT),
            bytes(&format!(r#"{{"specversion":"1.0","id":"x","data":{EVENT}}}"#)),
            bytes(&format!(r#"{{"specversion":"1.0","data":{quoted}}}"#)),
            bytes(&format!(r#"{{"specversion":"1.0","data_base64":"{encoded}"}}"#)),
        ] {
            let event = event(body).expect("an event");
            assert_eq!((event.name(), event.source()), ("Paid", Some("shop")));
            assert_eq!(event.updates()[0].patch().text(), r#"{"n":1.10}"#);
        }
    }

    #[test]
    fn a_message_without_a_uuid_always_gets_the_same() {
        let uuid = |source: &str, id: &str| {
            decoder(source).event(&message(bytes(EVENT), id)).expect("an event").uuid()
        };
        // as every release must have it
        assert_eq!(uuid("shop", "7").to_string(), "68c9a3ef-9369-5e5e-a92c-281b9ebc1493");
        assert_eq!(uuid("shop", "7"), uuid("shop", "7"));
        assert_ne!(uuid("shop", "7"), uuid("shop", "8"));
        assert_ne!(uuid("shop", "7"), uuid("shop2", "7"));
    }

    #[test]
    fn what_an_event_has_itself_stays() {
        let own = EVENT.replacen(
            "{\"eventName\"",
            r#"{"uuid":"00000000-0000-0000-0000-000000000009","source":"till","eventName""#,
            1,
        );
        let event = event(bytes(&own)).expect("an event");
        assert_eq!((event.uuid(), event.source()), (Uuid::from_u128(9), Some("till")));
    }

    #[test]
    fn what_is_no_event_says_why_and_where() {
        let first = |body: Body| {
            let problem = event(body).expect_err("no event");
            let first = problem.violations.first().map(|first| first.location.pointer());
            (problem.kind, first.unwrap_or_default())
        };
        let change = r#"{"specversion":"1.0","data":{"kind":"change"}}"#;
        assert_eq!(first(bytes(change)), (ProblemKind::Validation, "/data/eventHeader".into()));
        assert_eq!(first(data(r#"{"kind":"change"}"#)).1, "/data/eventHeader");
        assert_eq!(first(Body::Fields(Vec::new())), (ProblemKind::Validation, "/data".into()));
        assert_eq!(first(bytes(r#"{"specversion":"1.0","data_base64":"%"}"#)).1, "/data");
        assert_eq!(first(bytes("{}")).1, "/eventHeader");
        assert_eq!(first(bytes("order")).0, ProblemKind::Malformed);
        assert_eq!(first(Body::Bytes(vec![0xff])).0, ProblemKind::Malformed);
        assert_eq!(first(Body::Gone).0, ProblemKind::Gone);
        assert_eq!(first(bytes(&" ".repeat(1001))).0, ProblemKind::TooLarge);
    }
}
