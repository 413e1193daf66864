//! The connection of what changes and builds definitions: short transactions, one after the other.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{SqlSafeStr, raw_sql};
use tokio::sync::Mutex;

use crate::query::ReadError;
use crate::store::postgres::error::StatementError;
use crate::store::postgres::write::{
    OpenConnection, OpenError, Session, WriterConnection, WriterSettings, open,
};

/// See the module.
pub(super) struct TypesConnection {
    settings: WriterSettings,
    slot: Mutex<WriterConnection>,
}

/// A transaction that is open.
pub(super) struct Transaction<'t> {
    open: OpenConnection,
    settings: &'t WriterSettings,
}

impl Transaction<'_> {
    /// For a statement, which [`Transaction::run`] waits for.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.open.connection
    }

    /// Whether prepared statements may stay in the server's session.
    pub(super) fn caches_statements(&self) -> bool {
        self.settings.transactions.caches_statements()
    }

    /// How long a statement may take.
    pub(super) fn deadline(&self) -> Duration {
        self.settings.statement_deadline
    }

    async fn run(&mut self, sql: impl SqlSafeStr) -> Result<(), StatementError> {
        let statement = raw_sql(sql).execute(&mut self.open.connection);
        Session::with_timeout(self.settings.statement_deadline, statement).await.map(drop)
    }
}

impl TypesConnection {
    pub(super) fn new(settings: WriterSettings) -> Self {
        let slot = Mutex::new(WriterConnection::new(settings.lifetime));
        Self { settings, slot }
    }

    /// Begins a transaction, over another connection where the kept one is broken.
    pub(super) async fn begin(&self) -> Result<Transaction<'_>, ReadError> {
        let kept = self.slot.lock().await.take();
        if let Some(open) = kept
            && let Ok(transaction) = self.begin_on(open).await
        {
            return Ok(transaction);
        }
        let opened = open(&self.settings).await.map_err(OpenError::into_read_error)?;
        let begun = self.begin_on(OpenConnection::new(opened)).await;
        begun.map_err(StatementError::into_read_error)
    }

    async fn begin_on(&self, open: OpenConnection) -> Result<Transaction<'_>, StatementError> {
        let mut transaction = Transaction { open, settings: &self.settings };
        transaction.run(self.settings.transactions.begin.clone()).await?;
        Ok(transaction)
    }

    /// Commits, or rolls back after an error. The connection is kept only where the transaction has surely
    /// ended.
    pub(super) async fn end<T>(
        &self,
        mut transaction: Transaction<'_>,
        result: Result<T, StatementError>,
    ) -> Result<T, StatementError> {
        match &result {
            Ok(_) => transaction.run("COMMIT").await?,
            // what failed says more than that the connection is broken too
            Err(_) if transaction.run("ROLLBACK").await.is_err() => return result,
            Err(_) => {}
        }
        self.slot.lock().await.put(transaction.open);
        result
    }
}
