//! What Redis answers: the entries of a stream, or that there is none.

use std::fmt;
use std::str::FromStr;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value, from_redis_value_ref};

use crate::source::Body;

/// The id of an entry. Rises within a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    /// By the server's clock, unless its sender chose the id.
    pub(super) millis: u64,
    pub(super) number: u64,
}

impl Id {
    /// The id before it.
    pub(super) fn before(self) -> Self {
        match (self.millis, self.number) {
            (0, 0) => self,
            (millis, 0) => Self { millis: millis - 1, number: u64::MAX },
            (millis, number) => Self { millis, number: number - 1 },
        }
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (millis, number) = text.split_once('-').ok_or(())?;
        let read = |text: &str| text.parse().map_err(drop);
        Ok(Self { millis: read(millis)?, number: read(number)? })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

/// A message that is not given out yet, and how often it was delivered.
pub(super) type Entry = (Id, Body, u32);

/// Whether the stream or its group does not exist, or was deleted while somebody waited for it.
pub(super) fn is_absent(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
        // in scripts, and of a key that does not exist
        || error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
            && error.detail().is_some_and(|detail| {
                detail.starts_with("no such key") || detail.contains("requires the key to exist")
            })
}

/// The entries of an answer, in their order. What is none is passed over.
pub(super) fn entries(answer: Value) -> Vec<(Id, Body)> {
    items(answer).into_iter().filter_map(entry).collect()
}

/// The entries of an answer that has those of several streams, of which one was asked for.
pub(super) fn entries_of_streams(answer: Value) -> Vec<(Id, Body)> {
    let streams = match answer {
        Value::Map(streams) => streams.into_iter().map(|(_, entries)| entries).collect(),
        other => items(other).into_iter().filter_map(|stream| items(stream).pop()).collect(),
    };
    let streams: Vec<Value> = streams;
    streams.into_iter().flat_map(entries).collect()
}

fn entry(value: Value) -> Option<(Id, Body)> {
    let [id, fields] = <[Value; 2]>::try_from(items(value)).ok()?;
    let id = text(&id)?.parse().ok()?;
    if fields == Value::Nil {
        return Some((id, Body::Gone));
    }
    let mut parts = items(fields).into_iter();
    let mut fields = Vec::with_capacity(parts.len() / 2);
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let name = String::from_utf8_lossy(&bytes(name)).into_owned();
        fields.push((name, bytes(value)));
    }
    Some((id, Body::Fields(fields)))
}

fn items(value: Value) -> Vec<Value> {
    if let Value::Array(items) = value { items } else { Vec::new() }
}

fn bytes(value: Value) -> Vec<u8> {
    if let Value::BulkString(bytes) = value { bytes } else { Vec::new() }
}

/// A text of an answer.
pub(super) fn text(value: &Value) -> Option<String> {
    from_redis_value_ref(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn ids_are_in_order() {
        let id = |text: &str| text.parse::<Id>().expect(text);
        assert!(id("9-1") < id("10-0") && id("10-2") < id("10-11"));
        assert_eq!(id("10-2").before(), id("10-1"));
        assert_eq!(id("10-0").before(), id(&format!("9-{}", u64::MAX)));
        assert_eq!(id("0-0").before(), id("0-0"));
        for other in ["", "1", "1-", "-1", "a-1"] {
            assert_eq!(other.parse::<Id>(), Err(()), "{other}");
        }
    }

    #[test]
    fn fields_keep_their_order_and_bytes() {
        let fields =
            Value::Array(vec![bulk("b"), bulk("1"), bulk("a"), Value::BulkString(vec![255])]);
        let read = Value::Array(vec![bulk("1-0"), fields]);
        let trimmed = Value::Array(vec![bulk("2-0"), Value::Nil]);
        let entries_ = Value::Array(vec![read, trimmed, Value::Nil]);
        let fields = vec![("b".to_owned(), b"1".to_vec()), ("a".to_owned(), vec![255])];
        let expected = vec![
            (Id { millis: 1, number: 0 }, Body::Fields(fields)),
            (Id { millis: 2, number: 0 }, Body::Gone),
        ];
        assert_eq!(entries(entries_.clone()), expected);
        let of_streams = Value::Array(vec![Value::Array(vec![bulk("s"), entries_.clone()])]);
        assert_eq!(entries_of_streams(of_streams), expected);
        assert_eq!(entries_of_streams(Value::Map(vec![(bulk("s"), entries_)])), expected);
        assert_eq!(entries_of_streams(Value::Nil), Vec::new());
    }
}
