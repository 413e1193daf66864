//! The pool of connections for reads.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, Postgres};
use tokio::time::timeout;

use super::session::{SLACK, Transactions};
use crate::store::pool::{MeasuredPool, PoolUse};
use crate::store::settings::DatabaseSettings;

/// The pool that reads take their connections from.
pub(super) struct ReadPool {
    pool: MeasuredPool<Postgres>,
    transactions: Transactions,
}

impl ReadPool {
    /// Opens nothing yet: the first read does.
    pub(super) fn new(
        options: PgConnectOptions,
        settings: &DatabaseSettings,
        max_connections: u32,
        transactions: Transactions,
    ) -> Self {
        let test_after_idle = settings.test_after_idle;
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .idle_timeout(settings.idle_timeout)
            .max_lifetime(settings.max_lifetime)
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                Box::pin(
                    async move { Ok(meta.idle_for < test_after_idle || answers(connection).await) },
                )
            })
            .connect_lazy_with(options);
        Self { pool: MeasuredPool::new(pool), transactions }
    }

    /// Waits for a connection. Behind a pooler a transaction is begun on it.
    pub(super) async fn acquire(&self) -> Result<ReadConnection, sqlx::Error> {
        let in_transaction = self.transactions.always;
        let mut connection =
            ReadConnection { connection: self.pool.acquire().await?, in_transaction };
        if in_transaction {
            let begin = self.transactions.begin.clone();
            sqlx::raw_sql(begin).execute(&mut *connection.connection).await?;
        }
        Ok(connection)
    }

    /// Whether prepared statements may stay in the server's session.
    pub(super) fn caches_statements(&self) -> bool {
        self.transactions.caches_statements()
    }

    pub(super) fn usage(&self) -> PoolUse {
        self.pool.usage()
    }

    /// Closes every connection, as far as the server still responds: the pool waits for a dead one
    /// for ever.
    pub(super) async fn close(&self) {
        let _elapsed = timeout(SLACK, self.pool.close()).await;
    }
}

/// Whether the server answers a ping in time.
async fn answers(connection: &mut PgConnection) -> bool {
    timeout(SLACK, connection.ping()).await.is_ok_and(|pong| pong.is_ok())
}

/// A connection in use by a read. A read may be dropped half-way: then a transaction may be open, and
/// the connection is closed instead of returned to the pool.
pub(super) struct ReadConnection {
    pub(super) connection: PoolConnection<Postgres>,
    in_transaction: bool,
}

impl ReadConnection {
    /// Begins a transaction, unless there is one. One that is dropped half-way closes the connection.
    pub(super) async fn begin(&mut self, pool: &ReadPool) -> Result<(), sqlx::Error> {
        if !self.in_transaction {
            self.in_transaction = true;
            let begin = pool.transactions.begin.clone();
            sqlx::raw_sql(begin).execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    /// Ends the transaction, where there is one.
    pub(super) async fn release(mut self) -> Result<(), sqlx::Error> {
        if self.in_transaction {
            sqlx::raw_sql("COMMIT").execute(&mut *self.connection).await?;
            self.in_transaction = false;
        }
        Ok(())
    }
}

impl Drop for ReadConnection {
    fn drop(&mut self) {
        if self.in_transaction {
            self.connection.close_on_drop();
        }
    }
}
