//! One update, as readers of the feed get it.

use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::json;
use super::token::Token;
use crate::json::ObjectWriter;
use crate::model::{Entity, EntityKey, LogEntry};
#[cfg(test)]
use crate::model::{EntryKind, Operation, Timestamp};

/// How the JSON of a change begins, by its kind.
const KIND_CHANGE: &str = r#"{"kind":"change""#;
const KIND_LEFT: &str = r#"{"kind":"left""#;
/// Bytes of a change's JSON beside its texts, at most.
const JSON_BYTES: usize = 448;

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
    /// The token as text, and its JSON without and with the state: each made once, by the first reader that
    /// needs it.
    token_text: OnceLock<Box<str>>,
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
    pub fn new(epoch: Uuid, position: u64, key: EntityKey, entry: LogEntry) -> Self {
        let (token, data) = (Token::in_log(epoch, position), ChangeData::NotRead);
        let (token_text, json) = Default::default();
        Self { position, token, key, entry, data, token_text, json }
    }

    /// The state, where it was read and the entity exists.
    pub fn state(&self) -> Option<&Entity> {
        match &self.data {
            ChangeData::State(entity) => Some(entity),
            ChangeData::NotRead | ChangeData::Deleted => None,
        }
    }

    /// Its token as text.
    pub fn token_text(&self) -> &str {
        self.token_text.get_or_init(|| self.token.to_string().into())
    }

    /// It as a JSON object, as the contract has it.
    pub fn json(&self, with_data: bool) -> &str {
        self.json[usize::from(with_data)].get_or_init(|| {
            let mut text = String::new();
            self.write_json_with(self.state().filter(|_| with_data), &mut text);
            text.into()
        })
    }

    /// Adds it to `text` as [`Change::json`] has it, with this state instead of the one that was read with it.
    /// Not kept.
    pub fn write_json_with(&self, state: Option<&Entity>, text: &mut String) {
        let state_bytes = state.map_or(0, |entity| entity.data.len());
        text.reserve(512 + self.entry.patch.len() + state_bytes);
        let mut object = json::begin(text, "change");
        json::token(&mut object, self.token_text());
        json::key(&mut object, &self.key, self.entry.version);
        write_entry(&mut object, &self.entry);
        if let Some(entity) = state {
            object.json("data", &entity.data);
            object.plain("dataVersion", entity.version);
        }
        object.end();
    }

    /// Adds it to `text` as an update after which the entity matches no more, without the state.
    pub fn write_left_json(&self, text: &mut String) {
        let change = self.json(false);
        text.push_str(KIND_LEFT);
        text.push_str(change.strip_prefix(KIND_CHANGE).unwrap_or(change));
    }

    /// About so many bytes its JSON has, with the state where that was read.
    pub(super) fn json_bytes(&self) -> usize {
        self.bytes() / 2
    }

    /// About so many bytes of JSON are sent of it.
    pub(super) fn sent_bytes(&self, with_data: bool) -> usize {
        let state = self.state().map_or(0, |entity| entity.data.len());
        self.json_bytes() - if with_data { 0 } else { state }
    }

    /// About so many bytes it takes in memory, with its JSON.
    pub(super) fn bytes(&self) -> usize {
        const FIXED: usize = 2 * JSON_BYTES;
        let state = self.state().map_or(0, |entity| entity.data.len());
        let key = self.key.entity_type().len() + self.key.entity_id().len();
        FIXED + 2 * (self.entry.patch.len() + self.entry.names_bytes() + key + state)
    }
}

#[cfg(test)]
impl Change {
    /// The first update of an entity with the id 1.
    pub(super) fn of_test(epoch: Uuid, position: u64, entity_type: &str, patch: &str) -> Self {
        let entry = LogEntry {
            kind: EntryKind::Event,
            uuid: Uuid::from_u128(u128::from(position)),
            ordinal: 0,
            version: 1,
            operation: Operation::Merge,
            created: true,
            event_name: "Made".into(),
            event_type: None,
            source: None,
            actor: None,
            created_date: None,
            committed: Timestamp::from_micros(0),
            patch: patch.into(),
        };
        Self::new(epoch, position, EntityKey::new_unchecked(entity_type, "1"), entry)
    }
}

fn write_entry(object: &mut ObjectWriter<'_>, entry: &LogEntry) {
    object.string("operation", entry.operation.as_str());
    object.plain("created", entry.created);
    if let Some(id) = entry.event_id() {
        object.quoted("eventId", id);
        object.plain("ordinal", entry.ordinal);
    }
    object.string("eventName", &entry.event_name);
    object.optional("eventType", entry.event_type.as_deref());
    object.optional("eventSource", entry.source.as_deref());
    object.optional("eventActor", entry.actor.as_deref());
    if let Some(created_date) = entry.created_date {
        object.quoted("createdDate", created_date);
    }
    object.quoted("committedAt", entry.committed);
    object.json("patch", &entry.patch);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_left_item_is_the_change_without_its_state() {
        let mut change = Change::of_test(Uuid::nil(), 1, "Car", r#"{"n":1}"#);
        let plain = change.json(false).to_owned();
        let (key, time) = (change.key.clone(), Timestamp::from_micros(0));
        let data = r#"{"n":2}"#.into();
        let entity = Entity { key, version: 2, created_at: time, updated_at: time, data };
        change.data = ChangeData::State(Arc::new(entity));
        let mut text = String::new();
        change.write_left_json(&mut text);
        assert_eq!(text, plain.replacen("change", "left", 1));
        assert!(text.starts_with(r#"{"kind":"left","token":""#), "{text}");
        assert_eq!(change.sent_bytes(true) - change.sent_bytes(false), 7);
    }
}
