//! A connection pool with usage figures.

use producer_telemetry::metrics::{Metrics, SECONDS};
use prometheus::Histogram;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};
use tokio::time::Instant;

/// How a store's pool is used. Reads take their connections from it; writers have their own.
#[derive(Debug, Clone)]
pub struct PoolUse {
    /// Connections that the pool may open at most.
    pub max: u32,
    /// Open connections.
    pub open: u32,
    /// Open connections that are idle.
    pub idle: u32,
    /// How long callers waited for a connection, failed attempts included.
    pub waits: Histogram,
}

impl PoolUse {
    /// Connections in use.
    pub fn in_use(&self) -> u32 {
        self.open.saturating_sub(self.idle)
    }
}

/// A pool that measures how long its callers wait.
pub(crate) struct MeasuredPool<DB: Database> {
    pool: Pool<DB>,
    waits: Histogram,
}

impl<DB: Database> MeasuredPool<DB> {
    pub(crate) fn new(pool: Pool<DB>) -> Self {
        let waits = Metrics::default().histogram(
            "producer_database_pool_wait_seconds",
            "How long reads waited for a connection of the pool",
            SECONDS,
        );
        Self { pool, waits }
    }

    /// Waits for a connection.
    pub(crate) async fn acquire(&self) -> Result<PoolConnection<DB>, sqlx::Error> {
        let since = Instant::now();
        let acquired = self.pool.acquire().await;
        self.waits.observe(since.elapsed().as_secs_f64());
        acquired
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) fn usage(&self) -> PoolUse {
        PoolUse {
            max: self.pool.options().get_max_connections(),
            open: self.pool.size(),
            idle: u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX),
            waits: self.waits.clone(),
        }
    }
}
