//! Where the services store: a PostgreSQL of our own, SQLite files, or what was given.

use tempfile::TempDir;

use super::{Args, Kind};
use crate::Result;
use crate::postgres::{self, Postgres};

/// Where databases come from.
pub(super) enum Databases {
    Postgres(Postgres),
    Sqlite(TempDir),
    Given(String),
}

/// A database of a run.
pub(super) enum Database {
    Postgres(postgres::Database),
    Url(String),
}

impl Databases {
    /// Starts a server where one is needed.
    pub(super) fn prepare(args: &Args) -> Result<Self> {
        Ok(match (&args.database_url, args.database) {
            (Some(url), _) => Self::Given(url.clone()),
            (None, Kind::Postgres) => Self::Postgres(Postgres::start()?),
            (None, Kind::Sqlite) => {
                Self::Sqlite(tempfile::Builder::new().prefix("producer-load-").tempdir()?)
            }
        })
    }

    /// An empty database, or the one that was given.
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

    /// Gives the room of a database back.
    pub(super) async fn drop(&self, database: Database) -> Result<()> {
        match (self, database) {
            (Self::Postgres(server), Database::Postgres(database)) => {
                server.drop_database(database).await
            }
            _ => Ok(()), // a file goes with its folder
        }
    }

    /// The server, where it is ours.
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
