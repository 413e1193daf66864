//! A document: what `GET /entities/…` answers, and the words of its texts.

use producer_core::json::write_string;
use producer_core::model::Entity;
use producer_core::types::SearchRow;
use producer_core::{EntityKey, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::template::field_language;

/// A document on one line: the members of `GET /entities/…`; where the type declares search, `words` with its
/// words by weight and language.
pub fn write(entity: &Entity, words: Option<&SearchRow>) -> String {
    let mut out = String::with_capacity(256 + entity.data.len() + words.map_or(0, bytes));
    out.push_str("{\"entityType\":");
    write_string(&mut out, entity.key.entity_type());
    out.push_str(",\"entityId\":");
    write_string(&mut out, entity.key.entity_id());
    let Entity { version, created_at, updated_at, .. } = entity;
    out.push_str(&format!(
        r#","version":{version},"createdAt":"{created_at}","updatedAt":"{updated_at}","data":"#
    ));
    // its line breaks are white space, since strings have none
    for (place, line) in entity.data.split(['\n', '\r']).enumerate() {
        out.push_str(if place == 0 { "" } else { " " });
        out.push_str(line);
    }
    if let Some(row) = words.filter(|row| !row.is_empty()) {
        write_words(&mut out, row);
    }
    out.push('}');
    out
}

fn write_words(out: &mut String, row: &SearchRow) {
    let language = field_language(&row.language);
    out.push_str(",\"words\":{");
    let texts = row.text.iter().zip(1..).filter(|(text, _)| !text.is_empty());
    for (place, (text, weight)) in texts.enumerate() {
        out.push_str(if place == 0 { "" } else { "," });
        out.push_str(&format!(r#""w{weight}":{{"{language}":"#));
        write_string(out, text);
        out.push('}');
    }
    out.push('}');
}

fn bytes(row: &SearchRow) -> usize {
    row.text.iter().map(String::len).sum()
}

/// The fields that have a language's words, with their weights.
pub(crate) fn fields(field_language: &str) -> impl Iterator<Item = (String, u8)> {
    (1..=4).map(move |weight| (format!("words.w{weight}.{field_language}"), weight))
}

/// What is read of a document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    entity_type: String,
    entity_id: String,
    version: u64,
    created_at: String,
    updated_at: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Reads a document again. Its numbers are as they were written.
pub(crate) fn read(source: &str) -> Result<Entity, Error> {
    let stored: Stored<'_> = serde_json::from_str(source).map_err(Error::unreadable)?;
    let time = |text: &str| {
        Timestamp::from_text(text).map_err(|_| Error::Unreadable(format!("{text} is no time")))
    };
    Ok(Entity {
        created_at: time(&stored.created_at)?,
        updated_at: time(&stored.updated_at)?,
        key: EntityKey::new_unchecked(stored.entity_type, stored.entity_id),
        version: stored.version,
        data: stored.data.get().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use producer_core::json::Path;
    use producer_core::types::{SearchDefinition, TypeSearch};

    use super::*;

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let entity = Entity {
            key: EntityKey::new_unchecked("Car \"x\"", "1\n"),
            version: 7,
            created_at: Timestamp::from_micros(1_767_225_600_000_001),
            updated_at: Timestamp::from_micros(1_767_225_600_100_000),
            data: "{\"n\":1.10,\n\"big\":1e400,\"t\":\"Red Fox\"}".to_owned(),
        };
        let path = Path::parse("data.t").expect("a path");
        let definition =
            SearchDefinition { paths: vec![(path, 4)], language: "english".to_owned() };
        let row = TypeSearch::new(1, &definition).row(Some(&entity.data));
        let text = write(&entity, Some(&row));
        assert!(!text.contains('\n'), "{text}");
        let words = r#","words":{"w4":{"english":"red fox ʬ "}}}"#;
        assert!(text.ends_with(words), "{text}");
        let back = read(&text).expect("a document");
        assert_eq!(back, Entity { data: entity.data.replace('\n', " "), ..entity });
    }
}
