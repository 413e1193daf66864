//! The fields that an entity's update in an event and a write of one entity share, with the same numbers
//! in both messages. Of a field that occurs more than once the last value counts, and messages merge, as
//! protobuf specifies.

use std::collections::BTreeMap;

use producer_core::{Location, Patch, Violations, json};

use super::fields::{DecodeError, fields, messages};
use super::structs;

/// The field that carries an entity's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AttributesField {
    /// `updated_attributes`
    #[default]
    Map,
    /// `attributes`
    Struct,
    /// `attributes_json`
    Json,
}

// field numbers of our .proto files
pub(super) const ENTITY_TYPE: u32 = 1;
pub(super) const ENTITY_ID: u32 = 2;
pub(super) const UPDATED_ATTRIBUTES: u32 = 3;
pub(super) const ATTRIBUTES: u32 = 4;
pub(super) const ATTRIBUTES_JSON: u32 = 5;
pub(super) const OPERATION: u32 = 6;
pub(super) const EXPECTED_VERSION: u32 = 7;
pub(super) const EXISTS: u32 = 8;
pub(super) const CONDITION: u32 = 9;

const ONLY_ONE: &str =
    "must be given in one of updated_attributes, attributes and attributes_json alone";

/// The shared fields. The map and the Struct stay unread until they are converted to JSON.
#[derive(Debug, Default)]
pub(super) struct UpdateFields<'a> {
    pub(super) entity_type: &'a str,
    pub(super) entity_id: &'a str,
    has_map: bool,
    has_struct: bool,
    json: &'a str,
    /// A number of the enum `Operation`, or an unknown one.
    pub(super) operation: i32,
    pub(super) expected_version: Option<u64>,
    pub(super) exists: Option<bool>,
    pub(super) condition: &'a str,
    message: &'a [u8],
    depth: usize,
}

impl<'a> UpdateFields<'a> {
    /// Reads those fields of `message` whose numbers `has` accepts; `depth` is its level below the whole
    /// message.
    pub(super) fn decode(
        message: &'a [u8],
        depth: usize,
        has: impl Fn(u32) -> bool,
    ) -> Result<Self, DecodeError> {
        let mut read = Self { message, depth, ..Self::default() };
        for field in fields(message) {
            let field = field?;
            match field.number {
                number if !has(number) => {}
                ENTITY_TYPE => read.entity_type = field.text()?,
                ENTITY_ID => read.entity_id = field.text()?,
                UPDATED_ATTRIBUTES => {
                    field.message()?;
                    read.has_map = true;
                }
                ATTRIBUTES => read.has_struct |= structs::has_fields(field.message()?),
                ATTRIBUTES_JSON => read.json = field.text()?,
                OPERATION => read.operation = field.enumeration()?,
                EXPECTED_VERSION => read.expected_version = Some(field.varint()?),
                EXISTS => read.exists = Some(field.varint()? != 0),
                CONDITION => read.condition = field.text()?,
                _ => {}
            }
        }
        Ok(read)
    }

    pub(super) fn attributes_field(&self) -> AttributesField {
        if self.has_map {
            AttributesField::Map
        } else if !self.json.is_empty() {
            AttributesField::Json
        } else {
            AttributesField::Struct
        }
    }

    /// The attributes, from the only field that has any.
    pub(super) fn attributes(&self) -> Result<Result<Patch, Violations>, DecodeError> {
        Ok(match (self.has_map, self.has_struct, self.json.is_empty()) {
            (false, false, true) => Patch::parse("{}"),
            (false, false, false) => Patch::parse(self.json),
            (false, true, true) => self.struct_to_json()?.and_then(|json| Patch::parse(&json)),
            (true, false, true) => Patch::parse(&self.map_to_json()?),
            _ => {
                // none is used, but all must be valid protobuf
                self.map_to_json()?;
                let _ = self.struct_to_json()?;
                Err(Violations::one(Location::default(), ONLY_ONE))
            }
        })
    }

    fn struct_to_json(&self) -> Result<Result<String, Violations>, DecodeError> {
        structs::to_json(messages(self.message, ATTRIBUTES), self.depth + 1)
    }

    fn map_to_json(&self) -> Result<String, DecodeError> {
        let mut members = BTreeMap::new();
        for entry in messages(self.message, UPDATED_ATTRIBUTES) {
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
}
