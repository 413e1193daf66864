//! Connections of maintenance: without the timeouts that guard the services' ones.

use std::time::Duration;

use producer_core::store::Pooler;
use producer_core::store::postgres::{pooler, version};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::error::MaintenanceError;

/// How long maintenance waits for another process that writes the same SQLite file.
pub(crate) const SQLITE_LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// The same for one attempt of a migration, which is repeated.
pub(crate) const SQLITE_MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a session of ours is set up.
const SESSION: [(&str, &str); 8] = [
    pooler::PROBE_OPTION,
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("default_transaction_isolation", "read committed"),
    ("synchronous_commit", "on"),
    ("TimeZone", "UTC"),
    // "already exists, skipping" is no progress
    ("client_min_messages", "warning"),
];

/// The same for a transaction alone.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL synchronous_commit = 'on';
    SET LOCAL client_min_messages = 'warning'";

pub(crate) enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Connection {
    /// Closes it properly.
    pub(crate) async fn close(self) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(connection) => Ok(connection.close().await?),
            Self::Sqlite(connection) => Ok(connection.close().await?),
        }
    }

    /// Whether `car_entities` is a table, and not our view. Within the caller's transaction, which
    /// must go on after it.
    pub(crate) async fn has_older_table(&mut self) -> Result<bool, MaintenanceError> {
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

pub(crate) async fn connect_postgres(
    options: &PgConnectOptions,
    pooler: Pooler,
) -> Result<PgConnection, MaintenanceError> {
    let options = options.clone().application_name("producer maintenance");
    let options = match pooler {
        Pooler::None => options.options(SESSION),
        Pooler::Transaction => options.extra_float_digits(None),
    };
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
    let connection =
        connection.map_err(|_| MaintenanceError::Unreachable("no answer within 5s".into()))?;
    let mut connection = connection.map_err(|error| match pooler::refusal(&error, pooler) {
        Some(hint) => MaintenanceError::Refused(hint),
        None => match MaintenanceError::from(error) {
            refused @ MaintenanceError::Login(_) => refused,
            other => MaintenanceError::Unreachable(other.text().to_owned()),
        },
    })?;
    version::check(connection.server_version_num()).map_err(MaintenanceError::Refused)?;
    if pooler == Pooler::None {
        pooler::check_options(&mut connection).await?.map_err(MaintenanceError::Refused)?;
    }
    Ok(connection)
}

pub(crate) async fn connect_sqlite(
    file: &std::path::Path,
    create: bool,
    busy_timeout: Duration,
    locking: SqliteLockingMode,
) -> Result<SqliteConnection, MaintenanceError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(create)
        .locking_mode(locking)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(busy_timeout);
    options.connect().await.map_err(|error| {
        let text = format!("the SQLite file {} can't be opened: {error}", file.display());
        match error.into() {
            MaintenanceError::Locked(_) => MaintenanceError::Locked(text),
            _ => MaintenanceError::Refused(text),
        }
    })
}
