//! What clients send, as it came: an event is made of the bytes themselves, field by field, so that
//! a message costs no more than its size whatever it holds. Where a field stands more than once the
//! last one counts, and messages merge, as protobuf wants it.

use std::collections::BTreeMap;
use std::iter::Peekable;

use bytes::Bytes;
use producer_core::{Draft, Field, Header, Location, Patch, Violations, json};

use crate::structs;
use crate::wire::{DecodeError, messages, parts};

/// An `EventRequest`.
#[derive(Debug, Clone)]
pub(crate) struct EventMessage(pub(crate) Bytes);

/// A `ProcessEventsRequest`.
#[derive(Debug, Clone)]
pub(crate) struct EventsMessage(pub(crate) Bytes);

/// The field of an entity that carries its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttributesField {
    /// `updated_attributes`
    Map,
    /// `attributes`
    Struct,
    /// `attributes_json`
    Json,
}

// the fields of our .proto file
const EVENT_HEADER: u32 = 1;
const EVENT_BODY: u32 = 2;
const ENTITIES: u32 = 1;
const ENTITY_TYPE: u32 = 1;
const ENTITY_ID: u32 = 2;
const UPDATED_ATTRIBUTES: u32 = 3;
const ATTRIBUTES: u32 = 4;
const ATTRIBUTES_JSON: u32 = 5;
const EVENTS: u32 = 1;
const ATOMIC: u32 = 2;

const ONE_ALONE: &str =
    "must be given in one of updated_attributes, attributes and attributes_json alone";

impl EventMessage {
    /// Reads it, and tells of each entity which field its attributes are in.
    ///
    /// # Errors
    /// Where it is no such message. What breaks the contract's rules is told by the draft.
    pub(crate) fn draft(&self, note: impl FnMut(AttributesField)) -> Result<Draft, DecodeError> {
        draft(&self.0, note)
    }
}

impl EventsMessage {
    /// Whether all or none are to be applied.
    pub(crate) fn is_atomic(&self) -> Result<bool, DecodeError> {
        let mut atomic = false;
        for part in parts(&self.0) {
            let part = part?;
            if part.number == ATOMIC {
                atomic = part.varint()? != 0;
            }
        }
        Ok(atomic)
    }

    /// How many events there are.
    pub(crate) fn count(&self) -> usize {
        messages(&self.0, EVENTS).count()
    }

    /// Each event, as [`EventMessage::draft`] reads it, and the fields of its attributes.
    pub(crate) fn drafts(
        &self,
    ) -> impl Iterator<Item = Result<(Draft, Vec<AttributesField>), DecodeError>> {
        messages(&self.0, EVENTS).map(|event| {
            let mut fields = Vec::new();
            Ok((draft(event?, |field| fields.push(field))?, fields))
        })
    }
}

fn draft(event: &[u8], mut note: impl FnMut(AttributesField)) -> Result<Draft, DecodeError> {
    let mut draft = Draft::new();
    if let Some(header) = header(event)? {
        draft.header(header);
    }
    let mut bodies = messages(event, EVENT_BODY).peekable();
    if bodies.peek().is_some() {
        let mut read = Ok(());
        draft.body(|draft| read = entities(bodies, draft, &mut note));
        read?;
    }
    Ok(draft)
}

fn header(event: &[u8]) -> Result<Option<Header<'_>>, DecodeError> {
    let mut header = None;
    for part in messages(event, EVENT_HEADER) {
        let header = header.get_or_insert(Header {
            uuid: Field::Absent,
            event_name: Field::Absent,
            created_date: Field::Absent,
            saved_date: Field::Absent,
            event_type: Field::Absent,
        });
        for field in parts(part?) {
            let field = field?;
            let slot = match field.number {
                1 => &mut header.uuid,
                2 => &mut header.event_name,
                3 => &mut header.created_date,
                4 => &mut header.saved_date,
                5 => &mut header.event_type,
                _ => continue,
            };
            *slot = Field::non_empty(field.text()?);
        }
    }
    Ok(header)
}

fn entities<'a>(
    bodies: Peekable<impl Iterator<Item = Result<&'a [u8], DecodeError>>>,
    draft: &mut Draft,
    note: &mut impl FnMut(AttributesField),
) -> Result<(), DecodeError> {
    for body in bodies {
        for bytes in messages(body?, ENTITIES) {
            let bytes = bytes?;
            let entity = Entity::decode(bytes)?;
            note(entity.field());
            draft.entity(entity.entity_type, entity.entity_id, entity.attributes(bytes)?);
        }
    }
    Ok(())
}

/// An `EntityUpdate`, but for the map and the Struct, which are read when they are written as JSON.
#[derive(Debug, Default)]
struct Entity<'a> {
    entity_type: &'a str,
    entity_id: &'a str,
    has_map: bool,
    has_struct: bool,
    json: &'a str,
}

