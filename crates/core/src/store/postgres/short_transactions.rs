//! Connections of what writes beside the writers of events (definitions of types, their building, the
//! worker's connectors): short transactions, a few at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, SqlSafeStr, raw_sql};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::StatementError;
use super::write::{OpenConnection, OpenError, Session, WriterConnection, WriterSettings, open};
use crate::model::UnavailableKind;
use crate::query::ReadError;

/// Connections that may be open at once.
const MAX_CONNECTIONS: usize = 4;

/// See the module.
pub(super) struct ShortTransactions {
    settings: WriterSettings,
    permits: Semaphore,
    /// Those that nobody uses, the one that was used last at the end. So what is open for nothing becomes idle
    /// and is closed.
    idle: Mutex<Vec<WriterConnection>>,
}

/// A transaction that is open. When it is dropped, its connection is closed.
pub(super) struct Transaction<'t> {
    open: OpenConnection,
    kept: WriterConnection,
    settings: &'t WriterSettings,
    /// Whether there is one: a single statement needs none where the session is its own.
    has_begun: bool,
    _permit: SemaphorePermit<'t>,
}

impl Transaction<'_> {
    /// For a statement, which is waited for no longer than [`Transaction::deadline`].
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

    async fn begin(&mut self) -> Result<(), StatementError> {
        self.has_begun = true;
        self.run(self.settings.transactions.begin.clone()).await
    }

    /// Whether the server still answers on this connection. One that was used a moment ago is not asked.
    async fn test(&mut self) -> Result<(), StatementError> {
        if self.open.is_just_used() {
            return Ok(());
        }
        Session::with_timeout(self.settings.connect_deadline, self.open.connection.ping()).await
    }

    async fn run(&mut self, sql: impl SqlSafeStr) -> Result<(), StatementError> {
        let statement = raw_sql(sql).execute(&mut self.open.connection);
        Session::with_timeout(self.settings.statement_deadline, statement).await.map(drop)
    }
}

impl ShortTransactions {
    pub(super) fn new(settings: WriterSettings) -> Self {
        Self { settings, permits: Semaphore::new(MAX_CONNECTIONS), idle: Mutex::default() }
    }

    /// Begins a transaction, over another connection where the kept one is broken.
    pub(super) async fn begin(&self) -> Result<Transaction<'_>, ReadError> {
        self.start(true).await
    }

    /// For one statement, which commits by itself; in a transaction only behind a pooler.
    pub(super) async fn single(&self) -> Result<Transaction<'_>, ReadError> {
        self.start(self.settings.transactions.always).await
    }

    async fn start(&self, begins: bool) -> Result<Transaction<'_>, ReadError> {
        let permit = self.permit().await?;
        let kept = self.idle().pop();
        let kept = kept.unwrap_or_else(|| WriterConnection::new(self.settings.lifetime));
        let settings = &self.settings;
        let is_open = kept.take();
        let is_new = is_open.is_none();
        let open = match is_open {
            Some(open) => open,
            None => self.open().await?,
        };
        let mut transaction =
            Transaction { open, kept, settings, has_begun: false, _permit: permit };
        let started = match begins {
            true => transaction.begin().await,
            false => transaction.test().await,
        };
        match started {
            Ok(()) => Ok(transaction),
            Err(error) if is_new => Err(error.into_read_error()),
            Err(_) => {
                transaction.open = self.open().await?;
                if begins {
                    transaction.begin().await.map_err(StatementError::into_read_error)?;
                }
                Ok(transaction)
            }
        }
    }

    /// Waits until a connection may be used, no longer than for a new one.
    async fn permit(&self) -> Result<SemaphorePermit<'_>, ReadError> {
        match timeout(self.settings.connect_deadline, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(ReadError {
                kind: UnavailableKind::Unreachable,
                text: format!("all {MAX_CONNECTIONS} connections for short transactions are busy"),
            }),
        }
    }

    async fn open(&self) -> Result<OpenConnection, ReadError> {
        let opened = open(&self.settings).await.map_err(OpenError::into_read_error)?;
        Ok(OpenConnection::new(opened))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<WriterConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits, or rolls back after an error. The connection is kept only where the transaction has surely
    /// ended.
    pub(super) async fn end<T>(
        &self,
        mut transaction: Transaction<'_>,
        result: Result<T, StatementError>,
    ) -> Result<T, StatementError> {
        match &result {
            Ok(_) if transaction.has_begun => transaction.run("COMMIT").await?,
            // what failed says more than that the connection is broken too
            Err(_) if transaction.has_begun && transaction.run("ROLLBACK").await.is_err() => {
                return result;
            }
            Err(StatementError::OutcomeUnknown(_)) if !transaction.has_begun => return result,
            Ok(_) | Err(_) => {}
        }
        let Transaction { open, mut kept, .. } = transaction;
        kept.put(open);
        self.idle().push(kept);
        result
    }
}
