//! Where the members of an event are, for violations.

use std::borrow::Cow;

use crate::json::{Location, Step};

pub(super) const HEADER: &str = "eventHeader";
pub(super) const BODY: &str = "eventBody";
const ENTITIES: &str = "entities";
pub(super) const ATTRIBUTES: &str = "updatedAttributes";

/// A member of the header.
pub(super) fn header_field(name: &'static str) -> Location {
    Location(vec![key(HEADER), key(name)])
}

/// The array of entities.
pub(super) fn all_entities() -> Location {
    Location(vec![key(BODY), key(ENTITIES)])
}

/// A member of an entity; `ordinal` counts from 1.
pub(super) fn entity_field(ordinal: usize, name: impl Into<Cow<'static, str>>) -> Location {
    Location(vec![key(BODY), key(ENTITIES), Step::Index(ordinal - 1), Step::Key(name.into())])
}

/// A step to a member.
pub(super) fn key(name: &'static str) -> Step {
    Step::Key(Cow::Borrowed(name))
}
