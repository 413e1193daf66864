//! What an entity is identified by, and the rules of names and ids.

use std::borrow::Cow;

use crate::json::{HAS_NUL, Location, Step, Violations};

const MAX_CHARACTERS: usize = 255;

/// What an entity is found by: the same id under two types is two entities. Ordered bytewise, as
/// PostgreSQL's collation `C` and SQLite's `BINARY` do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey {
    entity_type: String,
    entity_id: String,
}

impl EntityKey {
    /// A key whose rules are known to hold, such as one that a database has.
    pub fn new_unchecked(entity_type: impl Into<String>, entity_id: impl Into<String>) -> Self {
        Self { entity_type: entity_type.into(), entity_id: entity_id.into() }
    }

    /// `entityType`, 1 to 255 characters.
    pub fn entity_type(&self) -> &str {
        &self.entity_type
    }

    /// `entityId`, 1 to 255 characters.
    pub fn entity_id(&self) -> &str {
        &self.entity_id
    }
}

impl EntityKey {
    /// A key from elsewhere than an event, such as a path.
    ///
    /// # Errors
    /// The broken rules, located at `entityType` and `entityId`.
    pub fn new(entity_type: &str, entity_id: &str) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        for (text, name) in [(entity_type, "entityType"), (entity_id, "entityId")] {
            if let Err(detail) = check_id(text) {
                violations.add(|| Location(vec![Step::Key(Cow::Borrowed(name))]), detail);
            }
        }
        if violations.is_empty() {
            Ok(Self { entity_type: entity_type.into(), entity_id: entity_id.into() })
        } else {
            Err(violations)
        }
    }
}

pub(crate) fn check_name(text: &str) -> Result<(), &'static str> {
    // a text of 255 bytes has no more characters than that: nothing to count
    if text.is_empty() {
        Err("must not be empty")
    } else if text.len() > MAX_CHARACTERS && text.chars().count() > MAX_CHARACTERS {
        Err("must have at most 255 characters")
    } else if text.contains('\0') {
        Err(HAS_NUL)
    } else {
        Ok(())
    }
}

/// `.` and `..` can't be path segments: clients resolve them before they send a path.
pub(crate) fn check_id(text: &str) -> Result<(), &'static str> {
    if matches!(text, "." | "..") { Err("must not be . or ..") } else { check_name(text) }
}
