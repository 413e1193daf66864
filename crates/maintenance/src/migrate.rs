//! The schema's steps, embedded in the binary, with a way back for each.
//!
//! They only add, so that the previous release keeps running on the new schema; a step that this
//! binary doesn't know (a newer one made it) is skipped. The record of what was applied is a
//! table of our own: the older services keep theirs, `_sqlx_migrations`, in the same database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::{Connection as _, Executor, PgConnection, Row, SqliteConnection};
use tokio::time::Instant;

use crate::blockers::naming_blockers;
use crate::connection::{BEGIN, Connection};
use crate::database::Database;
use crate::error::MaintenanceError;
use crate::statements;

const TABLE: &str = "_producer_migrations";

/// How long [`up`] and [`down`] wait for locks of other sessions in all.
pub const LOCK_WAIT: Duration = Duration::from_secs(60);

/// The pause between two attempts to get a lock. While a statement waits for a table, every later
/// statement on it waits too; in the pause they run.
const PAUSE: Duration = Duration::from_secs(2);

/// How long one statement waits for a lock. See [`PAUSE`].
const SET_LOCK_TIMEOUT: &str = "SET lock_timeout = '1s'";
const SET_LOCK_TIMEOUT_FOR_TRANSACTION: &str = "SET LOCAL lock_timeout = '1s'";
const SET_BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 1000";

/// Until the connection ends. sqlx takes a lock of its own too, which it releases before a surrounding
/// transaction commits.
const TAKE_MIGRATION_LOCK: &str = "SELECT pg_advisory_lock(8101259051807302003)";
const TAKE_MIGRATION_LOCK_FOR_TRANSACTION: &str =
    "SELECT pg_advisory_xact_lock(8101259051807302003)";

/// One step of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number, by date.
    pub version: i64,
    /// What it does.
    pub description: String,
    /// When it was applied; `None` where it is pending.
    pub applied: Option<DateTime<Utc>>,
    /// Whether this binary has it; one that it hasn't comes from a newer release.
    pub known: bool,
}

impl From<MigrateError> for MaintenanceError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Statement(other.to_string().replace('\n', " ")),
        }
    }
}

/// Applies every pending step. Any number of processes may do so at once: they take turns. Waits up to
/// [`LOCK_WAIT`] for locks of other sessions.
///
/// # Errors
/// The database can't be reached, another session holds a lock for too long, or a step failed; a step
/// that fails leaves nothing behind.
pub async fn up(database: &Database) -> Result<(), MaintenanceError> {
    up_reporting(database, &mut |_| {}).await
}

