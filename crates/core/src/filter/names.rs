//! The names that a filter may use.

use strsim::damerau_levenshtein;

use crate::json::Path;

/// Where a filter is used, which decides which names it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Over entities: lists, searches, conditions.
    Entity,
    /// Over changes: the feed and sinks. There is no `now`, since a reader goes on for a long time.
    Change,
    /// Over the updates of one entity: as changes, without the state.
    History,
}

/// What a filter compares that is no part of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Type,
    Id,
    Version,
    CreatedAt,
    UpdatedAt,
    Operation,
    Created,
    CommittedAt,
    #[expect(
        clippy::enum_variant_names,
        reason = "the name of an event is a name that filters have"
    )]
    EventName,
    EventType,
    EventSource,
    EventActor,
}

/// What a value is, as far as that is known before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    Time,
    Null,
    /// Any of them.
    Open,
}

impl Kind {
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Time => "a time, such as timestamp(\"2024-01-15T10:30:00Z\")",
            Self::Null => "null",
            Self::Open => "a value",
        }
    }
}

const OF_ENTITIES: &[(&str, Name)] = &[
    ("type", Name::Type),
    ("entityType", Name::Type),
    ("id", Name::Id),
    ("entityId", Name::Id),
    ("version", Name::Version),
    ("createdAt", Name::CreatedAt),
    ("updatedAt", Name::UpdatedAt),
];

const OF_CHANGES: &[(&str, Name)] = &[
    ("operation", Name::Operation),
    ("created", Name::Created),
    ("committedAt", Name::CommittedAt),
    ("eventName", Name::EventName),
    ("eventType", Name::EventType),
    ("eventSource", Name::EventSource),
    ("eventActor", Name::EventActor),
];

impl Name {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Version => Kind::Number,
            Self::Created => Kind::Bool,
            Self::CreatedAt | Self::UpdatedAt | Self::CommittedAt => Kind::Time,
            Self::Type
            | Self::Id
            | Self::Operation
            | Self::EventName
            | Self::EventType
            | Self::EventSource
            | Self::EventActor => Kind::Text,
        }
    }

    /// Whether it belongs to the state, which an update alone does not know.
    pub(super) const fn is_of_state(self) -> bool {
        matches!(self, Self::CreatedAt | Self::UpdatedAt)
    }
}

impl Scope {
    fn names(self) -> impl Iterator<Item = (&'static str, Name)> {
        let of_changes = if self == Self::Entity { &[] } else { OF_CHANGES };
        let names = OF_ENTITIES.iter().chain(of_changes).copied();
        names.filter(move |(_, name)| self != Self::History || !name.is_of_state())
    }

    pub(super) fn name(self, text: &str) -> Option<Name> {
        self.names().find(|(name, _)| *name == text).map(|(_, name)| name)
    }

    pub(super) const fn has_state(self) -> bool {
        !matches!(self, Self::History)
    }

    pub(super) const fn has_patch(self) -> bool {
        !matches!(self, Self::Entity)
    }

    pub(super) const fn has_now(self) -> bool {
        matches!(self, Self::Entity)
    }

    /// The name that is most like a text that is none.
    pub(super) fn nearest(self, text: &str) -> &'static str {
        let roots = [("data", self.has_state()), ("patch", self.has_patch())];
        let roots = roots.into_iter().filter(|(_, is_there)| *is_there).map(|(root, _)| root);
        let names = self.names().map(|(name, _)| name).chain(roots);
        names.min_by_key(|name| damerau_levenshtein(name, text)).unwrap_or("data")
    }
}

/// What lists narrow by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'p> {
    /// The entity's type.
    Type,
    /// The entity's id.
    Id,
    /// When it was created.
    CreatedAt,
    /// When it was updated.
    UpdatedAt,
    /// A path of the document.
    Data(&'p Path),
}
