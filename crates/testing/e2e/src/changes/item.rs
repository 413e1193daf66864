//! What a reader gets.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::proto::Operation;

/// An entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey {
    /// `entityType`
    pub entity_type: String,
    /// `entityId`
    pub entity_id: String,
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.entity_type, self.entity_id)
    }
}

/// One update.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityChange {
    /// Goes on behind it.
    pub token: String,
    /// The entity.
    pub key: EntityKey,
    /// The version that it made.
    pub version: u64,
    /// Never unspecified.
    pub operation: Operation,
    /// Whether the entity did not exist just before.
    pub created: bool,
    /// The text of a JSON object.
    pub patch: String,
    /// Version and document, the text of a JSON object, as read with the change.
    pub data: Option<(u64, String)>,
}

/// An entity of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct EntitySnapshot {
    /// Goes on with the rest of the snapshot.
    pub token: String,
    /// The entity.
    pub key: EntityKey,
    /// Its version.
    pub version: u64,
    /// Its document, the text of a JSON object.
    pub data: String,
}

/// One item, whatever the form.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeItem {
    /// An update.
    Change(EntityChange),
    /// An update after which the entity does not match the reader's filter. It has no data.
    Left(EntityChange),
    /// An entity as it is.
    Snapshot(EntitySnapshot),
    /// All entities of the snapshot were sent.
    SnapshotEnd {
        /// Goes on with the changes.
        token: String,
    },
    /// A bookmark of a stream, or the end of a page, which says the same.
    Bookmark {
        /// Goes on from here.
        token: String,
        /// Whether nothing more was there.
        caught_up: bool,
    },
}

impl ChangeItem {
    /// The token that goes on behind it.
    pub fn token(&self) -> &str {
        match self {
            Self::Change(change) | Self::Left(change) => &change.token,
            Self::Snapshot(entity) => &entity.token,
            Self::SnapshotEnd { token } | Self::Bookmark { token, .. } => token,
        }
    }
}

/// Why a reader has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReaderError {
    /// 410, `gone`, `OUT_OF_RANGE`: what follows is not kept.
    Gone(String),
    /// 503, `unavailable`, `UNAVAILABLE`, or a connection that broke: go on with the last token.
    Unavailable(String),
    /// What the contract does not have.
    Unexpected(String),
}

/// An item as a JSON object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    kind: String,
    token: Option<String>,
    entity_type: Option<String>,
    entity_id: Option<String>,
    version: Option<u64>,
    operation: Option<String>,
    created: Option<bool>,
    patch: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
    data_version: Option<u64>,
    #[serde(default)]
    caught_up: bool,
}

/// The item that a JSON object is. A problem is an error.
pub(super) fn from_json(text: &str) -> Result<ChangeItem, ReaderError> {
    let unexpected = || ReaderError::Unexpected(format!("not an item: {text}"));
    let item: Text = serde_json::from_str(text)
        .map_err(|error| ReaderError::Unexpected(format!("{error}: {text}")))?;
    match &*item.kind {
        "gone" => Err(ReaderError::Gone(text.into())),
        "unavailable" => Err(ReaderError::Unavailable(text.into())),
        _ => item.into_item().ok_or_else(unexpected),
    }
}

impl Text {
    fn into_item(self) -> Option<ChangeItem> {
        let token = self.token.filter(|token| !token.is_empty())?;
        let key = || Some(EntityKey { entity_type: self.entity_type?, entity_id: self.entity_id? });
        Some(match &*self.kind {
            kind @ ("change" | "left") => {
                let operation = match &*self.operation? {
                    "merge" => Operation::Merge,
                    "replace" => Operation::Replace,
                    "delete" => Operation::Delete,
                    _ => return None,
                };
                let data = match (self.data_version, self.data) {
                    (Some(version), Some(data)) => Some((version, data.get().to_owned())),
                    (None, None) => None,
                    _ => return None,
                };
                let change = EntityChange {
                    token,
                    key: key()?,
                    version: self.version?,
                    operation,
                    created: self.created?,
                    patch: self.patch?.get().to_owned(),
                    data,
                };
                if kind == "left" { ChangeItem::Left(change) } else { ChangeItem::Change(change) }
            }
            "snapshot" => ChangeItem::Snapshot(EntitySnapshot {
                token,
                key: key()?,
                version: self.version?,
                data: self.data?.get().to_owned(),
            }),
            "snapshotEnd" => ChangeItem::SnapshotEnd { token },
            "bookmark" => ChangeItem::Bookmark { token, caught_up: self.caught_up },
            _ => return None,
        })
    }
}
