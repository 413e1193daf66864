//! The fields of an event, as a transport has them.

use std::borrow::Cow;

use crate::json::{Patch, Violations};

/// The value of one field, as a transport has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    /// A string.
    Text(Cow<'a, str>),
    /// The text of a JSON number.
    Number(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// Another type of JSON.
    Other,
    /// There, and already reported as a violation.
    Refused,
}

impl<'a> Field<'a> {
    /// A field of a protocol that has no null: an empty string counts as absent.
    pub fn non_empty(text: &'a str) -> Self {
        if text.is_empty() { Self::Absent } else { Self::Text(Cow::Borrowed(text)) }
    }
}

/// The fields of `eventHeader`, in the order in which they are checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header<'a> {
    /// `uuid`
    pub uuid: Field<'a>,
    /// `eventName`
    pub event_name: Field<'a>,
    /// `createdDate`
    pub created_date: Field<'a>,
    /// `savedDate`
    pub saved_date: Field<'a>,
    /// `eventType`
    pub event_type: Field<'a>,
    /// `source`
    pub source: Field<'a>,
    /// `actor`
    pub actor: Field<'a>,
}

/// The fields of an item of `eventBody.entities`, in the order in which they are checked.
#[derive(Debug)]
pub struct EntityFields<'a> {
    /// `entityType`
    pub entity_type: Field<'a>,
    /// `entityId`
    pub entity_id: Field<'a>,
    /// `operation`
    pub operation: Field<'a>,
    /// `expectedVersion`
    pub expected_version: Field<'a>,
    /// `exists`
    pub exists: Field<'a>,
    /// `condition`
    pub condition: Field<'a>,
    /// `updatedAttributes`. Violations have locations relative to them, as [`Patch::parse`] returns
    /// them.
    pub attributes: Result<Patch, Violations>,
}

impl EntityFields<'_> {
    /// An entity with these attributes and nothing else.
    pub fn new(attributes: Result<Patch, Violations>) -> Self {
        Self {
            entity_type: Field::Absent,
            entity_id: Field::Absent,
            operation: Field::Absent,
            expected_version: Field::Absent,
            exists: Field::Absent,
            condition: Field::Absent,
            attributes,
        }
    }
}
