//! Transactions, alike for both databases.

use producer_core::store::numbers::from_bigint;
use sqlx::Executor;

use crate::connection::Connection;
use crate::error::MaintenanceError;

/// How a transaction begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    /// Every statement sees the same snapshot.
    Snapshot,
    /// Rows are locked as they are read.
    Write,
}

impl Connection {
    pub(crate) async fn begin(&mut self, access: Access) -> Result<(), MaintenanceError> {
        let statement = match (&*self, access) {
            (Self::Postgres(_), Access::Write) => "BEGIN",
            (Self::Postgres(_), Access::Snapshot) => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            }
            (Self::Sqlite(_), Access::Write) => "BEGIN IMMEDIATE",
            (Self::Sqlite(_), Access::Snapshot) => "BEGIN",
        };
        self.run(statement).await
    }

    pub(crate) async fn commit(&mut self) -> Result<(), MaintenanceError> {
        self.run("COMMIT").await
    }

    pub(crate) async fn rollback(&mut self) -> Result<(), MaintenanceError> {
        self.run("ROLLBACK").await
    }

    pub(crate) async fn run(&mut self, statement: &'static str) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(c) => c.execute(statement).await.map(|_| ())?,
            Self::Sqlite(c) => c.execute(statement).await.map(|_| ())?,
        }
        Ok(())
    }

    pub(crate) async fn count(&mut self, query: &'static str) -> Result<u64, MaintenanceError> {
        let rows: i64 = match self {
            Self::Postgres(c) => sqlx::query_scalar(query).fetch_one(c).await?,
            Self::Sqlite(c) => sqlx::query_scalar(query).fetch_one(c).await?,
        };
        Ok(from_bigint(rows))
    }
}
