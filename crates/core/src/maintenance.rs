//! What is done to a database beside serving from it: migrations, taking over the older services'
//! table, rebuilding entities from their log, and pruning the log. Each works on connections of its own, without the
//! timeouts that guard the service's.

pub mod adopt;
mod fold;
pub mod migrate;
pub mod prune;
pub mod rebuild;
mod tables;

use std::path::PathBuf;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _};

use crate::config::Pooler;
use crate::store::DatabaseUrl;
use crate::store::postgres::{pooler, version};
use crate::store::sqlite::turns::Turns;

/// How long a writer of the same SQLite file may keep maintenance waiting.
const SQLITE_PATIENCE: Duration = Duration::from_secs(60);

/// How long a server may take to accept a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How a session of ours is set up.
const SESSION: [(&str, &str); 8] = [
    pooler::MARK,
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("default_transaction_isolation", "read committed"),
    ("synchronous_commit", "on"),
    ("TimeZone", "UTC"),
    // "already exists, skipping" is no news
    ("client_min_messages", "warning"),
];

/// The same for a transaction alone.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL synchronous_commit = 'on';
    SET LOCAL client_min_messages = 'warning'";

const NEEDS_SESSION: &str = "DATABASE_POOLER: this can't be done through a pooler in transaction \
    mode: run it with a DATABASE_URL that leads to PostgreSQL itself, and DATABASE_POOLER=none";

/// Why maintenance stopped.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The database can't be reached now; it may come back.
    #[error("the database can't be reached: {0}")]
    Unreachable(String),
    /// It will not work on this database, however often it is tried.
    #[error("{0}")]
    Refused(String),
    /// Another transaction won; trying again may help.
    #[error("another transaction is in the way: {0}")]
    Contended(String),
    /// Another session keeps a lock; it has to end first.
    #[error("another session keeps a lock: {0}")]
    Locked(String),
    /// A statement failed.
    #[error("the database says: {0}")]
    Statement(String),
}

impl From<sqlx::Error> for MaintenanceError {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string().replace('\n', " ");
        let code = match &error {
            sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
            _ => None,
        };
        match code.as_deref() {
            Some("40P01" | "40001") => return Self::Contended(text),
            Some("55P03") => return Self::Locked(text),
            _ => {}
        }
        let gone = match code.as_deref() {
            // connection exception, operator intervention (shutdown, starting up), a standby that
            // has not taken over yet
            Some(code) => code.starts_with("08") || code.starts_with("57P") || code == "25006",
            None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_)),
        };
        if gone { Self::Unreachable(text) } else { Self::Statement(text) }
    }
}

impl MaintenanceError {
    /// Whether the same may go well later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Contended(_) | Self::Locked(_))
    }
}

/// What a long piece of work tells while it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// How much there is to do, roughly.
    Total(u64),
    /// How much is done.
    Done(u64),
    /// Something to list.
    Line(String),
}

/// A database to maintain.
#[derive(Debug, Clone)]
pub enum Database {
    /// PostgreSQL.
    Postgres {
        /// How to reach it.
        options: Box<PgConnectOptions>,
        /// What stands between.
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

impl Database {
    /// The same database, through what `DATABASE_POOLER` names.
    #[must_use]
    pub fn through(mut self, through: Pooler) -> Self {
        if let Self::Postgres { pooler, .. } = &mut self {
            *pooler = through;
        }
        self
    }

    fn is_pooled(&self) -> bool {
        matches!(self, Self::Postgres { pooler: Pooler::Transaction, .. })
    }

    /// Whether a connection's session can be ours.
    fn check_session(&self) -> Result<(), MaintenanceError> {
        match self.is_pooled() {
            true => Err(MaintenanceError::Refused(NEEDS_SESSION.into())),
            false => Ok(()),
        }
    }

    /// A connection whose session is ours for as long as it lasts.
    async fn connect(&self) -> Result<Connection, MaintenanceError> {
        self.check_session()?;
        self.connect_for_transaction().await
    }

    /// A connection that a pooler may stand before: it is good for transactions that begin with
    /// [`BEGIN`] and leave nothing behind.
    async fn connect_for_transaction(&self) -> Result<Connection, MaintenanceError> {
        match self {
            Self::Postgres { options, pooler } => {
                connect_postgres(options, *pooler).await.map(Connection::Postgres)
            }
            Self::Sqlite(file) => connect_sqlite(file, false).await.map(Connection::Sqlite),
        }
    }

    /// As [`Database::connect_for_transaction`], but an SQLite file that isn't there is made, with
    /// its folder.
    async fn connect_or_create(&self) -> Result<Connection, MaintenanceError> {
        let Self::Sqlite(file) = self else {
            return self.connect_for_transaction().await;
        };
        if let Some(folder) = file.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(|error| {
                let folder = folder.display();
                MaintenanceError::Refused(format!("the folder {folder} can't be made: {error}"))
            })?;
        }
        // whoever makes the file a WAL database must be alone, as when a service opens it; where no
        // turn can be had, SQLite itself says why
        let _turn = Turns::beside(file).take().await.ok();
        connect_sqlite(file, true).await.map(Connection::Sqlite)
    }

    /// Whether the older services' table stands where the view `car_entities` belongs.
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
        let stands = connection.older_table_stands().await?;
        connection.commit().await?;
        match connection {
            Connection::Postgres(connection) => connection.close().await?,
            Connection::Sqlite(connection) => connection.close().await?,
        }
        Ok(stands)
    }
}

enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Connection {
    /// Whether `car_entities` is a table, and not our view. Within the caller's transaction, which
    /// must go on after it.
    async fn older_table_stands(&mut self) -> Result<bool, MaintenanceError> {
        let kind: Option<String> = match self {
            Self::Postgres(c) => {
                let kind = sqlx::query_scalar(
                    "SELECT CASE WHEN relkind IN ('r', 'p') THEN 'table' ELSE 'view' END
                     FROM pg_class WHERE oid = to_regclass('car_entities')",
                );
                kind.persistent(false).fetch_optional(c).await?
            }
            Self::Sqlite(c) => {
                sqlx::query_scalar("SELECT type FROM sqlite_schema WHERE name = 'car_entities'")
                    .fetch_optional(c)
                    .await?
            }
        };
        Ok(kind.as_deref() == Some("table"))
    }
}

async fn connect_postgres(
    options: &PgConnectOptions,
    pooler: Pooler,
) -> Result<PgConnection, MaintenanceError> {
    let options = options.clone().application_name("producer maintenance");
    let options = match pooler {
        Pooler::None => options.options(SESSION),
        Pooler::Transaction => options.extra_float_digits(None),
    };
    let connection = tokio::time::timeout(CONNECT_PATIENCE, options.connect()).await;
    let connection =
        connection.map_err(|_| MaintenanceError::Unreachable("no answer within 5s".into()))?;
    let mut connection = connection.map_err(|error| match pooler::refusal(&error, pooler) {
        Some(hint) => MaintenanceError::Refused(hint),
        None => MaintenanceError::Unreachable(error.to_string().replace('\n', " ")),
    })?;
    version::check(connection.server_version_num()).map_err(MaintenanceError::Refused)?;
    if pooler == Pooler::None {
        pooler::options_arrive(&mut connection).await?.map_err(MaintenanceError::Refused)?;
    }
    Ok(connection)
}

async fn connect_sqlite(
    file: &std::path::Path,
    create: bool,
) -> Result<SqliteConnection, MaintenanceError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_PATIENCE);
    options.connect().await.map_err(|error| {
        let file = file.display();
        MaintenanceError::Refused(format!("the SQLite file {file} can't be opened: {error}"))
    })
}
