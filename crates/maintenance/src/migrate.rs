//! The schema's steps, embedded in the binary, with a way back for each.
//!
//! They only add, so that the previous release keeps running on the new schema; a step that this
//! binary doesn't know (a newer one made it) is skipped. The record of what was applied is a
//! table of our own: the older services keep theirs, `_sqlx_migrations`, in the same database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection as _, Executor, PgConnection, SqliteConnection};
use tokio::time::Instant;

use crate::blockers::naming_blockers;
use crate::connection::{BEGIN, Connection};
use crate::database::Database;
use crate::error::MaintenanceError;
use crate::sessions;
use crate::statements::{self, Direction};
pub use crate::tables::{Rows, TableSize};

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
    wait_for_locks(database, Direction::Up, OtherSessions::Ignore, report).await
}

/// One attempt of [`up`], which waits for a lock for about a second.
///
/// # Errors
/// As [`up`]. [`MaintenanceError::Locked`] names who holds the lock.
pub async fn attempt_up(database: &Database) -> Result<(), MaintenanceError> {
    attempt(database, Direction::Up, OtherSessions::Ignore).await
}

/// What [`down`] does where other sessions use the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherSessions {
    /// It refuses to revert anything.
    Refuse,
    /// It takes the tables from under them.
    Ignore,
}

/// Reverts every step above `target`, the newest first; 0 reverts all. Data is deleted with its tables.
///
/// # Errors
/// As [`up`]; also when a step above `target` is of a newer release, which alone can revert it, and when
/// other sessions use the database, unless they are ignored.
pub async fn down(
    database: &Database,
    target: i64,
    others: OtherSessions,
) -> Result<(), MaintenanceError> {
    down_reporting(database, target, others, &mut |_| {}).await
}

/// As [`down`]; every few seconds while it waits, `report` gets a line that names who holds the lock.
///
/// # Errors
/// As [`down`].
pub async fn down_reporting(
    database: &Database,
    target: i64,
    others: OtherSessions,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<(), MaintenanceError> {
    if applied_above(database, target).await?.is_empty() {
        return Ok(());
    }
    if others == OtherSessions::Refuse {
        let sessions = sessions::others(database).await?;
        if !sessions.is_empty() {
            return Err(in_use(&sessions));
        }
    }
    wait_for_locks(database, Direction::DownTo(target), others, report).await
}

/// The refusal to revert under other sessions.
fn in_use(sessions: &[String]) -> MaintenanceError {
    MaintenanceError::Refused(format!(
        "the database is in use: {}; stop what uses it, or pass --force",
        sessions.join("; ")
    ))
}

/// What [`down`] would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownPlan {
    /// The steps that it would revert, the newest first.
    pub steps: Vec<Step>,
    /// The tables that it would drop.
    pub tables: Vec<TableSize>,
    /// Other sessions that use the database, by application and client.
    pub sessions: Vec<String>,
}

impl DownPlan {
    /// Checks that nobody else uses the database.
    ///
    /// # Errors
    /// Other sessions use the database.
    pub fn check_unused(&self) -> Result<(), MaintenanceError> {
        if self.sessions.is_empty() { Ok(()) } else { Err(in_use(&self.sessions)) }
    }
}

/// Finds out what [`down`] would do, without changing anything.
///
/// # Errors
/// As [`down`], other sessions excepted.
pub async fn plan_down(database: &Database, target: i64) -> Result<DownPlan, MaintenanceError> {
    let mut steps = applied_above(database, target).await?;
    steps.reverse();
    if steps.is_empty() {
        return Ok(DownPlan { steps, tables: Vec::new(), sessions: Vec::new() });
    }
    let migrator = migrator(database);
    let names = steps.iter().flat_map(|step| statements::dropped_tables(&migrator, step.version));
    let tables = table_sizes(database, names.collect()).await?;
    let sessions = sessions::others(database).await?;
    Ok(DownPlan { steps, tables, sessions })
}

