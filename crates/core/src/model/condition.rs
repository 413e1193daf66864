//! A filter that an entity must fulfil before an update.

use crate::filter::{Filter, FilterError, Scope};

/// A filter that an entity must fulfil just before an update, or the whole event is refused. An entity that
/// does not exist fulfils none. It is no part of the event's content.
///
/// `now` in it is the time at which the update is judged, which is that of its commit: the entity is locked
/// then, and an event may have waited for its turn.
///
/// Only the text is kept, and parsed again when it is judged. Parsed, a list of short values needs sixteen
/// times the bytes that were sent, and events wait in large numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition(Box<str>);

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// Where the text is no filter over entities, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Filter::parse(text, Scope::Entity)?;
        Ok(Self(text.into()))
    }

    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The filter. There is always one, since the text was parsed before; who gets none must refuse the
    /// update.
    pub(crate) fn filter(&self) -> Option<Filter> {
        Filter::parse(&self.0, Scope::Entity).ok()
    }
}
