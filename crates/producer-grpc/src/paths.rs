//! Which of its three fields carried an entity's attributes: a broken rule is reported at that one.

use crate::proto::v1::{EntityUpdate, EventRequest};

/// The fields of one event's entities, or of many events'.
#[derive(Debug, Default)]
pub(crate) struct Paths(Vec<Vec<&'static str>>);

impl Paths {
    /// Notes the fields of `events`, before their conversion takes them apart.
    pub(crate) fn of<'a>(events: impl IntoIterator<Item = &'a EventRequest>) -> Self {
        Self(events.into_iter().map(of_one).collect())
    }

    /// The proto field of an entity's JSON member, where it is the attributes.
    pub(crate) fn field(&self, event: usize, entity: usize, name: &str) -> Option<&'static str> {
        if name != "updatedAttributes" {
            return None;
        }
        Some(self.0.get(event).and_then(|fields| fields.get(entity)).copied().unwrap_or(MAP))
    }
}

const MAP: &str = "updated_attributes";

fn of_one(event: &EventRequest) -> Vec<&'static str> {
    event.event_body.iter().flat_map(|body| &body.entities).map(field).collect()
}

fn field(update: &EntityUpdate) -> &'static str {
    if !update.updated_attributes.is_empty() {
        MAP
    } else if update.attributes_json.as_deref().is_some_and(|text| !text.is_empty()) {
        "attributes_json"
    } else {
        "attributes"
    }
}
