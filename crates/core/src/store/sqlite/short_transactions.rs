//! A connection of what writes beside the writers of events (definitions of types, their building, the
//! worker's connectors): short transactions, which take turns with other writers.

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{Mutex, MutexGuard};

use super::query::unavailable;
use super::write::WriterSettings;
use super::write_lock::WriteLockGuard;
use crate::model::UnavailableKind;
use crate::query::ReadError;

/// See the module.
pub(super) struct ShortTransactions {
    settings: WriterSettings,
    /// Locked for the whole transaction: of this process, one at a time waits for the write lock, which refuses
    /// more than a few.
    slot: Mutex<Option<SqliteConnection>>,
}

/// A transaction that is open. When it is dropped, its connection is closed.
pub(super) struct Transaction<'t> {
    connection: SqliteConnection,
    _turn: WriteLockGuard,
    slot: MutexGuard<'t, Option<SqliteConnection>>,
}

impl Transaction<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl ShortTransactions {
    pub(super) fn new(settings: WriterSettings) -> Self {
        Self { settings, slot: Mutex::default() }
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.slot.lock().await.take() {
            // what it wrote is committed
            drop(sqlx::Connection::close(connection).await);
        }
    }

    /// Begins a transaction as soon as no other writer has one.
    pub(super) async fn begin(&self) -> Result<Transaction<'_>, ReadError> {
        let mut slot = self.slot.lock().await;
        let turn = self.settings.write_lock.acquire().await.map_err(|error| ReadError {
            kind: UnavailableKind::Unreachable,
            text: error.to_string(),
        })?;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.settings.options.connect().await.map_err(unavailable)?,
        };
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.map_err(unavailable)?;
        Ok(Transaction { connection, _turn: turn, slot })
    }

    /// Commits. After an error the connection is closed, which rolls back.
    pub(super) async fn end<T>(
        &self,
        mut transaction: Transaction<'_>,
        result: Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let committed = match result {
            Ok(value) => {
                let commit = sqlx::query("COMMIT").execute(&mut transaction.connection).await;
                commit.map(|_| value)
            }
            Err(error) => Err(error),
        };
        if committed.is_ok() {
            *transaction.slot = Some(transaction.connection);
            self.settings.checkpointer.committed();
        } else {
            // before the write lock is released: the next writer meets no lock of ours
            drop(sqlx::Connection::close_hard(transaction.connection).await);
        }
        committed
    }
}
