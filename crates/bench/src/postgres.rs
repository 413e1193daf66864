//! A temporary PostgreSQL server with durable commits.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::Result;

/// Settings that differ from PostgreSQL's defaults. Checkpoints are made between cells, by
/// [`Postgres::checkpoint`], and not within one by chance.
const SETTINGS: &[&str] =
    &["fsync=on", "synchronous_commit=on", "max_wal_size=4GB", "checkpoint_timeout=1h"];

/// The same where the changes are also read by logical replication.
const LOGICAL_SETTINGS: &[&str] = &[
    "fsync=on",
    "synchronous_commit=on",
    "max_wal_size=4GB",
    "checkpoint_timeout=1h",
    "wal_level=logical",
];

/// A server that ends with this value, or with this process.
pub(crate) struct Postgres {
    server: producer_test_support::Postgres,
    postmaster: u32,
    settings: Vec<String>,
}

/// A database of that server.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// Its name.
    pub(crate) name: String,
    /// Its URL, as in `DATABASE_URL`.
    pub(crate) url: String,
}

impl Postgres {
    /// Starts a server with the binaries from `PG_BIN_DIR`, the `PATH` or `/usr/lib/postgresql`.
    pub(crate) fn start() -> Result<Self> {
        Self::with(SETTINGS)
    }

    /// The same, with a write-ahead log that has what logical replication needs.
    pub(crate) fn start_logical() -> Result<Self> {
        Self::with(LOGICAL_SETTINGS)
    }

    fn with(settings: &'static [&'static str]) -> Result<Self> {
        let server = producer_test_support::Postgres::with_settings(settings);
        let server = server.ok_or(
            "no PostgreSQL server binaries on the PATH, in /usr/lib/postgresql/*/bin or in \
             PG_BIN_DIR (Debian: apt-get install postgresql)",
        )?;
        let postmaster = server.process().ok_or("the server isn't a process of this machine")?;
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        Ok(Self { server, postmaster, settings })
    }

    /// Changes settings that need no restart.
    pub(crate) async fn set(&mut self, settings: &[(String, String)]) -> Result<()> {
        for (name, value) in settings {
            self.admin(&format!("ALTER SYSTEM SET {name} = '{value}'")).await?;
            self.settings.push(format!("{name}={value}"));
        }
        self.admin("SELECT pg_reload_conf()").await
    }

    /// The process id of the postmaster, the parent of all server processes.
    pub(crate) fn process(&self) -> u32 {
        self.postmaster
    }

    /// Its settings that differ from the defaults.
    pub(crate) fn settings(&self) -> String {
        self.settings.join(", ")
    }

    /// A command for one of PostgreSQL's programs, such as `pgbench`.
    pub(crate) fn program(&self, name: &str) -> Result<Command> {
        let path = self.server.program(name);
        Ok(Command::new(path.ok_or_else(|| format!("PostgreSQL's {name} isn't installed"))?))
    }

    /// Creates an empty database.
    pub(crate) async fn fresh_database(&self) -> Result<Database> {
        self.copy_of("template0").await
    }

    /// Copies a database that nobody uses.
    pub(crate) async fn copy(&self, database: &Database) -> Result<Database> {
        self.copy_of(&database.name).await
    }

    async fn copy_of(&self, template: &str) -> Result<Database> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.admin(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        Ok(Database { url: self.server.url(&name), name })
    }

    /// Drops a database, and closes all connections to it.
    pub(crate) async fn drop_database(&self, database: Database) -> Result<()> {
        self.admin(&format!("DROP DATABASE {} WITH (FORCE)", database.name)).await
    }

    /// Makes a checkpoint, so that the next cell doesn't pay for this one.
    pub(crate) async fn checkpoint(&self) -> Result<()> {
        self.admin("CHECKPOINT").await
    }

    /// The release, as `15.14`.
    pub(crate) async fn version(&self) -> Result<String> {
        let mut connection = PgConnection::connect(&self.server.url("postgres")).await?;
        let version: String =
            sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        Ok(version.split(' ').next().unwrap_or_default().to_owned())
    }

    async fn admin(&self, sql: &str) -> Result<()> {
        execute(&self.server.url("postgres"), sql).await
    }
}

/// Executes statements on a new connection.
pub(crate) async fn execute(url: &str, sql: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute(AssertSqlSafe(sql.to_owned())).await?;
    connection.close().await?;
    Ok(())
}
