//! The schema's steps, embedded in the binary, with a way back for each.
//!
//! They only add, so that the previous release keeps running on the new schema; a step that this
//! binary doesn't know (a newer one made it) is left alone. The record of what was applied is a
//! table of our own: the older services keep theirs, `_sqlx_migrations`, in the same database.

use chrono::{DateTime, Utc};
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::{Connection as _, Executor, PgConnection, Row, SqliteConnection};

use crate::connection::{BEGIN, Connection};
use crate::database::Database;
use crate::error::MaintenanceError;
use crate::statements;

const TABLE: &str = "_producer_migrations";

/// Until the connection ends. Beside sqlx's own lock, which in a transaction ends before the commit.
const TAKE_TURNS: &str = "SELECT pg_advisory_lock(8101259051807302003)";

const TAKE_TURNS_FOR_TRANSACTION: &str = "SELECT pg_advisory_xact_lock(8101259051807302003)";

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

/// Applies every pending step. Any number of processes may do so at once: they take write_lock.
///
/// # Errors
/// The database can't be reached, or a step failed; a step that fails leaves nothing behind.
pub async fn up(database: &Database) -> Result<(), MaintenanceError> {
    match database.connect_or_create().await? {
        Connection::Postgres(connection) if database.is_pooled() => {
            through_pooler(connection, Direction::Up).await?;
        }
        Connection::Postgres(mut connection) => {
            connection.execute(TAKE_TURNS).await?;
            statements::up(&mut connection, &postgres()).await?;
            connection.close().await?;
        }
        Connection::Sqlite(mut connection) => {
            // sqlx has no lock for SQLite; one transaction around all steps is one
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlite().run(&mut *transaction).await?;
            transaction.commit().await?;
            connection.close().await?;
        }
    }
    Ok(())
}

/// Reverts every step above `target`, the newest first; 0 reverts all. Data goes with its tables.
///
/// # Errors
/// As [`up`]; also when a step above `target` is of a newer release, which alone can revert it.
pub async fn down(database: &Database, target: i64) -> Result<(), MaintenanceError> {
    if let Some(newer) = status(database).await?.iter().find(|s| !s.known && s.version > target) {
        return Err(MaintenanceError::Refused(format!(
            "step {} was made by a newer release, which has to revert it first",
            newer.version
        )));
    }
    match database.connect_for_transaction().await? {
        Connection::Postgres(connection) if database.is_pooled() => {
            through_pooler(connection, Direction::DownTo(target)).await?;
        }
        Connection::Postgres(mut connection) => {
            connection.execute(TAKE_TURNS).await?;
            statements::down(&mut connection, &postgres(), target).await?;
            connection.close().await?;
        }
        Connection::Sqlite(mut connection) => {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlite().undo(&mut *transaction, target).await?;
            transaction.commit().await?;
            connection.close().await?;
        }
    }
    Ok(())
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

enum Direction {
    Up,
    DownTo(i64),
}

/// All steps in one transaction, since a session of the server is ours no longer.
async fn through_pooler(
    mut connection: PgConnection,
    direction: Direction,
) -> Result<(), MaintenanceError> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    transaction.execute(TAKE_TURNS_FOR_TRANSACTION).await?;
    match direction {
        Direction::Up => statements::up(&mut transaction, &postgres()).await?,
        Direction::DownTo(target) => {
            statements::down(&mut transaction, &postgres(), target).await?
        }
    }
    // sqlx's statements have names, which the session's next borrower would trip over
    transaction.clear_cached_statements().await?;
    transaction.commit().await?;
    Ok(connection.close().await?)
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
    ours(sqlx::migrate!("../../migrations/postgres"))
}

fn sqlite() -> Migrator {
    ours(sqlx::migrate!("../../migrations/sqlite"))
}

fn ours(mut migrator: Migrator) -> Migrator {
    migrator.dangerous_set_table_name(TABLE);
    migrator.set_ignore_missing(true);
    migrator
}
