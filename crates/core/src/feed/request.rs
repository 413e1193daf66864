//! What readers ask for.

use std::time::Duration;

use super::metrics::ReaderKind;
use super::token::Token;
use super::types::Types;
use crate::filter::Filter;
use crate::model::Timestamp;

/// Where a reader begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the oldest change that is kept.
    Oldest,
    /// With what is committed from now on.
    Now,
    /// With the entities as they are, then their changes.
    Snapshot,
    /// With what was committed from this time on.
    Time(Timestamp),
    /// Behind this token.
    Token(Token),
}

impl Start {
    /// Reads `start`, `now`, `snapshot`, a time (RFC 3339) or a token.
    ///
    /// # Errors
    /// The end of a sentence about `text`: `must be …`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "start" => Ok(Self::Oldest),
            "now" => Ok(Self::Now),
            "snapshot" => Ok(Self::Snapshot),
            _ => match (Token::parse(text), Timestamp::from_text(text)) {
                (Some(token), _) => Ok(Self::Token(token)),
                (None, Ok(time)) => Ok(Self::Time(time)),
                (None, Err(_)) => {
                    Err("must be a token, start, now, snapshot, or a time (RFC 3339)")
                }
            },
        }
    }
}

/// How long a page may wait.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// A stream.
#[derive(Debug, Clone)]
pub struct WatchRequest {
    /// For the metrics.
    pub kind: ReaderKind,
    /// Where it begins.
    pub start: Start,
    /// Whether it ends where the log stands when it begins.
    pub until_now: bool,
    /// Only changes of these types.
    pub types: Types,
    /// Only changes that match; of a snapshot only entities that do. Its scope is that of changes.
    pub filter: Option<Filter>,
    /// Whether the states are sent too.
    pub include_data: bool,
}

/// A page.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// Where it begins.
    pub start: Start,
    /// Only changes of these types.
    pub types: Types,
    /// Only changes that match; of a snapshot only entities that do. Its scope is that of changes.
    pub filter: Option<Filter>,
    /// Whether the states are sent too.
    pub include_data: bool,
    /// So many items at most, from 1.
    pub size: u32,
    /// About so many bytes of items at most, but for the first one.
    pub bytes: usize,
    /// How long to wait for the first item.
    pub wait: Duration,
}
