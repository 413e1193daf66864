//! Connectors and dead letters: what workers and users write. There is one writer at a time: what a
//! transaction compared holds until it ends.

mod connectors;
mod letters;

use sqlx::FromRow;
use sqlx::query::{Query, QueryAs};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};

use super::query::unavailable;
use super::short_transactions::ShortTransactions;
use super::write::WriterSettings;
use crate::query::ReadError;

/// What writes connectors and dead letters. It has a connection of its own.
pub(super) struct SqliteWorker {
    transactions: ShortTransactions,
}

impl SqliteWorker {
    pub(super) fn new(settings: WriterSettings) -> Self {
        Self { transactions: ShortTransactions::new(settings) }
    }

    pub(super) async fn close(&self) {
        self.transactions.close().await;
    }

    /// Runs one statement for its row.
    async fn fetch<O>(
        &self,
        statement: QueryAs<'_, Sqlite, O, SqliteArguments>,
    ) -> Result<Option<O>, ReadError>
    where
        O: Send + Unpin + for<'r> FromRow<'r, SqliteRow>,
    {
        let mut open = self.transactions.begin().await?;
        let row = statement.fetch_optional(open.connection()).await;
        self.transactions.end(open, row).await.map_err(unavailable)
    }

    /// Runs one statement, and returns how many rows it changed.
    async fn execute(
        &self,
        statement: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<u64, ReadError> {
        let mut open = self.transactions.begin().await?;
        let done = statement.execute(open.connection()).await;
        let done = self.transactions.end(open, done).await.map_err(unavailable)?;
        Ok(done.rows_affected())
    }
}
