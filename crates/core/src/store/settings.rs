//! Settings of the databases.

use std::fmt;
use std::time::Duration;

/// Settings of a store. The defaults are those of the services.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// `DATABASE_URL`; `None` is the embedded file.
    pub url: Option<String>,
    /// `DATABASE_MAX_CONNECTIONS`, writers included.
    pub max_connections: u32,
    /// `DATABASE_ACQUIRE_TIMEOUT`
    pub acquire_timeout: Duration,
    /// `DATABASE_IDLE_TIMEOUT`
    pub idle_timeout: Duration,
    /// `DATABASE_MAX_LIFETIME`
    pub max_lifetime: Duration,
    /// `DATABASE_POOLER`
    pub pooler: Pooler,
    /// A connection of the pool that was idle for longer is tested before use: a firewall or NAT in
    /// between may have dropped it silently.
    pub test_after_idle: Duration,
    /// `DATABASE_STATEMENT_TIMEOUT`
    pub statement_timeout: Duration,
    /// `DATABASE_LOCK_TIMEOUT`
    pub lock_timeout: Duration,
    /// `MAX_ENTITY_BYTES`
    pub max_entity_bytes: usize,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            max_connections: 10,
            acquire_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(10 * 60),
            max_lifetime: Duration::from_secs(30 * 60),
            pooler: Pooler::None,
            test_after_idle: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(2),
            lock_timeout: Duration::from_millis(100),
            max_entity_bytes: 1 << 20,
        }
    }
}

impl fmt::Debug for DatabaseSettings {
    /// Leaves the URL out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSettings")
            .field("max_connections", &self.max_connections)
            .field("pooler", &self.pooler)
            .finish_non_exhaustive()
    }
}

/// What is between `DATABASE_URL` and PostgreSQL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing: a connection is a session.
    #[default]
    None,
    /// PgBouncer or the like, which assigns a session of the server for one transaction only.
    Transaction,
}
