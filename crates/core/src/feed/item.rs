//! What a stream or a page is made of.

use std::fmt::Write;
use std::sync::Arc;

use super::change::Change;
use super::json;
use super::token::Token;
use crate::model::{Entity, Problem};

/// One item of a stream or a page.
#[derive(Debug, Clone)]
pub enum Item {
    /// One update.
    Change(Arc<Change>),
    /// With a filter over type, id and document: an update after which the entity does not match, though it
    /// may have before.
    Left(Arc<Change>),
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
            Self::Left(_) => "left",
            Self::Snapshot(..) => "snapshot",
            Self::SnapshotEnd(_) => "snapshotEnd",
            Self::Bookmark { .. } => "bookmark",
            Self::Gone(_) => "gone",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// About so many bytes it has as JSON; changes with their states or without.
    pub(super) fn bytes(&self, with_data: bool) -> usize {
        const FIXED: usize = 256;
        match self {
            Self::Change(change) => change.sent_bytes(with_data),
            Self::Left(change) => change.sent_bytes(false),
            Self::Snapshot(token, entity) => FIXED + token.filter_bytes() + entity.data.len(),
            _ => FIXED,
        }
    }

    /// The token that goes on behind it; problems have none.
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Change(change) | Self::Left(change) => Some(&change.token),
            Self::Snapshot(token, _) | Self::SnapshotEnd(token) | Self::Bookmark { token, .. } => {
                Some(token)
            }
            Self::Gone(_) | Self::Unavailable(_) => None,
        }
    }

    /// Adds its token to `text`; nothing where it has none.
    pub fn write_token(&self, text: &mut String) {
        match self {
            Self::Change(change) | Self::Left(change) => text.push_str(change.token_text()),
            // a String takes all that is written
            _ => drop(self.token().map(|token| write!(text, "{token}"))),
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
        match self {
            Self::Change(change) => text.push_str(change.json(with_data)),
            Self::Left(change) => change.write_left_json(text),
            Self::Snapshot(token, entity) => snapshot(Some(token), entity, text),
            Self::SnapshotEnd(token) => place(self.kind(), token, false, text),
            Self::Bookmark { token, caught_up } => place(self.kind(), token, *caught_up, text),
            Self::Gone(problem) | Self::Unavailable(problem) => end(self.kind(), problem, text),
        }
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

/// Adds an entity as it is to `text`: the item of a snapshot, without a token.
pub fn write_snapshot_json(entity: &Entity, text: &mut String) {
    snapshot(None, entity, text);
}

fn snapshot(token: Option<&Token>, entity: &Entity, text: &mut String) {
    let mut object = json::begin(text, "snapshot");
    if let Some(token) = token {
        json::token(&mut object, token);
    }
    json::key(&mut object, &entity.key, entity.version);
    object.quoted("updatedAt", entity.updated_at);
    object.json("data", &entity.data);
    object.end();
}

fn place(kind: &str, token: &Token, caught_up: bool, text: &mut String) {
    let mut object = json::begin(text, kind);
    json::token(&mut object, token);
    if caught_up {
        object.plain("caughtUp", true);
    }
    object.end();
}

fn end(kind: &str, problem: &Problem, text: &mut String) {
    let mut object = json::begin(text, kind);
    object.quoted("type", format_args!("urn:producer:problem:{}", problem.kind.as_str()));
    object.string("title", problem.kind.title());
    object.plain("status", problem.kind.http_status());
    object.string("detail", &problem.detail);
    object.plain("retryable", problem.kind.is_retryable());
    object.end();
}
