//! Idempotency keys outside of events: a header in REST, metadata in gRPC.

use uuid::{Uuid, uuid};

/// The namespace (RFC 9562, 5.5) of the uuids that are made of keys which are no UUIDs.
const NAMESPACE: Uuid = uuid!("6f1c7c0e-5d5c-4d8e-9a3c-2f9d0b7a41e6");

const MAX_CHARACTERS: usize = 255;

/// A key by which a client makes a request that it may send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey<'a>(&'a str);

impl<'a> IdempotencyKey<'a> {
    /// Takes 1 to 255 visible ASCII characters, in double quotes (as the header's draft has it) or not.
    ///
    /// # Errors
    /// The end of a sentence about the key: `must be …`.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let key = quoted.unwrap_or(text);
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must have visible ASCII characters only");
        }
        match key.len() {
            0 => Err("must not be empty"),
            1..=MAX_CHARACTERS => Ok(Self(key)),
            _ => Err("must have at most 255 characters"),
        }
    }

    /// The uuid of the event: the key itself where it is a UUID, else one made of the key and of what
    /// the request does. So a text that is used again for something else is another key.
    pub fn event_uuid(&self, operation: &str, entity_type: &str, entity_id: Option<&str>) -> Uuid {
        super::uuid(self.0).unwrap_or_else(|| {
            // no part can hold a NUL
            let id = entity_id.unwrap_or_default();
            let name = [operation, entity_type, id, self.0].join("\0");
            Uuid::new_v5(&NAMESPACE, name.as_bytes())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_used_as_it_is() {
        let expected = uuid!("3f2504e0-4f89-41d3-9a0c-0305e82c3301");
        for text in [
            "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            "\"3F2504E0-4F89-41D3-9A0C-0305E82C3301\"",
            "3f2504e04f8941d39a0c0305e82c3301",
        ] {
            let key = IdempotencyKey::parse(text).expect(text);
            assert_eq!(key.event_uuid("merge", "Car", Some("1")), expected, "{text}");
        }
    }

    #[test]
    fn another_text_is_a_key_for_one_purpose() {
        let key = |text| IdempotencyKey::parse(text).expect("a key");
        let uuid = key("order-1").event_uuid("merge", "Car", Some("1"));
        assert_eq!(uuid, key("\"order-1\"").event_uuid("merge", "Car", Some("1")));
        for other in [
            key("order-2").event_uuid("merge", "Car", Some("1")),
            key("order-1").event_uuid("replace", "Car", Some("1")),
            key("order-1").event_uuid("merge", "Cat", Some("1")),
            key("order-1").event_uuid("merge", "Car", Some("2")),
            key("order-1").event_uuid("create", "Car", None),
            key("order-1").event_uuid("event", "", None),
        ] {
            assert_ne!(uuid, other);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "x".repeat(256);
        for text in ["", "\"\"", "a b", "\u{e4}", "a\tb", &long] {
            assert!(IdempotencyKey::parse(text).is_err(), "{text:?}");
        }
        assert!(IdempotencyKey::parse(&long[1..]).is_ok());
    }
}
