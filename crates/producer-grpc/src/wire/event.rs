//! Messages with events, undecoded: events are read from the bytes field by field, so that a message
//! costs no more memory than its size whatever it holds. Of a field that occurs more than once the
//! last value counts, and messages merge, as protobuf specifies.

use std::iter::Peekable;

use bytes::Bytes;
use producer_core::{Draft, EntityFields, Field, Header};

use super::fields::{DecodeError, fields, messages};
use super::update::{AttributesField, UpdateFields};
use crate::proto::v1::Operation;

/// An `EventRequest`.
#[derive(Debug, Clone)]
pub(crate) struct EventMessage(pub(crate) Bytes);

/// A `ProcessEventsRequest`.
#[derive(Debug, Clone)]
pub(crate) struct EventsMessage(pub(crate) Bytes);

// field numbers of our .proto file
const EVENT_HEADER: u32 = 1;
const EVENT_BODY: u32 = 2;
const ENTITIES: u32 = 1;
/// The level of an entity below its event and the event's body.
const ENTITY_DEPTH: usize = 2;
const EVENTS: u32 = 1;
const ATOMIC: u32 = 2;

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
    if let Some(header) = header(messages(event, EVENT_HEADER))? {
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

/// An `EventHeader`, which may come in pieces; `None` where there is no piece.
pub(super) fn header<'a>(
    pieces: impl Iterator<Item = Result<&'a [u8], DecodeError>>,
) -> Result<Option<Header<'a>>, DecodeError> {
    let mut header = None;
    for message in pieces {
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
            let entity = UpdateFields::decode(bytes?, ENTITY_DEPTH, |_| true)?;
            on_entity(entity.attributes_field());
            let version = entity.expected_version.map(|version| version.to_string());
            draft.entity(EntityFields {
                entity_type: Field::Text(entity.entity_type.into()),
                entity_id: Field::Text(entity.entity_id.into()),
                operation: operation(entity.operation),
                expected_version: version.as_deref().map_or(Field::Absent, Field::Number),
                exists: entity.exists.map_or(Field::Absent, Field::Bool),
                condition: Field::non_empty(entity.condition),
                attributes: entity.attributes()?,
            });
        }
    }
    Ok(())
}

/// The enum `Operation`, of which an unknown number is an error.
fn operation(number: i32) -> Field<'static> {
    match Operation::try_from(number) {
        Ok(Operation::Unspecified) => Field::Absent,
        Ok(Operation::Merge) => Field::Text("merge".into()),
        Ok(Operation::Replace) => Field::Text("replace".into()),
        Ok(Operation::Delete) => Field::Text("delete".into()),
        Err(_) => Field::Other,
    }
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
