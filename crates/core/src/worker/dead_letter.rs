//! Dead letters: what a target refused or a source could not take, until somebody decides.

use super::connector::Role;
use crate::model::EntityKey;
use crate::time::Timestamp;

/// Dead letters of one connector, with those changes that wait behind one. A sink that has so many pauses
/// itself.
pub const MAX_DEAD_LETTERS: u64 = 10_000;

/// What is to become of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterState {
    /// It was refused, and stays until it is replayed or deleted.
    Dead,
    /// A change that waits behind a dead letter of its entity. It is delivered as soon as no dead letter of
    /// the entity is before it.
    Waiting,
    /// It is to be delivered again.
    Replaying,
}

impl DeadLetterState {
    /// The value of the column `state`.
    pub const fn code(self) -> i16 {
        match self {
            Self::Dead => 0,
            Self::Waiting => 1,
            Self::Replaying => 2,
        }
    }

    /// The state that a value of the column means.
    pub const fn from_code(code: i16) -> Self {
        match code {
            1 => Self::Waiting,
            2 => Self::Replaying,
            _ => Self::Dead,
        }
    }

    /// As answers have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Waiting => "waiting",
            Self::Replaying => "replaying",
        }
    }
}

/// Which change or message it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterPlace {
    /// A change of the log. What is delivered again is read from the log, so pruning stops before it.
    Change {
        /// Its position.
        position: u64,
        /// Its entity.
        key: EntityKey,
        /// The entity's version that it made.
        version: u64,
    },
    /// A message of a source, such as `orders:events 1718000000000-0` or `orders 3 1207` (topic, partition,
    /// offset). No two messages of a source have the same.
    Message(String),
}

/// A dead letter that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// Which change or message.
    pub place: DeadLetterPlace,
    /// [`DeadLetterState::Dead`] or [`DeadLetterState::Waiting`].
    pub state: DeadLetterState,
    /// The message as it was refused or came, byte by byte; empty of what waits.
    pub message: Vec<u8>,
    /// Why, in one sentence without secrets; empty of what waits.
    pub error: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was first tried.
    pub first_at: Timestamp,
    /// When it was last tried.
    pub last_at: Timestamp,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Rises with every new one.
    pub id: u64,
    /// Its connector's role.
    pub role: Role,
    /// Its connector's name.
    pub connector: String,
    /// What was stored. Lists leave the message out.
    pub letter: NewDeadLetter,
}

/// Which dead letters are listed, newest first.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetterQuery<'a> {
    /// Only those of this connector.
    pub connector: Option<(Role, &'a str)>,
    /// Only those with a lower id.
    pub before: Option<u64>,
    /// So many at most.
    pub rows: u32,
}
