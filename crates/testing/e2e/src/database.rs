//! A database of one's own.

use test_support::{Postgres, SqliteFile};

/// A fresh, empty database, gone when dropped.
#[derive(Debug)]
pub enum Database {
    /// A file that isn't there yet.
    Sqlite(SqliteFile, String),
    /// One of the server that all tests share.
    Postgres(test_support::Database<'static>),
}

impl Database {
    /// A SQLite file that isn't there yet.
    pub fn sqlite() -> Self {
        let file = test_support::sqlite_file();
        let url = file.url();
        Self::Sqlite(file, url)
    }

    /// A database of the PostgreSQL server that all tests share.
    pub async fn postgres() -> Self {
        let server = tokio::task::spawn_blocking(Postgres::shared).await;
        Self::Postgres(server.expect("a PostgreSQL server").fresh_database().await)
    }

    /// What to give as `DATABASE_URL`.
    pub fn url(&self) -> &str {
        match self {
            Self::Sqlite(_, url) => url,
            Self::Postgres(database) => database.url(),
        }
    }

    /// The settings with which a service uses it.
    pub fn settings(&self) -> [(&str, &str); 1] {
        [("DATABASE_URL", self.url())]
    }
}
