//! Writes JSON objects on one line. Patches and documents are stored JSON: they are copied, not parsed.

use std::fmt::{Arguments, Display, Write};

use crate::json::write_string;
use crate::model::EntityKey;

/// An object that is being written.
pub(super) struct Object<'t> {
    text: &'t mut String,
}

impl<'t> Object<'t> {
    pub(super) fn begin(text: &'t mut String, kind: &str) -> Self {
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

    pub(super) fn string(&mut self, name: &str, value: &str) {
        self.value(name, |text| write_string(text, value));
    }

    /// Nothing where there is no value.
    pub(super) fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.string(name, value);
        }
    }

    /// A number or a boolean.
    pub(super) fn plain(&mut self, name: &str, value: impl Display) {
        self.value(name, |text| write_into(text, format_args!("{value}")));
    }

    /// What has no character that needs an escape, such as a token or a time.
    pub(super) fn quoted(&mut self, name: &str, value: impl Display) {
        self.value(name, |text| write_into(text, format_args!("\"{value}\"")));
    }

    /// Stored JSON. Its line breaks are white space, since strings have none: an item stays on its line.
    pub(super) fn json(&mut self, name: &str, stored: &str) {
        self.value(name, |text| {
            for (index, line) in stored.split(['\n', '\r']).enumerate() {
                text.push_str(if index == 0 { "" } else { " " });
                text.push_str(line);
            }
        });
    }

    pub(super) fn key(&mut self, token: impl Display, key: &EntityKey, version: u64) {
        self.quoted("token", token);
        self.string("entityType", key.entity_type());
        self.string("entityId", key.entity_id());
        self.plain("version", version);
    }

    pub(super) fn end(self) {
        self.text.push('}');
    }
}

fn write_into(text: &mut String, value: Arguments<'_>) {
    // a String takes all that is written
    let _ = text.write_fmt(value);
}
