//! Messages with events, undecoded: events are read from the bytes field by field, so that a message
//! costs no more memory than its size whatever it holds. Of a field that occurs more than once the
//! last value counts, and messages merge, as protobuf specifies.

use std::collections::BTreeMap;
use std::iter::Peekable;

use bytes::Bytes;
use producer_core::{Draft, EntityFields, Field, Header, Location, Patch, Violations, json};

use super::fields::{DecodeError, fields, messages};
use super::structs;
use crate::proto::v1::Operation;

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

// field numbers of our .proto file
const EVENT_HEADER: u32 = 1;
const EVENT_BODY: u32 = 2;
const ENTITIES: u32 = 1;
const ENTITY_TYPE: u32 = 1;
const ENTITY_ID: u32 = 2;
const UPDATED_ATTRIBUTES: u32 = 3;
const ATTRIBUTES: u32 = 4;
const ATTRIBUTES_JSON: u32 = 5;
const OPERATION: u32 = 6;
const EXPECTED_VERSION: u32 = 7;
const EXISTS: u32 = 8;
const CONDITION: u32 = 9;
const EVENTS: u32 = 1;
const ATOMIC: u32 = 2;

const ONLY_ONE: &str =
    "must be given in one of updated_attributes, attributes and attributes_json alone";

impl EventMessage {
    /// Reads it. `on_entity` gets the field that carries the attributes of each entity.
    ///
    /// # Errors
    /// If the bytes can't be decoded. Violations of the contract's rules are in the draft.
    pub(crate) fn draft(
        &self,
        on_entity: impl FnMut(AttributesField),
    ) -> Result<Draft, DecodeError> {
        draft(&self.0, on_entity)
    }
}

impl EventsMessage {
    /// Whether all events are to be applied or none.
    pub(crate) fn is_atomic(&self) -> Result<bool, DecodeError> {
        let mut atomic = false;
        for field in fields(&self.0) {
            let field = field?;
            if field.number == ATOMIC {
                atomic = field.varint()? != 0;
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
            let mut attributes = Vec::new();
            Ok((draft(event?, |field| attributes.push(field))?, attributes))
        })
    }
}

fn draft(event: &[u8], mut on_entity: impl FnMut(AttributesField)) -> Result<Draft, DecodeError> {
    let mut draft = Draft::new();
    if let Some(header) = header(event)? {
        draft.header(header);
    }
    let mut bodies = messages(event, EVENT_BODY).peekable();
    if bodies.peek().is_some() {
        let mut read = Ok(());
        draft.body(|draft| read = entities(bodies, draft, &mut on_entity));
        read?;
    }
    Ok(draft)
}

fn header(event: &[u8]) -> Result<Option<Header<'_>>, DecodeError> {
    let mut header = None;
    for message in messages(event, EVENT_HEADER) {
        let header = header.get_or_insert_with(Header::default);
        for field in fields(message?) {
            let field = field?;
            let target = match field.number {
                1 => &mut header.uuid,
                2 => &mut header.event_name,
                3 => &mut header.created_date,
                4 => &mut header.saved_date,
                5 => &mut header.event_type,
                6 => &mut header.source,
                7 => &mut header.actor,
                _ => continue,
            };
            *target = Field::non_empty(field.text()?);
        }
    }
    Ok(header)
}

fn entities<'a>(
    bodies: Peekable<impl Iterator<Item = Result<&'a [u8], DecodeError>>>,
    draft: &mut Draft,
    on_entity: &mut impl FnMut(AttributesField),
) -> Result<(), DecodeError> {
    for body in bodies {
        for bytes in messages(body?, ENTITIES) {
            let bytes = bytes?;
            let entity = Entity::decode(bytes)?;
            on_entity(entity.field());
            let version = entity.expected_version.map(|version| version.to_string());
            draft.entity(EntityFields {
                entity_type: Field::Text(entity.entity_type.into()),
                entity_id: Field::Text(entity.entity_id.into()),
                operation: operation(entity.operation),
                expected_version: version.as_deref().map_or(Field::Absent, Field::Number),
                exists: entity.exists.map_or(Field::Absent, Field::Bool),
                condition: Field::non_empty(entity.condition),
                attributes: entity.attributes(bytes)?,
            });
        }
    }
    Ok(())
}

/// The enum `Operation`, of which an unknown number is an error.
fn operation(number: u64) -> Field<'static> {
    let known = i32::try_from(number).ok().and_then(|number| Operation::try_from(number).ok());
    match known {
        Some(Operation::Unspecified) => Field::Absent,
        Some(Operation::Merge) => Field::Text("merge".into()),
        Some(Operation::Replace) => Field::Text("replace".into()),
        Some(Operation::Delete) => Field::Text("delete".into()),
        None => Field::Other,
    }
}

/// An `EntityUpdate`. The map and the Struct stay unread until they are converted to JSON.
#[derive(Debug, Default)]
struct Entity<'a> {
    entity_type: &'a str,
    entity_id: &'a str,
    has_map: bool,
    has_struct: bool,
    json: &'a str,
    operation: u64,
    expected_version: Option<u64>,
    exists: Option<bool>,
    condition: &'a str,
}

impl<'a> Entity<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut entity = Self::default();
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                ENTITY_TYPE => entity.entity_type = field.text()?,
                ENTITY_ID => entity.entity_id = field.text()?,
                UPDATED_ATTRIBUTES => {
                    field.message()?;
                    entity.has_map = true;
                }
                ATTRIBUTES => entity.has_struct |= structs::has_fields(field.message()?),
                ATTRIBUTES_JSON => entity.json = field.text()?,
                OPERATION => entity.operation = field.varint()?,
                EXPECTED_VERSION => entity.expected_version = Some(field.varint()?),
                EXISTS => entity.exists = Some(field.varint()? != 0),
                CONDITION => entity.condition = field.text()?,
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

    /// The attributes, from the only field that has any.
    fn attributes(&self, bytes: &[u8]) -> Result<Result<Patch, Violations>, DecodeError> {
        Ok(match (self.has_map, self.has_struct, self.json.is_empty()) {
            (false, false, true) => Patch::parse("{}"),
            (false, false, false) => Patch::parse(self.json),
            (false, true, true) => {
                structs::to_json(messages(bytes, ATTRIBUTES))?.and_then(|json| Patch::parse(&json))
            }
            (true, false, true) => Patch::parse(&map_to_json(bytes)?),
            _ => {
                // none is used, but all must be valid protobuf
                map_to_json(bytes)?;
                let _ = structs::to_json(messages(bytes, ATTRIBUTES))?;
                Err(Violations::one(Location::default(), ONLY_ONE))
            }
        })
    }
}

fn map_to_json(entity: &[u8]) -> Result<String, DecodeError> {
    let mut members = BTreeMap::new();
    for entry in messages(entity, UPDATED_ATTRIBUTES) {
        let (mut key, mut value) = ("", "");
        for field in fields(entry?) {
            let field = field?;
            match field.number {
                1 => key = field.text()?,
                2 => value = field.text()?,
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

    fn can_be_read(bytes: Bytes) -> bool {
        EventMessage(bytes).draft(|_| {}).is_ok()
    }

    /// Prost ignores the wire type of maps. `oracles` compares all else with it.
    #[test]
    fn a_map_of_another_wire_type_is_an_error() {
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
        assert!(can_be_read(map_of(2)));
        assert!(!can_be_read(map_of(5)));
    }

    proptest! {
        #[test]
        fn an_event_has_the_content_that_was_sent(name in "[a-z]{1,9}", id in "\\PC{1,9}", value: String) {
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
