//! Protobuf's wire format, read in place: the fields of a message are slices of it. What prost
//! would build of a message of many tiny parts is a hundred times its size.

use producer_core::{Problem, ProblemKind};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Bytes that can't be decoded as the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message can't be decoded: {0}")]
pub(crate) struct DecodeError(String);

impl DecodeError {
    pub(crate) fn new(reason: &str) -> Self {
        Self(reason.into())
    }
}

impl From<prost::DecodeError> for DecodeError {
    fn from(error: prost::DecodeError) -> Self {
        Self(error.to_string())
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        Self::new(ProblemKind::Malformed, error.to_string())
    }
}

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    value: Value<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    /// A wire type that none of our fields has.
    Other,
}

impl<'a> Field<'a> {
    pub(crate) fn message(self) -> Result<&'a [u8], DecodeError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_type()),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.message()?)
            .map_err(|_| DecodeError(format!("field {} is not UTF-8", self.number)))
    }

    pub(crate) fn varint(self) -> Result<u64, DecodeError> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => Err(self.wrong_type()),
        }
    }

    /// The number of an enum's value, of which the lowest 32 bits count.
    pub(crate) fn enumeration(self) -> Result<i32, DecodeError> {
        let [a, b, c, d, ..] = self.varint()?.to_le_bytes();
        Ok(i32::from_le_bytes([a, b, c, d]))
    }

    pub(crate) fn double(self) -> Result<f64, DecodeError> {
        match self.value {
            Value::Fixed64(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => Err(self.wrong_type()),
        }
    }

    fn wrong_type(self) -> DecodeError {
        DecodeError(format!("field {} has the wrong wire type", self.number))
    }
}

/// The fields of a message in order; nothing more after an error.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// The fields of `message`.
pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

/// The messages in the field of this number. Other fields are only checked for their framing.
pub(crate) fn messages(
    message: &[u8],
    number: u32,
) -> impl Iterator<Item = Result<&[u8], DecodeError>> {
    fields(message).filter_map(move |field| match field {
        Ok(field) if field.number != number => None,
        field => Some(field.and_then(Field::message)),
    })
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, DecodeError> {
        let (number, wire_type) = decode_key(&mut self.0)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(decode_varint(&mut self.0)?),
            WireType::SixtyFourBit => {
                let (bytes, rest) = self.0.split_first_chunk().ok_or_else(truncated)?;
                self.0 = rest;
                Value::Fixed64(*bytes)
            }
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut self.0)?).map_err(|_| truncated())?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or_else(truncated)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => {
                skip_field(wire_type, number, &mut self.0, DecodeContext::default())?;
                Value::Other
            }
        };
        Ok(Field { number, value })
    }
}

fn truncated() -> DecodeError {
    DecodeError::new("it ends in the middle of a field")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u32>, DecodeError> {
        fields(bytes).map(|field| field.map(|field| field.number)).collect()
    }

    #[test]
    fn every_wire_type_can_be_skipped() {
        let parts = [
            &[0x08, 0x96, 0x01][..],               // varint
            &[0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f], // eight bytes
            &[0x1a, 0x02, b'o', b'k'],             // bytes
            &[0x23, 0x2b, 0x30, 0x01, 0x2c, 0x24], // a group in a group
            &[0x2d, 0, 0, 0, 0],                   // four bytes
        ];
        assert_eq!(read(&parts.concat()), Ok(vec![1, 2, 3, 4, 5]));
        let field = |at: usize| fields(parts[at]).next().expect("one").expect("a field");
        assert_eq!(field(0).varint(), Ok(150));
        assert_eq!(field(0).enumeration(), Ok(150));
        let minus_one = [&[0x08][..], &[0xff; 9], &[1]].concat();
        let minus_one = fields(&minus_one).next().expect("one").expect("a field");
        assert_eq!(minus_one.enumeration(), Ok(-1));
        assert_eq!(field(1).double(), Ok(1.0));
        assert_eq!(field(2).text(), Ok("ok"));
        assert!(field(0).text().is_err());
        assert!(field(2).varint().is_err() && field(2).double().is_err());
    }

    #[test]
    fn invalid_bytes_are_one_error_and_the_end() {
        let invalid: [&[u8]; 8] = [
            &[0x0a, 0x05, 1], // truncated
            &[0x0a],          // no length
            &[0xff; 11],      // a varint of too many bytes
            &[0x00, 0x00],    // field 0
            &[0x0f],          // wire type 7
            &[0x0c],          // the end of no group
            &[0x0b, 0x08],    // a group without end
            &[0x09, 0, 0],    // less than eight bytes
        ];
        for bytes in invalid {
            assert!(read(bytes).is_err(), "{bytes:?}");
            assert_eq!(fields(bytes).count(), 1, "{bytes:?}");
        }
        assert_eq!(messages(&[0x08, 1, 0x12, 0], 1).next().map(|found| found.is_err()), Some(true));
    }
}
