//! Entities as JSON, written without a tree: documents are text.

use std::fmt::Write;

use producer_core::json::write_string;
use producer_core::model::Entity;
use producer_core::query::Fields;
use tokio::task::yield_now;

/// Other tasks go on after documents of so many bytes were written.
const WRITTEN_BYTES: usize = 256 << 10;

/// Appends entities with commas between them; of each what `fields` name, or all.
pub(crate) async fn write_entities(
    text: &mut String,
    entities: Vec<Entity>,
    fields: Option<&Fields>,
) {
    let mut written = 0;
    for (index, entity) in entities.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_entity(text, &entity, fields);
        written += entity.data.len();
        if written >= WRITTEN_BYTES {
            written = 0;
            yield_now().await;
        }
    }
}

/// Appends an entity as `GET` of it answers; of its members what `fields` name, or all.
pub(crate) fn write_entity(text: &mut String, entity: &Entity, fields: Option<&Fields>) {
    let shows = |named: fn(&Fields) -> bool| fields.is_none_or(named);
    text.push_str("{\"entityType\":");
    write_string(text, entity.key.entity_type());
    text.push_str(",\"entityId\":");
    write_string(text, entity.key.entity_id());
    // a String takes all that is written
    if shows(|fields| fields.version) {
        let _ = write!(text, ",\"version\":{}", entity.version);
    }
    if shows(|fields| fields.created_at) {
        let _ = write!(text, ",\"createdAt\":\"{}\"", entity.created_at);
    }
    if shows(|fields| fields.updated_at) {
        let _ = write!(text, ",\"updatedAt\":\"{}\"", entity.updated_at);
    }
    match fields {
        None => write_data(text, &entity.data),
        Some(fields) => {
            if let Some(data) = fields.data(&entity.data) {
                write_data(text, &data);
            }
        }
    }
    text.push('}');
}

fn write_data(text: &mut String, data: &str) {
    text.push_str(",\"data\":");
    text.push_str(data);
}

#[cfg(test)]
mod tests {
    use producer_core::{EntityKey, Timestamp};

    use super::*;
    use crate::routes::entities::EntityBody;

    fn entity() -> Entity {
        Entity {
            key: EntityKey::new("Car \"\\", "\u{1}/\u{e4}").expect("a key"),
            version: 3,
            created_at: Timestamp::from_micros(1),
            updated_at: Timestamp::from_micros(2_000_000),
            data: r#"{"a": 1.50, "b": {"c": [1], "d": null}}"#.into(),
        }
    }

    fn written(fields: Option<&str>) -> String {
        let fields = fields.map(|text| Fields::parse(text).expect(text));
        let mut text = String::new();
        write_entity(&mut text, &entity(), fields.as_ref());
        text
    }

    #[test]
    fn an_entity_is_written_as_its_own_route_writes_it() {
        let body = EntityBody::try_from(entity()).expect("a body");
        assert_eq!(written(None), serde_json::to_string(&body).expect("JSON"));
    }

    #[test]
    fn only_the_named_members_are_written() {
        let key = r#"{"entityType":"Car \"\\","entityId":"\u0001/ä""#;
        for (fields, rest) in [
            ("id", "}"),
            ("version", r#","version":3}"#),
            (
                "createdAt,data.a",
                r#","createdAt":"1970-01-01T00:00:00.000001Z","data":{"a":1.50}}"#,
            ),
            ("updatedAt", r#","updatedAt":"1970-01-01T00:00:02Z"}"#),
            ("data.b.c,data.none", r#","data":{"b":{"c":[1]}}}"#),
            ("data.none", r#","data":{}}"#),
        ] {
            let written = written(Some(fields)).replace(": ", ":");
            assert_eq!(written, format!("{key}{rest}"), "{fields}");
        }
    }

    #[tokio::test]
    async fn entities_have_commas_between_them() {
        let fields = Fields::parse("type").expect("fields");
        for count in 0..3 {
            let mut text = String::from("[");
            write_entities(&mut text, vec![entity(); count], Some(&fields)).await;
            text.push(']');
            let list: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
            assert_eq!(list.len(), count);
        }
    }
}