/// The applied steps above `target`, the oldest first.
async fn applied_above(database: &Database, target: i64) -> Result<Vec<Step>, MaintenanceError> {
    let mut steps = status(database).await?;
    steps.retain(|step| step.applied.is_some() && step.version > target);
    match steps.iter().find(|step| !step.known) {
        Some(newer) => Err(MaintenanceError::Refused(format!(
            "step {} was made by a newer release, which has to revert it first",
            newer.version
        ))),
        None => Ok(steps),
    }
}

/// Every step that this binary or the database knows, the oldest first. Changes nothing.
///
/// # Errors
/// The database can't be reached.
pub async fn status(database: &Database) -> Result<Vec<Step>, MaintenanceError> {
    let mut connection = database.connect_for_transaction().await?;
    connection.begin_briefly().await?;
    let recorded = match connection.has_table(TABLE).await? {
        true => connection.recorded().await?,
        false => Vec::new(),
    };
    connection.commit().await?;
    connection.close().await?;
    Ok(steps(&migrator(database), recorded))
}

/// Attempts again, after a pause, while another session holds a lock.
async fn wait_for_locks(
    database: &Database,
    direction: Direction,
    others: OtherSessions,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<(), MaintenanceError> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match attempt(database, direction, others).await {
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

async fn attempt(
    database: &Database,
    direction: Direction,
    others: OtherSessions,
) -> Result<(), MaintenanceError> {
    let connection = match (direction, others) {
        (Direction::Up, _) => database.connect_or_create().await?,
        (Direction::DownTo(_), OtherSessions::Refuse) => database.connect_alone().await?,
        (Direction::DownTo(_), OtherSessions::Ignore) => database.connect_for_transaction().await?,
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
        statements::run(&mut connection, &postgres(), direction).await?;
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
        statements::run(&mut transaction, &postgres(), direction).await?;
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

/// A row of the record of what was applied: version, description, time.
type Recorded = (i64, String, DateTime<Utc>);

impl Connection {
    /// Begins a transaction that waits for locks for a second at most.
    async fn begin_briefly(&mut self) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(_) => {
                self.run(BEGIN).await?;
                self.run(SET_LOCK_TIMEOUT_FOR_TRANSACTION).await
            }
            Self::Sqlite(_) => self.run("BEGIN").await,
        }
    }

    async fn recorded(&mut self) -> Result<Vec<Recorded>, MaintenanceError> {
        const RECORDED: &str =
            "SELECT version, description, installed_on FROM _producer_migrations";
        Ok(match self {
            Self::Postgres(c) => sqlx::query_as(RECORDED).persistent(false).fetch_all(c).await?,
            Self::Sqlite(c) => sqlx::query_as(RECORDED).fetch_all(c).await?,
        })
    }
}

/// The sizes of those of `tables` that exist.
async fn table_sizes(
    database: &Database,
    tables: Vec<String>,
) -> Result<Vec<TableSize>, MaintenanceError> {
    let mut connection = database.connect_for_transaction().await?;
    connection.begin_briefly().await?;
    let mut sizes = Vec::with_capacity(tables.len());
    for name in tables {
        if connection.has_table(&name).await? {
            let rows = connection.rows(&name).await?;
            sizes.push(TableSize { name, rows });
        }
    }
    connection.commit().await?;
    connection.close().await?;
    Ok(sizes)
}

fn steps(migrator: &Migrator, recorded: Vec<Recorded>) -> Vec<Step> {
    let known = migrator.iter().filter(|step| step.migration_type.is_up_migration());
    let mut steps: Vec<Step> = known
        .map(|step| Step {
            version: step.version,
            description: step.description.to_string(),
            applied: None,
            known: true,
        })
        .collect();
    for (version, description, applied) in recorded {
        let applied = Some(applied);
        match steps.iter_mut().find(|step| step.version == version) {
            Some(step) => step.applied = applied,
            None => steps.push(Step { version, description, applied, known: false }),
        }
    }
    steps.sort_by_key(|step| step.version);
    steps
}

fn migrator(database: &Database) -> Migrator {
    match database {
        Database::Postgres { .. } => postgres(),
        Database::Sqlite(_) => sqlite(),
    }
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