impl<'a> Entity<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut entity = Self::default();
        for part in parts(bytes) {
            let part = part?;
            match part.number {
                ENTITY_TYPE => entity.entity_type = part.text()?,
                ENTITY_ID => entity.entity_id = part.text()?,
                UPDATED_ATTRIBUTES => {
                    part.message()?;
                    entity.has_map = true;
                }
                ATTRIBUTES => entity.has_struct |= structs::has_fields(part.message()?),
                ATTRIBUTES_JSON => entity.json = part.text()?,
                _ => {}
            }
        }
        Ok(entity)
    }

    fn field(&self) -> AttributesField {
        if self.has_map {
            AttributesField::Map
        } else if !self.json.is_empty() {
            AttributesField::Json
        } else {
            AttributesField::Struct
        }
    }

    /// The attributes from the one field that has any.
    fn attributes(&self, bytes: &[u8]) -> Result<Result<Patch, Violations>, DecodeError> {
        Ok(match (self.has_map, self.has_struct, self.json.is_empty()) {
            (false, false, true) => Patch::parse("{}"),
            (false, false, false) => Patch::parse(self.json),
            (false, true, true) => {
                structs::to_json(messages(bytes, ATTRIBUTES))?.and_then(|json| Patch::parse(&json))
            }
            (true, false, true) => Patch::parse(&map_to_json(bytes)?),
            _ => {
                // none is taken, but each must be readable
                map_to_json(bytes)?;
                let _ = structs::to_json(messages(bytes, ATTRIBUTES))?;
                Err(Violations::one(Location::default(), ONE_ALONE))
            }
        })
    }
}

fn map_to_json(entity: &[u8]) -> Result<String, DecodeError> {
    let mut members = BTreeMap::new();
    for entry in messages(entity, UPDATED_ATTRIBUTES) {
        let (mut key, mut value) = ("", "");
        for part in parts(entry?) {
            let part = part?;
            match part.number {
                1 => key = part.text()?,
                2 => value = part.text()?,
                _ => {}
            }
        }
        members.insert(key, value);
    }
    Ok(json::object_of_strings(members))
}

#[cfg(test)]
mod tests {
    use producer_core::Clock;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::proto::v1::{EntityUpdate, EventBody, EventHeader, EventRequest};

    fn any_event() -> impl Strategy<Value = EventRequest> {
        let entity =
            (any::<String>(), any::<String>(), any::<Option<String>>(), any::<[String; 2]>());
        let entity = entity.prop_map(|(entity_type, entity_id, attributes_json, [key, value])| {
            let updated_attributes = [(key, value)].into();
            EntityUpdate {
                entity_type,
                entity_id,
                updated_attributes,
                attributes_json,
                ..EntityUpdate::default()
            }
        });
        let body = prop::collection::vec(entity, 0..3);
        (any::<[String; 2]>(), body).prop_map(|([event_name, event_type], entities)| {
            let header = EventHeader { event_name, event_type, ..EventHeader::default() };
            EventRequest { event_header: Some(header), event_body: Some(EventBody { entities }) }
        })
    }

    fn is_read(bytes: Bytes) -> bool {
        EventMessage(bytes).draft(|_| {}).is_ok()
    }

    #[test]
    fn a_map_of_another_wire_type_is_no_message() {
        let updates = [EntityUpdate {
            updated_attributes: [("a".to_owned(), "b".to_owned())].into(),
            ..EntityUpdate::default()
        }];
        let body = EventBody { entities: updates.into() };
        let sent = EventRequest { event_header: None, event_body: Some(body) }.encode_to_vec();
        let map_of = |wire_type: u8| {
            let tag = |wire_type| 3 << 3 | wire_type;
            sent.iter().map(|&byte| if byte == tag(2) { tag(wire_type) } else { byte }).collect()
        };
        assert!(is_read(map_of(2)));
        assert!(!is_read(map_of(5)));
    }

    proptest! {
        #[test]
        fn what_prost_reads_is_read_and_no_bytes_harm(
            event in any_event(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = event.encode_to_vec();
            for (at, byte) in flips.iter().filter(|_| !event.encode_to_vec().is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let bytes = Bytes::from(bytes);
            if let Ok(theirs) = EventRequest::decode(&*bytes) {
                // prost doesn't look at the wire type of maps
                let theirs = Bytes::from(theirs.encode_to_vec());
                prop_assert!(is_read(bytes.clone()) || is_read(theirs));
            }
            let _any_bytes = EventsMessage(bytes).drafts().count();
        }

        #[test]
        fn an_event_is_what_was_sent(name in "[a-z]{1,9}", id in "\\PC{1,9}", value: String) {
            prop_assume!(!matches!(id.as_str(), "." | "..") && !value.contains('\0'));
            let update = EntityUpdate {
                entity_type: "Loan".into(),
                entity_id: id.clone(),
                updated_attributes: [("a".to_owned(), value.clone())].into(),
                ..EntityUpdate::default()
            };
            let header = EventHeader { event_name: name.clone(), ..EventHeader::default() };
            let body = EventBody { entities: vec![update] };
            let sent = EventRequest { event_header: Some(header), event_body: Some(body) };
            let message = EventMessage(sent.encode_to_vec().into());
            let draft = message.draft(|field| assert_eq!(field, AttributesField::Map)).expect("an event");
            let event = draft.finish(&Clock::system()).expect("a valid one");
            prop_assert_eq!(event.name(), name);
            prop_assert_eq!(event.updates()[0].key().entity_id(), id);
            let document: serde_json::Value =
                serde_json::from_str(event.updates()[0].patch().text()).expect("JSON");
            prop_assert_eq!(&document["a"], &serde_json::Value::String(value));
        }
    }
}
