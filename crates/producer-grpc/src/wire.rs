//! Protobuf's wire format, read in place: the fields of a message are slices of it. What prost
//! would build of a message of many tiny parts is a hundred times its size.

use producer_core::{Problem, ProblemKind};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Bytes that are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message can't be decoded: {0}")]
pub(crate) struct DecodeError(String);

impl DecodeError {
    pub(crate) fn new(why: &str) -> Self {
        Self(why.into())
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

/// A field as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) number: u32,
    value: Value<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    /// What none of our fields is.
    Other,
}

impl<'a> Part<'a> {
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

    pub(crate) fn double(self) -> Result<f64, DecodeError> {
        match self.value {
            Value::Eight(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => Err(self.wrong_type()),
        }
    }

    fn wrong_type(self) -> DecodeError {
        DecodeError(format!("field {} has another wire type", self.number))
    }
}

/// The fields of a message in their order; after an error nothing more.
#[derive(Debug, Clone)]
pub(crate) struct Parts<'a>(&'a [u8]);

/// The fields of `message`.
pub(crate) fn parts(message: &[u8]) -> Parts<'_> {
    Parts(message)
}

/// The messages that stand in the field of this number; the others are only looked over.
pub(crate) fn messages(
    message: &[u8],
    number: u32,
) -> impl Iterator<Item = Result<&[u8], DecodeError>> {
    parts(message).filter_map(move |part| match part {
        Ok(part) if part.number != number => None,
        part => Some(part.and_then(Part::message)),
    })
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_err() {
            self.0 = &[];
        }
        Some(part)
    }
}

impl<'a> Parts<'a> {
    fn part(&mut self) -> Result<Part<'a>, DecodeError> {
        let (number, wire_type) = decode_key(&mut self.0)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(decode_varint(&mut self.0)?),
            WireType::SixtyFourBit => {
                let (bytes, rest) = self.0.split_first_chunk().ok_or_else(cut_off)?;
                self.0 = rest;
                Value::Eight(*bytes)
            }
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut self.0)?).map_err(|_| cut_off())?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or_else(cut_off)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => {
                skip_field(wire_type, number, &mut self.0, DecodeContext::default())?;
                Value::Other
            }
        };
        Ok(Part { number, value })
    }
}

fn cut_off() -> DecodeError {
    DecodeError::new("it ends in the middle of a field")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u32>, DecodeError> {
        parts(bytes).map(|part| part.map(|part| part.number)).collect()
    }

    #[test]
    fn every_wire_type_is_read_over() {
        let fields = [
            &[0x08, 0x96, 0x01][..],               // varint
            &[0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f], // eight bytes
            &[0x1a, 0x02, b'o', b'k'],             // bytes
            &[0x23, 0x2b, 0x30, 0x01, 0x2c, 0x24], // a group in a group
            &[0x2d, 0, 0, 0, 0],                   // four bytes
        ];
        assert_eq!(read(&fields.concat()), Ok(vec![1, 2, 3, 4, 5]));
        let part = |at: usize| parts(fields[at]).next().expect("one").expect("a field");
        assert_eq!(part(0).varint(), Ok(150));
        assert_eq!(part(1).double(), Ok(1.0));
        assert_eq!(part(2).text(), Ok("ok"));
        assert!(part(0).text().is_err() && part(2).varint().is_err() && part(2).double().is_err());
    }

    #[test]
    fn what_is_no_message_is_an_error_and_the_end() {
        let broken: [&[u8]; 8] = [
            &[0x0a, 0x05, 1], // cut off
            &[0x0a],          // no length
            &[0xff; 11],      // a number of too many bytes
            &[0x00, 0x00],    // field 0
            &[0x0f],          // wire type 7
            &[0x0c],          // the end of no group
            &[0x0b, 0x08],    // a group without end
            &[0x09, 0, 0],    // not eight bytes
        ];
        for bytes in broken {
            assert!(read(bytes).is_err(), "{bytes:?}");
            assert_eq!(parts(bytes).count(), 1, "{bytes:?}");
        }
        assert_eq!(messages(&[0x08, 1, 0x12, 0], 1).next().map(|found| found.is_err()), Some(true));
    }
}
