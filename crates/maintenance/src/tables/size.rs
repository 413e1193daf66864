//! How many rows a table has.

use std::fmt;

use producer_core::store::numbers::from_bigint;
use sqlx::AssertSqlSafe;

use crate::connection::Connection;
use crate::error::MaintenanceError;

/// Up to so many rows PostgreSQL counts; of larger tables its statistics have an estimate.
const COUNTED: u64 = 100_000;

/// A table and its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSize {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub rows: Rows,
}

/// A number of rows, counted or estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Exactly so many.
    Exactly(u64),
    /// About so many.
    About(u64),
    /// More than so many: there is no estimate.
    MoreThan(u64),
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(1) => write!(f, "1 row"),
            Self::Exactly(rows) => write!(f, "{rows} rows"),
            Self::About(rows) => write!(f, "about {rows} rows"),
            Self::MoreThan(rows) => write!(f, "more than {rows} rows"),
        }
    }
}

impl Connection {
    /// Whether a table of this name exists.
    pub(crate) async fn has_table(&mut self, name: &str) -> Result<bool, MaintenanceError> {
        Ok(match self {
            Self::Postgres(c) => {
                let query = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL");
                query.bind(name).persistent(false).fetch_one(c).await?
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_scalar(
                    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?)",
                );
                query.bind(name).fetch_one(c).await?
            }
        })
    }

    /// How many rows a table of ours has.
    pub(crate) async fn rows(&mut self, table: &str) -> Result<Rows, MaintenanceError> {
        match self {
            Self::Postgres(c) => {
                // the name is one of our migrations'
                let count = format!(
                    "SELECT count(*) FROM (SELECT FROM {table} LIMIT {}) AS counted",
                    COUNTED + 1
                );
                let count = sqlx::query_scalar(AssertSqlSafe(count)).persistent(false);
                let counted = from_bigint(count.fetch_one(&mut *c).await?);
                if counted <= COUNTED {
                    return Ok(Rows::Exactly(counted));
                }
                let estimate = sqlx::query_scalar(
                    "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)",
                );
                let estimate = estimate.bind(table).persistent(false).fetch_one(c).await?;
                let estimate = from_bigint(estimate);
                Ok(if estimate > COUNTED { Rows::About(estimate) } else { Rows::MoreThan(COUNTED) })
            }
            Self::Sqlite(c) => {
                let count =
                    sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
                Ok(Rows::Exactly(from_bigint(count.fetch_one(c).await?)))
            }
        }
    }
}
