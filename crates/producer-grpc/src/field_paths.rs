//! From places in an event's JSON form to field paths of its protobuf message: rules of the core
//! are about the first, error details on gRPC name the second.

use producer_core::{Location, Step};

use crate::wire::update::AttributesField;

/// The field that carries the attributes, of each entity of each event of a request; a write of one
/// entity counts as an event. An entity that is not listed counts as one with `updated_attributes`.
#[derive(Debug, Default)]
pub(crate) struct FieldPaths(pub(crate) Vec<Vec<AttributesField>>);

impl FieldPaths {
    /// The field path of a location, such as `event_body.entities[0].entity_id`.
    pub(crate) fn path(&self, location: &Location) -> String {
        let mut path = String::new();
        let (event, steps) = match location.0.split_first() {
            Some((Step::Index(event), steps)) => {
                path.push_str(&format!("events[{event}]"));
                (*event, steps)
            }
            _ => (0, location.0.as_slice()),
        };
        let mut entity = 0;
        let mut in_attributes = false;
        for (depth, step) in steps.iter().enumerate() {
            match step {
                Step::Index(index) => {
                    entity = if depth == 2 { *index } else { entity };
                    path.push_str(&format!("[{index}]"));
                }
                Step::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    let field = match (depth, &**key) {
                        // inside the attributes the names are the client's
                        _ if in_attributes => None,
                        // of an entity in an event, and of a write of one entity
                        (3 | 0, "updatedAttributes") => {
                            in_attributes = true;
                            Some(self.attributes(event, entity))
                        }
                        (_, key) => proto_name(key),
                    };
                    path.push_str(field.unwrap_or(key));
                }
            }
        }
        path
    }

    fn attributes(&self, event: usize, entity: usize) -> &'static str {
        match self.0.get(event).and_then(|fields| fields.get(entity)) {
            None | Some(AttributesField::Map) => "updated_attributes",
            Some(AttributesField::Struct) => "attributes",
            Some(AttributesField::Json) => "attributes_json",
        }
    }
}

fn proto_name(json_name: &str) -> Option<&'static str> {
    Some(match json_name {
        "eventHeader" => "event_header",
        "eventBody" => "event_body",
        "eventName" => "event_name",
        "eventType" => "event_type",
        "createdDate" => "created_date",
        "savedDate" => "saved_date",
        "entityType" => "entity_type",
        "entityId" => "entity_id",
        "entityIds" => "entity_ids",
        "expectedVersion" => "expected_version",
        "orderBy" => "order_by",
        "pageToken" => "page_token",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(steps: &[Step]) -> String {
        FieldPaths(vec![vec![], vec![AttributesField::Map, AttributesField::Json]])
            .path(&Location(steps.to_vec()))
    }

    fn key(name: &'static str) -> Step {
        Step::Key(name.into())
    }

    #[test]
    fn a_location_becomes_the_path_of_a_field() {
        assert_eq!(path(&[key("eventHeader"), key("eventName")]), "event_header.event_name");
        assert_eq!(path(&[key("entityId")]), "entity_id");
        let entity = [Step::Index(1), key("eventBody"), key("entities"), Step::Index(1)];
        let within = |steps: &[Step]| path(&[&entity, steps].concat());
        assert_eq!(within(&[key("entityType")]), "events[1].event_body.entities[1].entity_type");
        let attributes = within(&[key("updatedAttributes")]);
        assert_eq!(attributes, "events[1].event_body.entities[1].attributes_json");
    }

    #[test]
    fn names_of_attributes_are_not_translated() {
        let entity = [key("eventBody"), key("entities"), Step::Index(0)];
        let attribute = [&entity[..], &[key("updatedAttributes"), key("eventName")]].concat();
        assert_eq!(path(&attribute), "event_body.entities[0].updated_attributes.eventName");
        let attribute = [key("updatedAttributes"), key("updatedAttributes"), key("eventName")];
        assert_eq!(path(&attribute), "updated_attributes.updatedAttributes.eventName");
        assert_eq!(path(&[key("expectedVersion")]), "expected_version");
    }
}
