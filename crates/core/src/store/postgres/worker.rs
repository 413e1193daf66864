//! Connectors and dead letters: what workers and users write. Most of it is one statement, in which the lease
//! is compared. What changes dead letters locks the connector's row first: nobody can take the connector
//! between the comparison and the change, and no two statements wait for each other.

mod connectors;
mod letters;

use sqlx::FromRow;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::{Query, QueryAs};

use super::error::StatementError;
use super::short_transactions::ShortTransactions;
use super::write::{Session, WriterSettings};
use crate::query::ReadError;

/// What writes connectors and dead letters. It has connections of its own.
pub(super) struct PgWorker {
    transactions: ShortTransactions,
}

impl PgWorker {
    pub(super) fn new(settings: WriterSettings) -> Self {
        Self { transactions: ShortTransactions::new(settings) }
    }

    /// Runs one statement for its row.
    async fn fetch<O>(
        &self,
        statement: QueryAs<'_, Postgres, O, PgArguments>,
    ) -> Result<Option<O>, ReadError>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let mut open = self.transactions.single().await?;
        let (deadline, caches) = (open.deadline(), open.caches_statements());
        let fetched = statement.persistent(caches).fetch_optional(open.connection());
        let fetched = Session::with_timeout(deadline, fetched).await;
        self.transactions.end(open, fetched).await.map_err(StatementError::into_read_error)
    }

    /// Runs one statement, and returns how many rows it changed.
    async fn execute(&self, statement: Query<'_, Postgres, PgArguments>) -> Result<u64, ReadError> {
        let mut open = self.transactions.single().await?;
        let (deadline, caches) = (open.deadline(), open.caches_statements());
        let executed = statement.persistent(caches).execute(open.connection());
        let executed = Session::with_timeout(deadline, executed).await;
        let done = self.transactions.end(open, executed).await;
        Ok(done.map_err(StatementError::into_read_error)?.rows_affected())
    }
}
