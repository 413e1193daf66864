//! Entities in answers, written by core.

use producer_core::model::Entity;
use producer_core::query::{Fields, write_entity};
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

    #[test]
    fn an_entity_is_written_as_its_own_route_writes_it() {
        let body = EntityBody::try_from(entity()).expect("a body");
        let mut written = String::new();
        write_entity(&mut written, &entity(), None);
        assert_eq!(written, serde_json::to_string(&body).expect("JSON"));
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
