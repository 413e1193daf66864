//! Which of its three fields carried an entity's attributes: a broken rule is reported at that one.

use crate::message::Carrier;

/// The carriers of one event's entities, or of many events'.
#[derive(Debug, Default)]
pub(crate) struct Paths(pub(crate) Vec<Vec<Carrier>>);

impl Paths {
    /// The proto field of an entity's JSON member, where it is the attributes.
    pub(crate) fn field(&self, event: usize, entity: usize, name: &str) -> Option<&'static str> {
        if name != "updatedAttributes" {
            return None;
        }
        let carrier = self.0.get(event).and_then(|carriers| carriers.get(entity));
        Some(match carrier {
            None | Some(Carrier::Map) => "updated_attributes",
            Some(Carrier::Struct) => "attributes",
            Some(Carrier::Json) => "attributes_json",
        })
    }
}
