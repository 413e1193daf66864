//! A database for a cell: empty, or with the entities that it updates, and the disk at rest.

use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};
use tempfile::TempDir;

use crate::cells::{Cell, Store, Way};
use crate::events::{self, Keys, Size};
use crate::postgres::{self, Database, Postgres};
use crate::{Result, contenders};

/// The entities that are there before a cell that asks for growth.
const GROWN: u64 = 10_000_000;

/// Where a cell's events end up.
pub(crate) enum Target {
    /// A database of the server.
    Postgres(Database),
    /// A file in a folder that goes with this value.
    Sqlite(TempDir),
    /// Nothing keeps them.
    Nothing,
}

impl Target {
    /// Its `DATABASE_URL`.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres(database) => database.url.clone(),
            Self::Sqlite(folder) => {
                format!("sqlite://{}", folder.path().join("bench.db").display())
            }
            Self::Nothing => String::new(),
        }
    }

    /// How many events the log holds; `None` where none is kept.
    pub(crate) async fn logged(&self) -> Result<Option<u64>> {
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
            Self::Nothing => return Ok(None),
        };
        Ok(Some(u64::try_from(count)?))
    }
}

/// Makes the database of a cell. PostgreSQL has written everything out when this returns.
pub(crate) async fn target(cell: &Cell, postgres: Option<&Postgres>) -> Result<Target> {
    match cell.store {
        Store::Nothing => Ok(Target::Nothing),
        Store::Sqlite => sqlite(cell).await,
        Store::Postgres => {
            let postgres = postgres.ok_or("the cell needs PostgreSQL")?;
            let database = postgres.fresh_database().await?;
            make_tables(cell, &database).await?;
            if let Some(fill) = fill(cell, "now()") {
                postgres::execute(&database.url, &fill).await?;
                postgres::execute(&database.url, "VACUUM (ANALYZE) entities").await?;
            }
            postgres.checkpoint().await?;
            Ok(Target::Postgres(database))
        }
    }
}

/// PostgreSQL's tables for the cell.
async fn make_tables(cell: &Cell, database: &Database) -> Result<()> {
    match cell.way {
        Way::Copy => postgres::execute(&database.url, contenders::TABLES).await,
        Way::Pgbench => {
            postgres::execute(&database.url, contenders::TABLES).await?;
            postgres::execute(&database.url, contenders::KEYS).await
        }
        _ => migrate(cell, &database.url).await,
    }
}

/// Lets the service make its tables, so that they are those of the binary that is measured.
async fn migrate(cell: &Cell, url: &str) -> Result<()> {
    let mut command = cell.way.api().ok_or("the cell has no service")?.command()?;
    let output = command.arg("migrate").env("DATABASE_URL", url).output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("migrate: {}", String::from_utf8_lossy(&output.stderr)).into())
}

async fn sqlite(cell: &Cell) -> Result<Target> {
    let target = Target::Sqlite(tempfile::tempdir()?);
    migrate(cell, &target.url()).await?;
    if let Some(fill) = fill(cell, "0") {
        let mut connection = SqliteConnection::connect(&target.url()).await?;
        connection.execute(AssertSqlSafe(fill)).await?;
        connection.close().await?;
    }
    Ok(target)
}

/// SQL that puts the entities there that the cell updates, or that are to be in its way.
fn fill(cell: &Cell, now: &str) -> Option<String> {
    let numbers = cell.keys.numbers();
    let (start, step, count) = match (cell.grown, cell.keys) {
        // spread over all that new keys may be, so that every part of the index is large
        (true, _) => (numbers.start, (numbers.end - numbers.start) / GROWN, GROWN),
        (false, Keys::New) => return None,
        (false, Keys::Set | Keys::Hot) => (numbers.start, 1, numbers.end - numbers.start),
    };
    let data = if cell.grown {
        r#"{"balance":24439.75,"status":"active"}"#.to_owned()
    } else {
        events::attributes(Size::Base)
    };
    let (entity_type, prefix, bytes) = (events::ENTITY_TYPE, events::KEY_PREFIX, data.len());
    let (size_column, size) = match cell.way {
        Way::Pgbench => ("", String::new()),
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
