//! The databases of the services: a temporary PostgreSQL server, SQLite files, or a given one.

use tempfile::TempDir;

use super::args::Args;
use crate::Result;
use crate::cells::Store;
use crate::postgres::{self, Postgres};

/// The source of databases.
pub(super) enum Databases {
    Postgres(Postgres),
    Sqlite(TempDir),
    Given(String),
}

/// The database of a run.
pub(super) enum Database {
    Postgres(postgres::Database),
    Url(String),
}

impl Databases {
    /// Starts a server if one is needed.
    pub(super) fn prepare(args: &Args) -> Result<Self> {
        Ok(match (&args.database_url, args.database) {
            (Some(url), _) => Self::Given(url.clone()),
            (None, Store::Sqlite) => {
                Self::Sqlite(tempfile::Builder::new().prefix("producer-load-").tempdir()?)
            }
            (None, _) => Self::Postgres(Postgres::start()?),
        })
    }

    /// An empty database, or the given one.
    pub(super) async fn fresh(&self, name: &str) -> Result<Database> {
        Ok(match self {
            Self::Postgres(server) => Database::Postgres(server.fresh_database().await?),
            Self::Sqlite(folder) => {
                let file = folder.path().join(format!("{name}.db"));
                Database::Url(format!("sqlite://{}", file.display()))
            }
            Self::Given(url) => Database::Url(url.clone()),
        })
    }

    /// Drops a database.
    pub(super) async fn drop(&self, database: Database) -> Result<()> {
        match (self, database) {
            (Self::Postgres(server), Database::Postgres(database)) => {
                server.drop_database(database).await
            }
            _ => Ok(()), // a file is removed with its folder
        }
    }

    /// The server that was started, if any.
    pub(super) fn server(&self) -> Option<&Postgres> {
        match self {
            Self::Postgres(server) => Some(server),
            Self::Sqlite(_) | Self::Given(_) => None,
        }
    }
}

impl Database {
    /// Its URL, as in `DATABASE_URL`.
    pub(super) fn url(&self) -> &str {
        match self {
            Self::Postgres(database) => &database.url,
            Self::Url(url) => url,
        }
    }
}
