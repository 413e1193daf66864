//! Messages of sources as dead letters keep them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use producer_core::json::{ObjectWriter, write_string};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::config::SourceKind;
use crate::source::{Body, Place};

/// What a dead letter keeps of a message: its bytes as they came. Fields are a JSON object of texts, or of
/// `{"base64":"…"}` where one is not UTF-8.
pub(crate) fn bytes(body: &Body) -> Vec<u8> {
    match body {
        Body::Bytes(bytes) => bytes.clone(),
        Body::Gone => Vec::new(),
        Body::Fields(fields) => {
            let mut text = String::from("{");
            for (name, value) in fields {
                if text.len() > 1 {
                    text.push(',');
                }
                write_string(&mut text, name);
                text.push(':');
                match str::from_utf8(value) {
                    Ok(value) => write_string(&mut text, value),
                    Err(_) => {
                        let mut object = ObjectWriter::begin(&mut text);
                        object.quoted("base64", STANDARD.encode(value));
                        object.end();
                    }
                }
            }
            text.push('}');
            text.into_bytes()
        }
    }
}

/// The message of a source of this kind that a dead letter keeps.
pub(crate) fn body(kind: &SourceKind, bytes: Vec<u8>) -> Body {
    match kind {
        SourceKind::Kafka { .. } => Body::Bytes(bytes),
        SourceKind::RedisStream { .. } => match serde_json::from_slice(&bytes) {
            Ok(Fields(fields)) => Body::Fields(fields),
            Err(_) => Body::Gone,
        },
    }
}

/// A message's place as dead letters name it.
pub(crate) fn place_text(place: &Place) -> String {
    format!("{} {}", place.stream, place.id)
}

/// The place that a dead letter names. Ids have no spaces.
pub(crate) fn place(text: &str) -> Place {
    let (stream, id) = text.rsplit_once(' ').unwrap_or((text, ""));
    Place { stream: stream.to_owned(), id: id.to_owned() }
}

/// Fields in their order; one name may be there twice.
struct Fields(Vec<(String, Vec<u8>)>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes { base64: String },
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    let bytes = match value {
                        Value::Text(text) => text.into_bytes(),
                        Value::Bytes { base64 } => {
                            STANDARD.decode(base64).map_err(serde::de::Error::custom)?
                        }
                    };
                    fields.push((name, bytes));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, SourceStart};

    fn redis() -> SourceKind {
        SourceKind::RedisStream {
            url: Secret::from(String::new()),
            stream: "orders".into(),
            group: "producer".into(),
            from: SourceStart::Start,
        }
    }

    #[test]
    fn a_message_reads_back_as_it_came() {
        let field = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        for fields in [
            vec![],
            vec![field("a", b"1"), field("b\"", "ä\0\n".as_bytes()), field("a", b"2")],
            vec![field("raw", b"\xff\x00"), field("", b"")],
        ] {
            let message = Body::Fields(fields);
            assert_eq!(body(&redis(), bytes(&message)), message);
        }
        let raw = Body::Fields(vec![field("raw", b"\xff")]);
        assert_eq!(bytes(&raw), br#"{"raw":{"base64":"/w=="}}"#);
        assert_eq!(body(&redis(), bytes(&Body::Gone)), Body::Gone);
    }

    #[test]
    fn places_read_back() {
        for (stream, id, text) in
            [("orders:events", "1718-0", "orders:events 1718-0"), ("a b/3", "1207", "a b/3 1207")]
        {
            let there = Place { stream: stream.into(), id: id.into() };
            assert_eq!(place_text(&there), text);
            assert_eq!(place(text), there);
        }
    }
}
