//! The database of a test.

use producer_test_support::{Postgres, SqliteFile};

/// A new, empty database, removed when dropped.
#[derive(Debug)]
pub enum Database {
    /// A file that doesn't exist yet.
    Sqlite(SqliteFile, String),
    /// On the server that all tests share.
    Postgres(producer_test_support::Database<'static>),
}

impl Database {
    /// A new SQLite file.
    pub fn sqlite() -> Self {
        let file = producer_test_support::sqlite_file();
        let url = file.url();
        Self::Sqlite(file, url)
    }

    /// A new database on the PostgreSQL server that all tests share.
    pub async fn postgres() -> Self {
        let server = tokio::task::spawn_blocking(Postgres::shared).await;
        Self::Postgres(server.expect("a PostgreSQL server").fresh_database().await)
    }

    /// The value for `DATABASE_URL`.
    pub fn url(&self) -> &str {
        match self {
            Self::Sqlite(_, url) => url,
            Self::Postgres(database) => database.url(),
        }
    }

    /// The settings for a service.
    pub fn settings(&self) -> [(&str, &str); 1] {
        [("DATABASE_URL", self.url())]
    }
}
