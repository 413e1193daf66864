//! Items as JSON, each on one line, as the contract has them. Patches and documents are stored JSON: they
//! are copied, not parsed.

use std::fmt::{Arguments, Display, Write};

use super::change::{Change, Item};
use super::token::Token;
use crate::json::write_string;
use crate::model::{Entity, EntityKey, Problem};

/// An object that is being written.
struct Object<'t> {
    text: &'t mut String,
}

impl<'t> Object<'t> {
    fn begin(text: &'t mut String, kind: &str) -> Self {
        text.push('{');
        let mut object = Self { text };
        object.value("kind", |text| write_string(text, kind));
        object
    }

    /// A member whose value `write` adds.
    fn value(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        // names of members are ours and need no escape
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        write(self.text);
    }

    fn string(&mut self, name: &str, value: &str) {
        self.value(name, |text| write_string(text, value));
    }

    /// Nothing where there is no value.
    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.string(name, value);
        }
    }

    /// A number or a boolean.
    fn plain(&mut self, name: &str, value: impl Display) {
        self.value(name, |text| write_into(text, format_args!("{value}")));
    }

    /// What has no character that needs an escape, such as a token or a time.
    fn quoted(&mut self, name: &str, value: impl Display) {
        self.value(name, |text| write_into(text, format_args!("\"{value}\"")));
    }

    /// Stored JSON. Its line breaks are white space, since strings have none: an item stays on its line.
    fn json(&mut self, name: &str, stored: &str) {
        self.value(name, |text| {
            for (index, line) in stored.split(['\n', '\r']).enumerate() {
                text.push_str(if index == 0 { "" } else { " " });
                text.push_str(line);
            }
        });
    }

    fn key(&mut self, token: &Token, key: &EntityKey, version: u64) {
        self.quoted("token", token);
        self.string("entityType", key.entity_type());
        self.string("entityId", key.entity_id());
        self.plain("version", version);
    }

    fn end(self) {
        self.text.push('}');
    }
}

fn write_into(text: &mut String, value: Arguments<'_>) {
    // a String takes all that is written
    let _ = text.write_fmt(value);
}

/// A change.
pub(super) fn change(change: &Change, with_data: bool) -> String {
    let Change { token, key, entry, .. } = change;
    let state = change.state().filter(|_| with_data);
    let mut text = String::with_capacity(
        512 + entry.patch.len() + state.map_or(0, |entity| entity.data.len()),
    );
    let mut object = Object::begin(&mut text, "change");
    object.key(token, key, entry.version);
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
    if let Some(entity) = state {
        object.json("data", &entity.data);
        object.plain("dataVersion", entity.version);
    }
    object.end();
    text
}

/// Any item, added to `text`.
pub(super) fn item(item: &Item, with_data: bool, text: &mut String) {
    match item {
        Item::Change(change) => text.push_str(change.json(with_data)),
        Item::Snapshot(token, entity) => snapshot(token, entity, text),
        Item::SnapshotEnd(token) => place(item.kind(), token, false, text),
        Item::Bookmark { token, caught_up } => place(item.kind(), token, *caught_up, text),
        Item::Gone(problem) | Item::Unavailable(problem) => end(item.kind(), problem, text),
    }
}

fn snapshot(token: &Token, entity: &Entity, text: &mut String) {
    let mut object = Object::begin(text, "snapshot");
    object.key(token, &entity.key, entity.version);
    object.quoted("updatedAt", entity.updated_at);
    object.json("data", &entity.data);
    object.end();
}

fn place(kind: &str, token: &Token, caught_up: bool, text: &mut String) {
    let mut object = Object::begin(text, kind);
    object.quoted("token", token);
    if caught_up {
        object.plain("caughtUp", true);
    }
    object.end();
}

fn end(kind: &str, problem: &Problem, text: &mut String) {
    let mut object = Object::begin(text, kind);
    object.quoted("type", format_args!("urn:producer:problem:{}", problem.kind.as_str()));
    object.string("title", problem.kind.title());
    object.plain("status", problem.kind.http_status());
    object.string("detail", &problem.detail);
    object.plain("retryable", problem.kind.is_retryable());
    object.end();
}
