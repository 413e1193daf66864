//! A connector: a sink or a source, as the database knows it.

use std::time::Duration;

use super::report::Report;

/// Characters of a connector's name.
const MAX_NAME: usize = 63;

/// Which way a connector carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Changes out.
    Sink,
    /// Messages in.
    Source,
}

impl Role {
    /// The value of the column `role`.
    pub const fn code(self) -> i16 {
        match self {
            Self::Sink => 0,
            Self::Source => 1,
        }
    }

    /// The role that a value of the column means.
    pub const fn from_code(code: i16) -> Self {
        if code == 0 { Self::Sink } else { Self::Source }
    }

    /// The word for it, also a label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Source => "source",
        }
    }
}

/// Checks a connector's name: it names the position, so it is short and plain.
///
/// # Errors
/// The end of a sentence about the name: `must …`.
pub fn check_connector_name(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err("must have 1 to 63 characters of a-z, 0-9 and -")
}

/// A connector as the database has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Connector {
    /// Which way it carries.
    pub role: Role,
    /// Its name, unique in its role.
    pub name: String,
    /// Its kind, such as `redis-stream`.
    pub kind: String,
    /// Whether it was paused, by a user or by itself.
    pub paused: bool,
    /// The worker that runs it; `None` where none does.
    pub worker: Option<String>,
    /// Of a sink: what goes on behind what was delivered. A token of the feed, or `snapshot` where a snapshot
    /// is to be taken.
    pub token: Option<String>,
    /// Of a sink: how far it is behind the log.
    pub lag: Option<SinkLag>,
    /// What its worker said last.
    pub report: Report,
    /// How many dead letters it has, with those changes that wait behind one. No more than
    /// [`MAX_DEAD_LETTERS`](super::MAX_DEAD_LETTERS) and one are counted.
    pub dead_letters: u64,
}

/// How far a sink is behind the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkLag {
    /// Positions of the log behind its own. What its filter passes over counts too, and so do positions
    /// without a change: at most so many changes are to come.
    pub changes: u64,
    /// How long ago the first of them was committed; nothing where there is none.
    pub age: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "order-events", "0", &"x".repeat(63)] {
            assert_eq!(check_connector_name(name), Ok(()), "{name}");
        }
        for name in ["", "A", "a_b", "a b", "ä", &"x".repeat(64)] {
            assert!(check_connector_name(name).is_err(), "{name}");
        }
    }
}
