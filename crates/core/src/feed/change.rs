//! What a reader of the feed gets.

use std::sync::{Arc, OnceLock};

use super::json;
use super::token::Token;
use crate::model::{Entity, EntityKey, LogEntry, Problem};

/// One committed update, as the log has it.
#[derive(Debug)]
pub struct Change {
    /// Its place in the order of all changes.
    pub position: u64,
    /// The token that goes on behind it.
    pub token: Token,
    /// The entity.
    pub key: EntityKey,
    /// What the log says about it.
    pub entry: LogEntry,
    /// The entity's state, read with the change.
    pub data: ChangeData,
    /// Its JSON without and with the state: made once, by the first reader that needs it.
    json: [OnceLock<Box<str>>; 2],
}

/// The state of a change's entity.
#[derive(Debug, Clone, Default)]
pub enum ChangeData {
    /// It was not read.
    #[default]
    NotRead,
    /// The entity is deleted by now.
    Deleted,
    /// The state of this version or a later one.
    State(Arc<Entity>),
}

impl Change {
    /// A change whose state was not read.
    pub fn new(token: Token, position: u64, key: EntityKey, entry: LogEntry) -> Self {
        let data = ChangeData::NotRead;
        Self { position, token, key, entry, data, json: Default::default() }
    }

    /// The state, where it was read and the entity exists.
    pub fn state(&self) -> Option<&Entity> {
        match &self.data {
            ChangeData::State(entity) => Some(entity),
            ChangeData::NotRead | ChangeData::Deleted => None,
        }
    }

    /// It as a JSON object, as the contract has it.
    pub fn json(&self, with_data: bool) -> &str {
        self.json[usize::from(with_data)].get_or_init(|| json::change(self, with_data).into())
    }

    /// About so many bytes it takes in memory, with its JSON.
    pub(super) fn bytes(&self) -> usize {
        const FIXED: usize = 512;
        let state = self.state().map_or(0, |entity| entity.data.len());
        let key = self.key.entity_type().len() + self.key.entity_id().len();
        FIXED + 2 * (self.entry.patch.len() + self.entry.names_bytes() + key + state)
    }
}

/// One item of a stream or a page.
#[derive(Debug, Clone)]
pub enum Item {
    /// One update.
    Change(Arc<Change>),
    /// An entity as it is, and the token that goes on behind it.
    Snapshot(Token, Arc<Entity>),
    /// All entities were sent; changes follow.
    SnapshotEnd(Token),
    /// Where the reader is, and whether it has read all that is committed.
    Bookmark {
        /// The token that goes on from here.
        token: Token,
        /// Whether nothing more was there when it was sent.
        caught_up: bool,
    },
    /// The stream can't go on: what it would send next is not kept. The last item.
    Gone(Arc<Problem>),
    /// The service can't go on with the stream now. The last item.
    Unavailable(Arc<Problem>),
}

impl Item {
    /// The contract's word for it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Change(_) => "change",
            Self::Snapshot(..) => "snapshot",
            Self::SnapshotEnd(_) => "snapshotEnd",
            Self::Bookmark { .. } => "bookmark",
            Self::Gone(_) => "gone",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// About so many bytes it has as JSON.
    pub(super) fn bytes(&self) -> usize {
        const FIXED: usize = 256;
        match self {
            Self::Change(change) => change.bytes() / 2,
            Self::Snapshot(_, entity) => FIXED + entity.data.len(),
            _ => FIXED,
        }
    }

    /// The token that goes on behind it; problems have none.
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Change(change) => Some(&change.token),
            Self::Snapshot(token, _) | Self::SnapshotEnd(token) | Self::Bookmark { token, .. } => {
                Some(token)
            }
            Self::Gone(_) | Self::Unavailable(_) => None,
        }
    }

    /// The problem, where it is one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Gone(problem) | Self::Unavailable(problem) => Some(problem),
            _ => None,
        }
    }

    /// Adds it to `text`, as a JSON object on one line.
    pub fn write_json(&self, with_data: bool, text: &mut String) {
        json::item(self, with_data, text);
    }
}

/// A page of the feed.
#[derive(Debug)]
pub struct Page {
    /// Changes; of a snapshot its entities and its end.
    pub items: Vec<Item>,
    /// The token that goes on behind the page.
    pub next: Token,
    /// Whether nothing more was there.
    pub caught_up: bool,
}
