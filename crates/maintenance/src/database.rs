//! The database to maintain, and connections to it.

use std::path::PathBuf;

use producer_core::store::sqlite::write_lock::WriteLock;
use producer_core::store::{DatabaseUrl, Pooler};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteLockingMode;

use crate::connection::{
    BEGIN, Connection, SQLITE_LOCK_TIMEOUT, SQLITE_MIGRATION_LOCK_TIMEOUT, connect_postgres,
    connect_sqlite,
};
use crate::error::MaintenanceError;

const NEEDS_SESSION: &str = "DATABASE_POOLER: this can't be done through a pooler in transaction \
    mode: run it with a DATABASE_URL that leads to PostgreSQL itself, and DATABASE_POOLER=none";

/// A database to maintain.
#[derive(Clone)]
pub enum Database {
    /// PostgreSQL.
    Postgres {
        /// How to reach it.
        options: Box<PgConnectOptions>,
        /// What is between.
        pooler: Pooler,
    },
    /// An SQLite file.
    Sqlite(PathBuf),
}

impl From<DatabaseUrl> for Database {
    fn from(url: DatabaseUrl) -> Self {
        match url {
            DatabaseUrl::Postgres(options) => Self::Postgres { options, pooler: Pooler::None },
            DatabaseUrl::Sqlite(file) => Self::Sqlite(file),
        }
    }
}

impl std::fmt::Display for Database {
    /// Names the database, without its password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postgres { options, .. } => write!(
                f,
                "postgres://{}:{}/{}",
                options.get_host(),
                options.get_port(),
                options.get_database().unwrap_or(options.get_username())
            ),
            Self::Sqlite(file) => write!(f, "sqlite://{}", file.display()),
        }
    }
}

impl std::fmt::Debug for Database {
    /// As [`Display`](std::fmt::Display): the options hold the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Database {
    /// The same database, through what `DATABASE_POOLER` names.
    #[must_use]
    pub fn through(mut self, through: Pooler) -> Self {
        if let Self::Postgres { pooler, .. } = &mut self {
            *pooler = through;
        }
        self
    }

    pub(crate) fn is_pooled(&self) -> bool {
        matches!(self, Self::Postgres { pooler: Pooler::Transaction, .. })
    }

    /// Whether a connection's session can be ours.
    pub(crate) fn check_session(&self) -> Result<(), MaintenanceError> {
        match self.is_pooled() {
            true => Err(MaintenanceError::Refused(NEEDS_SESSION.into())),
            false => Ok(()),
        }
    }

    /// A connection whose session is ours for as long as it lasts.
    pub(crate) async fn connect(&self) -> Result<Connection, MaintenanceError> {
        self.check_session()?;
        self.connect_for_transaction().await
    }

    /// A connection that may lead through a pooler: it is good for transactions that begin with
    /// [`BEGIN`] and leave nothing behind.
    pub(crate) async fn connect_for_transaction(&self) -> Result<Connection, MaintenanceError> {
        match self {
            Self::Postgres { options, pooler } => {
                connect_postgres(options, *pooler).await.map(Connection::Postgres)
            }
            Self::Sqlite(file) => {
                let connected =
                    connect_sqlite(file, false, SQLITE_LOCK_TIMEOUT, SqliteLockingMode::Normal);
                connected.await.map(Connection::Sqlite)
            }
        }
    }

    /// As [`Database::connect_for_transaction`], but for an SQLite file that nobody else has open: nor
    /// can anybody open it while the connection lasts. [`MaintenanceError::Locked`] where it is open.
    pub(crate) async fn connect_alone(&self) -> Result<Connection, MaintenanceError> {
        let Self::Sqlite(file) = self else {
            return self.connect_for_transaction().await;
        };
        let connected = connect_sqlite(
            file,
            false,
            SQLITE_MIGRATION_LOCK_TIMEOUT,
            SqliteLockingMode::Exclusive,
        );
        connected.await.map(Connection::Sqlite)
    }

    /// As [`Database::connect_for_transaction`], but an SQLite file that isn't there is made, with
    /// its folder.
    pub(crate) async fn connect_or_create(&self) -> Result<Connection, MaintenanceError> {
        let Self::Sqlite(file) = self else {
            return self.connect_for_transaction().await;
        };
        if let Some(folder) = file.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(|error| {
                let folder = folder.display();
                MaintenanceError::Refused(format!("the folder {folder} can't be made: {error}"))
            })?;
        }
        // the process that makes the file a WAL database must be alone, as when a service opens it; where no
        // turn can be had, SQLite itself says why
        let _guard = WriteLock::beside(file).acquire().await.ok();
        let connected =
            connect_sqlite(file, true, SQLITE_MIGRATION_LOCK_TIMEOUT, SqliteLockingMode::Normal);
        connected.await.map(Connection::Sqlite)
    }

    /// Whether `car_entities` is the older services' table, and not the view.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn has_older_table(&self) -> Result<bool, MaintenanceError> {
        let mut connection = self.connect_for_transaction().await?;
        let begin = match connection {
            Connection::Postgres(_) => BEGIN,
            Connection::Sqlite(_) => "BEGIN",
        };
        connection.run(begin).await?;
        let has_table = connection.has_older_table().await?;
        connection.commit().await?;
        connection.close().await?;
        Ok(has_table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_password() {
        let url = DatabaseUrl::parse(Some("postgres://user:hidden@host:1/name")).expect("a URL");
        let shown = format!("{:?}", Database::from(url));
        assert_eq!(shown, "postgres://host:1/name");
    }
}
