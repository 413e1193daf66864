//! The one encoding that prost accepts and our reader refuses: a map field whose wire type isn't
//! length-delimited. The specification makes it a field of another kind, to be skipped or refused;
//! prost ignores the wire type of maps and reads what follows as an entry.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The messages in which a map may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// `ProcessEventsRequest`
    Call,
    /// `EventRequest`
    Event,
    Body,
    Entity,
    /// `ReplaceEntityRequest`
    Replace,
    Struct,
    StructEntry,
    Value,
    List,
}

impl Message {
    /// The message in the field of this number.
    pub(crate) fn child(self, number: u32) -> Option<Self> {
        Some(match (self, number) {
            (Self::Call, 1) => Self::Event,
            (Self::Event, 2) => Self::Body,
            (Self::Body, 1) => Self::Entity,
            (Self::Entity | Self::Replace, 4) | (Self::Value, 5) => Self::Struct,
            (Self::Struct, 1) => Self::StructEntry,
            (Self::StructEntry, 2) | (Self::List, 1) => Self::Value,
            (Self::Value, 6) => Self::List,
            _ => return None,
        })
    }

    /// Whether the field of this number is a map.
    fn is_map(self, number: u32) -> bool {
        matches!((self, number), (Self::Entity | Self::Replace, 3) | (Self::Struct, 1))
    }
}

/// Whether `bytes`, a `message` that prost decodes, has a map of another wire type.
pub(crate) fn has_map_of_other_type(message: Message, mut bytes: &[u8]) -> bool {
    // up to the first such map this reads what prost has read, so it can't fail
    const DECODED: &str = "prost has decoded it";
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes).expect(DECODED);
        if wire_type != WireType::LengthDelimited {
            if message.is_map(number) {
                return true;
            }
            let context = DecodeContext::default();
            skip_field(wire_type, number, &mut bytes, context).expect(DECODED);
            continue;
        }
        let len = usize::try_from(decode_varint(&mut bytes).expect(DECODED)).expect(DECODED);
        let (field, rest) = bytes.split_at_checked(len).expect(DECODED);
        bytes = rest;
        let child = message.child(number);
        if child.is_some_and(|child| has_map_of_other_type(child, field)) {
            return true;
        }
    }
    false
}