/// As [`up`]; every few seconds while it waits, `report` gets a line that names who holds the lock.
///
/// # Errors
/// As [`up`].
pub async fn up_reporting(
    database: &Database,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<(), MaintenanceError> {
    wait_for_locks(database, Direction::Up, report).await
}

/// One attempt of [`up`], which waits for a lock for about a second.
///
/// # Errors
/// As [`up`]. [`MaintenanceError::Locked`] names who holds the lock.
pub async fn attempt_up(database: &Database) -> Result<(), MaintenanceError> {
    attempt(database, Direction::Up).await
}

/// Reverts every step above `target`, the newest first; 0 reverts all. Data is deleted with its tables.
///
/// # Errors
/// As [`up`]; also when a step above `target` is of a newer release, which alone can revert it.
pub async fn down(database: &Database, target: i64) -> Result<(), MaintenanceError> {
    down_reporting(database, target, &mut |_| {}).await
}

/// As [`down`]; every few seconds while it waits, `report` gets a line that names who holds the lock.
///
/// # Errors
/// As [`down`].
pub async fn down_reporting(
    database: &Database,
    target: i64,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<(), MaintenanceError> {
    if let Some(newer) = status(database).await?.iter().find(|s| !s.known && s.version > target) {
        return Err(MaintenanceError::Refused(format!(
            "step {} was made by a newer release, which has to revert it first",
            newer.version
        )));
    }
    wait_for_locks(database, Direction::DownTo(target), report).await
}

/// Every step that this binary or the database knows, the oldest first.
///
/// # Errors
/// The database can't be reached.
pub async fn status(database: &Database) -> Result<Vec<Step>, MaintenanceError> {
    match database.connect_for_transaction().await? {
        Connection::Postgres(mut connection) => {
            let mut transaction = connection.begin_with(BEGIN).await?;
            transaction.ensure_migrations_table(TABLE).await?;
            let rows =
                sqlx::query("SELECT version, description, installed_on FROM _producer_migrations");
            let rows = rows.persistent(false).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            connection.close().await?;
            steps(&postgres(), rows)
        }
        Connection::Sqlite(mut connection) => {
            connection.ensure_migrations_table(TABLE).await?;
            let rows = sqlite_rows(&mut connection).await?;
            connection.close().await?;
            steps(&sqlite(), rows)
        }
    }
}

/// Attempts again, after a pause, while another session holds a lock.
async fn wait_for_locks(
    database: &Database,
    direction: Direction,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<(), MaintenanceError> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match attempt(database, direction).await {
            Err(MaintenanceError::Locked(holder)) if Instant::now() + PAUSE < deadline => {
                report(&format!("waiting for a lock of another session: {holder}"));
                tokio::time::sleep(PAUSE).await;
            }
            Err(MaintenanceError::Locked(holder)) => {
                let waited = LOCK_WAIT.as_secs();
                let text = format!("{holder}; gave up after {waited} s");
                return Err(MaintenanceError::Locked(text));
            }
            done => return done,
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    DownTo(i64),
}

async fn attempt(database: &Database, direction: Direction) -> Result<(), MaintenanceError> {
    let connection = match direction {
        Direction::Up => database.connect_or_create().await?,
        Direction::DownTo(_) => database.connect_for_transaction().await?,
    };
    match connection {
        Connection::Postgres(connection) if database.is_pooled() => {
            migrate_pooled(database, connection, direction).await
        }
        Connection::Postgres(connection) => migrate_postgres(database, connection, direction).await,
        Connection::Sqlite(connection) => migrate_sqlite(connection, direction).await,
    }
}

async fn migrate_postgres(
    database: &Database,
    mut connection: PgConnection,
    direction: Direction,
) -> Result<(), MaintenanceError> {
    connection.execute(SET_LOCK_TIMEOUT).await?;
    let pid = backend_pid(&mut connection).await?;
    let work = async {
        connection.execute(TAKE_MIGRATION_LOCK).await?;
        match direction {
            Direction::Up => statements::up(&mut connection, &postgres()).await?,
            Direction::DownTo(target) => {
                statements::down(&mut connection, &postgres(), target).await?
            }
        }
        Ok(())
    };
    naming_blockers(database, pid, work).await?;
    Ok(connection.close().await?)
}

/// All steps in one transaction: behind a pooler a server session lasts for one transaction only.
async fn migrate_pooled(
    database: &Database,
    mut connection: PgConnection,
    direction: Direction,
) -> Result<(), MaintenanceError> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    transaction.execute(SET_LOCK_TIMEOUT_FOR_TRANSACTION).await?;
    let pid = backend_pid(&mut transaction).await?;
    let work = async {
        transaction.execute(TAKE_MIGRATION_LOCK_FOR_TRANSACTION).await?;
        match direction {
            Direction::Up => statements::up(&mut transaction, &postgres()).await?,
            Direction::DownTo(target) => {
                statements::down(&mut transaction, &postgres(), target).await?
            }
        }
        // sqlx's statements have names, which the session's next client would collide with
        transaction.clear_cached_statements().await?;
        Ok(())
    };
    naming_blockers(database, pid, work).await?;
    transaction.commit().await?;
    Ok(connection.close().await?)
}

async fn migrate_sqlite(
    mut connection: SqliteConnection,
    direction: Direction,
) -> Result<(), MaintenanceError> {
    connection.execute(SET_BUSY_TIMEOUT).await?;
    // sqlx has no lock for SQLite; a transaction around all steps serves as the lock
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    match direction {
        Direction::Up => sqlite().run(&mut *transaction).await?,
        Direction::DownTo(target) => sqlite().undo(&mut *transaction, target).await?,
    }
    transaction.commit().await?;
    Ok(connection.close().await?)
}

async fn backend_pid(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_backend_pid()").persistent(false).fetch_one(connection).await
}

async fn sqlite_rows(
    connection: &mut SqliteConnection,
) -> Result<Vec<sqlx::sqlite::SqliteRow>, sqlx::Error> {
    sqlx::query("SELECT version, description, installed_on FROM _producer_migrations")
        .fetch_all(connection)
        .await
}

fn steps<R>(migrator: &Migrator, applied: Vec<R>) -> Result<Vec<Step>, MaintenanceError>
where
    R: Row,
    usize: sqlx::ColumnIndex<R>,
    for<'r> i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'r> String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'r> DateTime<Utc>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let known = migrator.iter().filter(|step| step.migration_type.is_up_migration());
    let mut steps: Vec<Step> = known
        .map(|step| Step {
            version: step.version,
            description: step.description.to_string(),
            applied: None,
            known: true,
        })
        .collect();
    for row in applied {
        let version: i64 = row.try_get(0)?;
        let applied = Some(row.try_get(2)?);
        match steps.iter_mut().find(|step| step.version == version) {
            Some(step) => step.applied = applied,
            None => {
                steps.push(Step { version, description: row.try_get(1)?, applied, known: false });
            }
        }
    }
    steps.sort_by_key(|step| step.version);
    Ok(steps)
}

fn postgres() -> Migrator {
    with_our_table(sqlx::migrate!("../../migrations/postgres"))
}

fn sqlite() -> Migrator {
    with_our_table(sqlx::migrate!("../../migrations/sqlite"))
}

fn with_our_table(mut migrator: Migrator) -> Migrator {
    migrator.dangerous_set_table_name(TABLE);
    migrator.set_ignore_missing(true);
    migrator
}
