//! CloudEvents 1.0.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use producer_core::Timestamp;
use producer_core::feed::write_snapshot_json;
use producer_core::json::ObjectWriter;
use producer_core::model::Operation;

use crate::update::{Cause, Update};

const SPEC_VERSION: &str = "1.0";
const JSON: &str = "application/json";

/// What is percent-encoded of types and ids in the id of a message, beside what is not ASCII: so different
/// entities never have one id, and it fits into a header of HTTP. A full stop ends the id in what Standard
/// Webhooks sign.
const NOT_IN_IDS: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'.').add(b'/');

/// The attributes of a CloudEvent, with the extensions `partitionkey` and `sequence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// The same on each try: `eventId/ordinal`, or `snapshot/type/id/version`, with type and id
    /// percent-encoded where they have a space, `%`, `.`, `/` or what is not visible ASCII.
    pub id: String,
    /// `source`
    pub source: Cow<'a, str>,
    /// `type`
    pub event_type: Cow<'a, str>,
    /// `type/id` of the entity; `partitionkey` is the same.
    pub subject: String,
    /// When it was committed.
    pub time: Timestamp,
    /// The entity's version, with zeros before it: 20 digits, so that texts compare as numbers do.
    pub sequence: String,
}

pub(super) fn attributes<'a>(
    source: &'a str,
    event_type: Cow<'a, str>,
    update: &Update,
) -> Attributes<'a> {
    let key = update.key();
    Attributes {
        id: id(update),
        source: Cow::Borrowed(source),
        event_type,
        subject: format!("{}/{}", key.entity_type(), key.entity_id()),
        time: update.time(),
        sequence: format!("{:020}", update.version()),
    }
}

impl<'a> Attributes<'a> {
    /// All of them by their names, `specversion` and `datacontenttype` too.
    pub fn into_fields(self) -> Vec<(&'static str, Cow<'a, str>)> {
        // room for `data` too
        let mut fields = Vec::with_capacity(10);
        fields.extend([
            ("specversion", Cow::Borrowed(SPEC_VERSION)),
            ("id", Cow::Owned(self.id)),
            ("source", self.source),
            ("type", self.event_type),
            ("subject", Cow::Owned(self.subject.clone())),
            ("time", Cow::Owned(self.time.to_string())),
            ("partitionkey", Cow::Owned(self.subject)),
            ("sequence", Cow::Owned(self.sequence)),
            ("datacontenttype", Cow::Borrowed(JSON)),
        ]);
        fields
    }
}

/// The id of the message, of visible ASCII characters without a full stop. An update whose event was pruned
/// in part has no event id any more.
pub(super) fn id(update: &Update) -> String {
    let (key, version) = (update.key(), update.version());
    let entity_type = utf8_percent_encode(key.entity_type(), NOT_IN_IDS);
    let entity_id = utf8_percent_encode(key.entity_id(), NOT_IN_IDS);
    match &update.cause {
        Cause::Change(change) | Cause::Left(change) => match change.entry.event_id() {
            Some(event_id) => format!("{event_id}/{}", change.entry.ordinal),
            None => format!("change/{entity_type}/{entity_id}/{version}"),
        },
        Cause::Snapshot(_) => format!("snapshot/{entity_type}/{entity_id}/{version}"),
    }
}

pub(super) fn event_type(update: &Update) -> &'static str {
    match &update.cause {
        Cause::Left(_) => "producer.entity.left",
        Cause::Snapshot(_) => "producer.entity.snapshot",
        Cause::Change(change) if change.entry.created => "producer.entity.created",
        Cause::Change(change) => match change.entry.operation {
            Operation::Merge => "producer.entity.updated",
            Operation::Replace => "producer.entity.replaced",
            Operation::Delete => "producer.entity.deleted",
        },
    }
}

pub(super) fn structured(attributes: &Attributes<'_>, update: &Update) -> String {
    let mut text = String::with_capacity(512);
    let mut object = ObjectWriter::begin(&mut text);
    object.string("specversion", SPEC_VERSION);
    object.string("id", &attributes.id);
    object.string("source", &attributes.source);
    object.string("type", &attributes.event_type);
    object.string("subject", &attributes.subject);
    object.quoted("time", attributes.time);
    object.string("partitionkey", &attributes.subject);
    object.string("sequence", &attributes.sequence);
    object.string("datacontenttype", JSON);
    object.value("data", |text| write_data(update, text));
    object.end();
    text
}

/// The item of the change feed. `left` has no state, as there.
pub(super) fn write_data(update: &Update, text: &mut String) {
    match &update.cause {
        Cause::Change(change) => change.write_json_with(update.state.as_deref(), text),
        Cause::Left(change) => change.write_left_json(text),
        Cause::Snapshot(entity) => write_snapshot_json(entity, text),
    }
}
