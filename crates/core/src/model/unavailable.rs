//! Why a database or a search engine can't be used now.

/// What keeps a database, or an engine beside it, from being used: whom an operator has to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnavailableKind {
    /// It can't be reached, doesn't answer, or can't write now.
    Unreachable,
    /// It refuses the login (user, password, or a database that doesn't exist), or the role lacks a
    /// privilege.
    Authentication,
    /// The tables don't exist, or a migration is pending.
    Schema,
    /// Not the database, but the engine that searches can't be reached or doesn't answer.
    SearchEngine,
}

impl UnavailableKind {
    /// As health documents have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Authentication => "authentication",
            Self::Schema => "schema",
            Self::SearchEngine => "search-engine",
        }
    }

    /// One sentence for clients and operators, without anything that the database said.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Unreachable => "the database can't be reached",
            Self::Authentication => {
                "the database refuses the login (user, password or name of the database), \
                 or the role lacks a privilege"
            }
            Self::Schema => {
                "the database's schema is missing or older than this release: run \"migrate\""
            }
            Self::SearchEngine => "OpenSearch, which searches, can't be reached or doesn't answer",
        }
    }
}
