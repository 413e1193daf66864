//! The form `plain`: a small flat object, as many services send and expect it.

use std::borrow::Cow;

use producer_core::json::{ObjectWriter, write_on_one_line};
use producer_core::model::Operation;

use crate::config::TimeUnit;
use crate::update::{Cause, Update};

const MICROS_PER_MILLI: i64 = 1_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// The entity's type in lower case and what happened: `order.created`.
pub(super) fn event_type(update: &Update) -> String {
    let what = match &update.cause {
        Cause::Left(_) => "left",
        Cause::Change(change) if change.entry.created => "created",
        Cause::Change(change) if change.entry.operation == Operation::Delete => "deleted",
        Cause::Change(_) | Cause::Snapshot(_) => "updated",
    };
    format!("{}.{what}", update.key().entity_type().to_lowercase())
}

/// The object's members.
pub(super) struct Message<'a> {
    pub(super) event_type: Cow<'a, str>,
    pub(super) unit: TimeUnit,
    pub(super) update: &'a Update,
}

impl<'a> Message<'a> {
    pub(super) fn structured(&self) -> String {
        let key = self.update.key();
        let mut text = String::with_capacity(256);
        let mut object = ObjectWriter::begin(&mut text);
        object.string("event_type", &self.event_type);
        object.string("entity_type", key.entity_type());
        object.string("entity_id", key.entity_id());
        object.plain("version", self.update.version());
        object.value("data", |text| write_data(self.update, text));
        object.plain("timestamp", self.timestamp());
        object.end();
        text
    }

    pub(super) fn into_fields(self) -> Vec<(&'static str, Cow<'a, str>)> {
        let key = self.update.key();
        let mut data = String::new();
        write_data(self.update, &mut data);
        let timestamp = self.timestamp().to_string();
        vec![
            ("event_type", self.event_type),
            ("entity_type", Cow::Borrowed(key.entity_type())),
            ("entity_id", Cow::Borrowed(key.entity_id())),
            ("version", Cow::Owned(self.update.version().to_string())),
            ("data", Cow::Owned(data)),
            ("timestamp", Cow::Owned(timestamp)),
        ]
    }

    fn timestamp(&self) -> i64 {
        let micros = self.update.time().micros();
        match self.unit {
            TimeUnit::Milliseconds => micros.div_euclid(MICROS_PER_MILLI),
            TimeUnit::Seconds => micros.div_euclid(MICROS_PER_SECOND),
        }
    }
}

/// The state, or `null` where the entity is deleted, or was by this change, or does not match any more.
pub(super) fn write_data(update: &Update, text: &mut String) {
    match &update.state {
        Some(entity) if !update.is_removal() && !update.is_delete() => {
            write_on_one_line(text, &entity.data)
        }
        _ => text.push_str("null"),
    }
}
