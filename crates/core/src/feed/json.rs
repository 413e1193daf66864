//! What the JSON of the feed's items has in common.

use std::fmt::Display;

use crate::json::ObjectWriter;
use crate::model::EntityKey;

/// Begins an item.
pub(super) fn begin<'t>(text: &'t mut String, kind: &str) -> ObjectWriter<'t> {
    let mut object = ObjectWriter::begin(text);
    object.string("kind", kind);
    object
}

/// Adds the token behind the item.
pub(super) fn token(object: &mut ObjectWriter<'_>, token: impl Display) {
    object.quoted("token", token);
}

/// Adds what the item is about.
pub(super) fn key(object: &mut ObjectWriter<'_>, key: &EntityKey, version: u64) {
    object.string("entityType", key.entity_type());
    object.string("entityId", key.entity_id());
    object.plain("version", version);
}
