//! Who searches.

/// Which engine answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Text search of PostgreSQL.
    PostgreSql,
    /// FTS5 of SQLite.
    Sqlite,
    /// OpenSearch.
    OpenSearch,
}

impl Engine {
    /// As answers have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PostgreSql => "postgresql",
            Self::Sqlite => "sqlite",
            Self::OpenSearch => "opensearch",
        }
    }

    /// Whether it finds words with a typo.
    pub const fn finds_typos(self) -> bool {
        matches!(self, Self::OpenSearch)
    }
}
