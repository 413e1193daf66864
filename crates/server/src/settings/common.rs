//! Settings that every process on a database has, services and worker alike.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use producer_core::ingest::Limits;
use producer_core::store::{DatabaseSettings, Pooler};
use tracing::level_filters::LevelFilter;

use super::secret::Secret;
use super::values::{
    boolean, connections, count, document_size, duration, ip, level, pooler, size, whole_number,
};

/// Settings of every process on a database. The command line makes each of them global and reads the
/// environment for it.
#[derive(Debug, Clone, Args)]
pub struct CommonSettings {
    /// postgres://… (14 or newer) or sqlite://FILE; without it the embedded data/producer.db
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<Secret>,
    /// File that holds DATABASE_URL's value instead; one of the two
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// trace, debug, info, warn, error or off; RUST_LOG overrides it
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = level, value_name = "LEVEL")]
    pub log_level: LevelFilter,
    /// Log "Persisted events count: N" whenever the count passes a multiple of this; 0 is off
    #[arg(long, env = "LOG_PROGRESS_EVERY", default_value = "10", value_parser = whole_number, value_name = "N")]
    pub log_progress_every: u64,
    /// Connections to PostgreSQL at most, writers included
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", default_value = "10", value_parser = connections, value_name = "N")]
    pub database_max_connections: u32,
    /// How long to wait for a connection
    #[arg(long, env = "DATABASE_ACQUIRE_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub database_acquire_timeout: Duration,
    /// How long a connection may idle before it is closed
    #[arg(long, env = "DATABASE_IDLE_TIMEOUT", default_value = "10m", value_parser = duration, value_name = "DURATION")]
    pub database_idle_timeout: Duration,
    /// How old a connection may become before it is replaced
    #[arg(long, env = "DATABASE_MAX_LIFETIME", default_value = "30m", value_parser = duration, value_name = "DURATION")]
    pub database_max_lifetime: Duration,
    /// none, or transaction where DATABASE_URL leads through PgBouncer in that mode
    #[arg(long, env = "DATABASE_POOLER", default_value = "none", value_parser = pooler, value_name = "MODE")]
    pub database_pooler: Pooler,
    /// How long one statement may take
    #[arg(long, env = "DATABASE_STATEMENT_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub database_statement_timeout: Duration,
    /// How long to wait for a row that another session locks; less than DATABASE_STATEMENT_TIMEOUT
    #[arg(long, env = "DATABASE_LOCK_TIMEOUT", default_value = "100ms", value_parser = duration, value_name = "DURATION")]
    pub database_lock_timeout: Duration,
    /// Whether starting migrates the database
    #[arg(long, env = "MIGRATE_ON_START", default_value = "true", value_parser = boolean, value_name = "BOOL", action = ArgAction::Set)]
    pub migrate_on_start: bool,
    /// Largest request body or message, on the wire and decoded; of NDJSON the longest line
    #[arg(long, env = "MAX_BODY_BYTES", default_value = "16MiB", value_parser = size, value_name = "SIZE")]
    pub max_body_bytes: usize,
    /// Largest document of an entity, as compact UTF-8; up to 32MiB
    #[arg(long, env = "MAX_ENTITY_BYTES", default_value = "1MiB", value_parser = document_size, value_name = "SIZE")]
    pub max_entity_bytes: usize,
    /// Time from the end of a request to its answer; in bulk and streams the time without progress
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "3s", value_parser = duration, value_name = "DURATION")]
    pub request_timeout: Duration,
    /// Events that may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_EVENTS", default_value = "20000", value_parser = count, value_name = "N")]
    pub ingest_queue_events: usize,
    /// Bytes of events that may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_BYTES", default_value = "64MiB", value_parser = size, value_name = "SIZE")]
    pub ingest_queue_bytes: usize,
    /// How long a single event may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_AGE", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub ingest_queue_age: Duration,
    /// Address that ADMIN_PORT listens on; there is no authentication, so widen it with care
    #[arg(long, env = "ADMIN_BIND_ADDRESS", default_value = "127.0.0.1", value_parser = ip, value_name = "IP")]
    pub admin_bind_address: IpAddr,
    /// How long a stop may take to answer what is in flight
    #[arg(long, env = "SHUTDOWN_GRACE", default_value = "25s", value_parser = duration, value_name = "DURATION")]
    pub shutdown_grace: Duration,
}

impl CommonSettings {
    /// The settings of the database.
    pub fn database(&self) -> DatabaseSettings {
        DatabaseSettings {
            url: self.database_url.as_ref().map(|url| url.expose().to_owned()),
            max_connections: self.database_max_connections,
            acquire_timeout: self.database_acquire_timeout,
            idle_timeout: self.database_idle_timeout,
            max_lifetime: self.database_max_lifetime,
            pooler: self.database_pooler,
            statement_timeout: self.database_statement_timeout,
            lock_timeout: self.database_lock_timeout,
            max_entity_bytes: self.max_entity_bytes,
            ..DatabaseSettings::default()
        }
    }

    /// The settings of the queue.
    pub fn limits(&self) -> Limits {
        Limits {
            queue_events: self.ingest_queue_events,
            queue_bytes: self.ingest_queue_bytes,
            queue_age: self.ingest_queue_age,
            request_timeout: self.request_timeout,
            log_progress_every: self.log_progress_every,
        }
    }

    /// Reads `DATABASE_URL` from `DATABASE_URL_FILE`, where that is set.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed; never what the file holds.
    pub fn read_url_file(&mut self) -> Result<(), String> {
        let Some(file) = &self.database_url_file else { return Ok(()) };
        let invalid = |why: &str| {
            format!(
                "DATABASE_URL_FILE: {file:?} is invalid: {why}; \
                 allowed is a file that holds the URL, instead of DATABASE_URL"
            )
        };
        if self.database_url.is_some() {
            return Err(invalid("DATABASE_URL is set too; unset one of them"));
        }
        let text = std::fs::read_to_string(file).map_err(|error| invalid(&error.to_string()))?;
        match text.trim() {
            "" => Err(invalid("it is empty")),
            url => {
                self.database_url = Some(url.into());
                Ok(())
            }
        }
    }

    /// Checks the settings that depend on each other.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let (lock, statement) = (self.database_lock_timeout, self.database_statement_timeout);
        // else a row that another session locks fails the statement, and with it the whole batch
        if lock >= statement {
            return Err(format!(
                "DATABASE_LOCK_TIMEOUT: \"{lock:?}\" is invalid: \
                 allowed is less than DATABASE_STATEMENT_TIMEOUT, which is {statement:?}"
            ));
        }
        Ok(())
    }
}
