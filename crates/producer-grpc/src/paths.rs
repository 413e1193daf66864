//! Which of its three fields carried an entity's attributes: a broken rule is reported at that one.

use crate::message::AttributesField;

/// The fields of one event's entities, or of many events'.
#[derive(Debug, Default)]
pub(crate) struct Paths(pub(crate) Vec<Vec<AttributesField>>);

impl Paths {
    /// The proto field of an entity's JSON member, where it is the attributes.
    pub(crate) fn field(&self, event: usize, entity: usize, name: &str) -> Option<&'static str> {
        if name != "updatedAttributes" {
            return None;
        }
        let field = self.0.get(event).and_then(|fields| fields.get(entity));
        Some(match field {
            None | Some(AttributesField::Map) => "updated_attributes",
            Some(AttributesField::Struct) => "attributes",
            Some(AttributesField::Json) => "attributes_json",
        })
    }
}
