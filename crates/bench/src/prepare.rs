//! The database of a cell: empty or with the entities that it updates, after a checkpoint.

use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};
use tempfile::TempDir;
use tokio::process::Command;

use crate::cells::{Cell, Interface, Store};
use crate::events::{self, Keys, Size};
use crate::postgres::{self, Database, Postgres};
use crate::{Result, baselines};

/// Entities in the table of a grown cell.
const GROWN_ENTITIES: u64 = 10_000_000;

/// Where a cell's events are stored.
pub(crate) enum CellDatabase {
    /// A database of the server.
    Postgres(Database),
    /// A file in a folder that is removed with this value.
    Sqlite(TempDir),
    /// Nowhere.
    Null,
}

impl CellDatabase {
    /// Its `DATABASE_URL`.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres(database) => database.url.clone(),
            Self::Sqlite(folder) => {
                format!("sqlite://{}", folder.path().join("bench.db").display())
            }
            Self::Null => String::new(),
        }
    }

    /// The number of events in the log; `None` where there is no log.
    pub(crate) async fn logged_events(&self) -> Result<Option<u64>> {
        const COUNT: &str = "SELECT count(*) FROM event_log";
        let count: i64 = match self {
            Self::Postgres(database) => {
                let mut connection = sqlx::PgConnection::connect(&database.url).await?;
                sqlx::query_scalar(COUNT).fetch_one(&mut connection).await?
            }
            Self::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url()).await?;
                sqlx::query_scalar(COUNT).fetch_one(&mut connection).await?
            }
            Self::Null => return Ok(None),
        };
        Ok(Some(u64::try_from(count)?))
    }
}

/// Creates the database of a cell, and ends with a checkpoint on PostgreSQL.
pub(crate) async fn database(cell: &Cell, postgres: Option<&Postgres>) -> Result<CellDatabase> {
    match cell.store {
        Store::Null | Store::Hyper => Ok(CellDatabase::Null),
        Store::Sqlite => sqlite(cell).await,
        Store::Postgres => {
            let postgres = postgres.ok_or("the cell needs PostgreSQL")?;
            let database = postgres.fresh_database().await?;
            create_tables(cell, &database).await?;
            if let Some(fill) = fill(cell, "now()") {
                postgres::execute(&database.url, &fill).await?;
                postgres::execute(&database.url, "VACUUM (ANALYZE) entities").await?;
            }
            postgres.checkpoint().await?;
            Ok(CellDatabase::Postgres(database))
        }
    }
}

/// Creates the tables of the cell on PostgreSQL.
async fn create_tables(cell: &Cell, database: &Database) -> Result<()> {
    match cell.interface {
        Interface::Copy => postgres::execute(&database.url, baselines::TABLES).await,
        Interface::Pgbench => {
            postgres::execute(&database.url, baselines::TABLES).await?;
            postgres::execute(&database.url, baselines::KEYS).await
        }
        _ => migrate(command(cell)?, &database.url).await,
    }
}

/// The binary that is measured.
fn command(cell: &Cell) -> Result<Command> {
    cell.interface.api().ok_or("the cell has no service")?.command()
}

/// Creates the tables with a service's binary.
pub(crate) async fn migrate(mut command: Command, url: &str) -> Result<()> {
    let output = command.arg("migrate").env("DATABASE_URL", url).output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("migrate: {}", String::from_utf8_lossy(&output.stderr)).into())
}

async fn sqlite(cell: &Cell) -> Result<CellDatabase> {
    let database = CellDatabase::Sqlite(tempfile::tempdir()?);
    migrate(command(cell)?, &database.url()).await?;
    if let Some(fill) = fill(cell, "0") {
        let mut connection = SqliteConnection::connect(&database.url()).await?;
        connection.execute(AssertSqlSafe(fill)).await?;
        connection.close().await?;
    }
    Ok(database)
}

/// SQL that inserts the entities that the cell updates, or that make its table large.
fn fill(cell: &Cell, now: &str) -> Option<String> {
    let numbers = cell.keys.numbers();
    let (start, step, count) = match (cell.grown, cell.keys) {
        // spread over the range of new keys, so that every part of the index is large
        (true, _) => {
            (numbers.start, (numbers.end - numbers.start) / GROWN_ENTITIES, GROWN_ENTITIES)
        }
        (false, Keys::New) => return None,
        (false, Keys::Set | Keys::Hot | Keys::Once) => {
            (numbers.start, 1, numbers.end - numbers.start)
        }
    };
    let data = if cell.grown {
        r#"{"balance":24439.75,"status":"active"}"#.to_owned()
    } else {
        events::attributes(Size::Base)
    };
    let (entity_type, prefix, bytes) = (events::ENTITY_TYPE, events::KEY_PREFIX, data.len());
    let (size_column, size) = match cell.interface {
        Interface::Pgbench => ("", String::new()),
        _ => ("size, ", format!("{bytes}, ")),
    };
    Some(match cell.store {
        Store::Sqlite => format!(
            "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})
             INSERT INTO entities
                 (entity_type, entity_id, version, {size_column}data, created_at, updated_at)
             SELECT '{entity_type}', '{prefix}' || ({start} + i * {step}), 1, {size}'{data}',
                    {now}, {now} FROM n"
        ),
        _ => format!(
            "INSERT INTO entities
                 (entity_type, entity_id, version, {size_column}data, created_at, updated_at)
             SELECT '{entity_type}', '{prefix}' || ({start} + i * {step}), 1, {size}'{data}'::jsonb,
                    {now}, {now}
             FROM generate_series(0::bigint, {count} - 1) AS i"
        ),
    })
}
