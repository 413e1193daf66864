//! Writes of one entity, undecoded: read from the bytes field by field, as events are.

use bytes::Bytes;
use producer_core::decode::EntityMethod;
use producer_core::{Header, Patch, Violations};

use super::event::header;
use super::fields::{DecodeError, fields, messages};
use super::update::{
    ATTRIBUTES, ATTRIBUTES_JSON, AttributesField, CONDITION, ENTITY_ID, ENTITY_TYPE, EXISTS,
    EXPECTED_VERSION, UPDATED_ATTRIBUTES, UpdateFields,
};
use crate::proto::v1::EntityView;

/// A `CreateEntityRequest`, `ReplaceEntityRequest`, `MergeEntityRequest` or `DeleteEntityRequest`.
#[derive(Debug, Clone)]
pub(crate) struct EntityWriteMessage(pub(crate) Bytes);

/// The fields of any of them.
#[derive(Debug)]
pub(crate) struct EntityWriteFields<'a> {
    pub(crate) entity_type: &'a str,
    pub(crate) entity_id: &'a str,
    pub(crate) attributes: Result<Patch, Violations>,
    pub(crate) attributes_field: AttributesField,
    pub(crate) expected_version: Option<u64>,
    pub(crate) exists: Option<bool>,
    pub(crate) condition: &'a str,
    pub(crate) header: Header<'a>,
    pub(crate) return_entity: bool,
    pub(crate) view: EntityView,
}

// field numbers of our .proto file
const EVENT_HEADER: u32 = 10;
const RETURN_ENTITY: u32 = 11;
const VIEW: u32 = 12;

impl EntityWriteMessage {
    /// Reads it as the message of `method`.
    ///
    /// # Errors
    /// If the bytes can't be decoded. Violations of the rules of attributes are in the fields.
    pub(crate) fn read(&self, method: EntityMethod) -> Result<EntityWriteFields<'_>, DecodeError> {
        let bytes = &self.0;
        let update = UpdateFields::decode(bytes, 0, |number| has_field(method, number))?;
        let (mut return_entity, mut view) = (false, EntityView::Unspecified);
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                number if !has_field(method, number) => {}
                RETURN_ENTITY => return_entity = field.varint()? != 0,
                VIEW => view = EntityView::try_from(field.enumeration()?).unwrap_or_default(),
                _ => {}
            }
        }
        Ok(EntityWriteFields {
            entity_type: update.entity_type,
            entity_id: update.entity_id,
            attributes: update.attributes()?,
            attributes_field: update.attributes_field(),
            expected_version: update.expected_version,
            exists: update.exists,
            condition: update.condition,
            header: header(messages(bytes, EVENT_HEADER))?.unwrap_or_default(),
            return_entity,
            view,
        })
    }
}

/// Whether the message of `method` has the field of this number; others are unknown, and skipped.
fn has_field(method: EntityMethod, number: u32) -> bool {
    match number {
        ENTITY_TYPE | EVENT_HEADER => true,
        ENTITY_ID | EXPECTED_VERSION | EXISTS | CONDITION => method != EntityMethod::Create,
        UPDATED_ATTRIBUTES | ATTRIBUTES | ATTRIBUTES_JSON | RETURN_ENTITY | VIEW => {
            method != EntityMethod::Delete
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use producer_core::Field;
    use prost::Message;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct, Value};

    use super::*;
    use crate::proto::v1::{CreateEntityRequest, EventHeader, ReplaceEntityRequest};

    fn request() -> ReplaceEntityRequest {
        ReplaceEntityRequest {
            entity_type: "Car".into(),
            entity_id: "1".into(),
            attributes_json: Some(r#"{"a":1}"#.into()),
            expected_version: Some(0),
            exists: Some(false),
            condition: "version == 1".into(),
            event_header: Some(EventHeader { actor: "me".into(), ..EventHeader::default() }),
            return_entity: true,
            view: EntityView::Struct.into(),
            ..ReplaceEntityRequest::default()
        }
    }

    #[test]
    fn every_field_is_read() {
        let message = EntityWriteMessage(request().encode_to_vec().into());
        let read = message.read(EntityMethod::Replace).expect("valid protobuf");
        assert_eq!((read.entity_type, read.entity_id), ("Car", "1"));
        assert_eq!(read.attributes.map(|patch| patch.text().to_owned()), Ok(r#"{"a":1}"#.into()));
        assert_eq!(read.attributes_field, AttributesField::Json);
        assert_eq!((read.expected_version, read.exists), (Some(0), Some(false)));
        assert_eq!((read.condition, read.header.actor), ("version == 1", Field::Text("me".into())));
        assert_eq!((read.return_entity, read.view), (true, EntityView::Struct));
    }

    /// They are unknown there, and may be of another type in a later release.
    #[test]
    fn fields_that_a_message_does_not_have_are_skipped() {
        let sent = EntityWriteMessage(request().encode_to_vec().into());
        let create = sent.read(EntityMethod::Create).expect("valid protobuf");
        let known = CreateEntityRequest::decode(&*sent.0).expect("valid protobuf");
        assert_eq!(
            create.attributes.map(|patch| patch.text().to_owned()).ok(),
            known.attributes_json
        );
        assert_eq!((create.entity_id, create.condition), ("", ""));
        assert_eq!((create.expected_version, create.exists), (None, None));
        let delete = sent.read(EntityMethod::Delete).expect("valid protobuf");
        assert_eq!((delete.entity_id, delete.exists), ("1", Some(false)));
        assert_eq!(delete.attributes.map(|patch| patch.text().to_owned()), Ok("{}".into()));
        assert!(!delete.return_entity);
        let other_type = EntityWriteMessage(vec![0x12, 0, 0x30, 1, 0x18, 1, 0x5a, 0].into());
        assert!(other_type.read(EntityMethod::Delete).is_ok(), "3, 6 and 11 are not its fields");
        assert!(other_type.read(EntityMethod::Replace).is_err());
    }

    #[test]
    fn a_struct_may_be_nested_as_deep_as_protobuf_reads_it() {
        for levels in 1..60 {
            let value = |kind| Value { kind: Some(kind) };
            let inner = (0..levels).fold(value(Kind::BoolValue(true)), |inner, _| {
                value(Kind::ListValue(ListValue { values: vec![inner] }))
            });
            let attributes = Some(Struct { fields: [("a".to_owned(), inner)].into() });
            let sent = ReplaceEntityRequest { attributes, ..ReplaceEntityRequest::default() };
            let sent = sent.encode_to_vec();
            let is_read = ReplaceEntityRequest::decode(&*sent).is_ok();
            let message = EntityWriteMessage(sent.into());
            assert_eq!(message.read(EntityMethod::Replace).is_ok(), is_read, "{levels}");
        }
    }
}
