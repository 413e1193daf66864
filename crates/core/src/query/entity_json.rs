//! Entities as JSON, written without a tree: documents are text.

use std::fmt::Write;

use super::fields::Fields;
use crate::json::write_string;
use crate::model::Entity;

/// Appends an entity as `GET` of it answers; of its members what `fields` name, or all.
pub fn write_entity(text: &mut String, entity: &Entity, fields: Option<&Fields>) {
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
    use super::*;
    use crate::model::EntityKey;
    use crate::time::Timestamp;

    fn entity() -> Entity {
        Entity {
            key: EntityKey::new("Car \"\\", "\u{1}/\u{e4}").expect("a key"),
            version: 3,
            created_at: Timestamp::from_micros(1),
            updated_at: Timestamp::from_micros(2_000_000),
            data: r#"{"a": 1.50, "b": {"c": [1], "d": null}}"#.into(),
        }
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
            let shown = Fields::parse(fields).expect(fields);
            let mut written = String::new();
            write_entity(&mut written, &entity(), Some(&shown));
            let written = written.replace(": ", ":");
            assert_eq!(written, format!("{key}{rest}"), "{fields}");
        }
    }
}
