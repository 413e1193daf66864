//! A map, checked.

use super::pointer::Pointer;

/// What `map` in `worker.toml` says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    pub(super) entity_type: Rule,
    pub(super) entity_id: Rule,
    pub(super) event_name: Rule,
    /// `None`: the entity is deleted, which needs none.
    pub(super) attributes: Option<Pointer>,
    pub(super) event_type: Option<Rule>,
    pub(super) created_date: Option<Rule>,
    pub(super) uuid: Option<Rule>,
    pub(super) operation: Option<Rule>,
    pub(super) actor: Option<Rule>,
    /// Members of the attributes that are left out.
    pub(super) omit: Vec<String>,
}

/// Where a field's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// It is always this.
    Constant(String),
    /// What the message has there.
    Pointer(Pointer),
    /// A time that the message has there.
    Time(Pointer, Unit),
    /// By what the message has there.
    Choice { pointer: Pointer, values: Vec<(String, String)>, otherwise: Option<String> },
}

/// The unit of a time that is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
}

impl Rule {
    /// Where it looks; nowhere for a constant.
    pub(super) fn pointer(&self) -> Option<&Pointer> {
        match self {
            Self::Constant(_) => None,
            Self::Pointer(pointer) | Self::Time(pointer, _) | Self::Choice { pointer, .. } => {
                Some(pointer)
            }
        }
    }
}
